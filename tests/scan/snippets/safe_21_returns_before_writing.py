# safe: returns before writing
import json
import os


def load_or_create(path):
    if os.path.exists(path):
        with open(path) as f:
            data = json.load(f)
        return data
    data = {"version": 1}
    with open(path, "w") as f:
        json.dump(data, f)
    return data
