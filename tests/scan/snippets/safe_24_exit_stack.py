# safe: exit stack
import contextlib
import json

from filelock import FileLock


def update(path, changes):
    with contextlib.ExitStack() as stack:
        stack.enter_context(FileLock(path + ".lock"))
        with open(path) as f:
            data = json.load(f)
        data.update(changes)
        with open(path, "w") as f:
            json.dump(data, f)
