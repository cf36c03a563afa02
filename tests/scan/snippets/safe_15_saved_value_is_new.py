# safe: saved value is new
import json


def reset(path, defaults):
    with open(path) as f:
        old = json.load(f)
    print("forgetting", old)
    with open(path, "w") as f:
        json.dump(defaults, f)
