# safe: another file
import json


def convert(source, target):
    with open(source) as f:
        data = json.load(f)
    with open(target, "w") as f:
        json.dump({"version": 2, **data}, f)
