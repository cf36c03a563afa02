# racy: two aliases
import json
import pathlib


def merge(target, extra):
    path = pathlib.Path(target)
    with path.open() as stream:
        old = json.load(stream)
    merged = {**old, **extra}
    with open(target, "w") as stream:
        stream.write(json.dumps(merged, sort_keys=True))
