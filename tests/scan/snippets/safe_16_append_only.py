# safe: append only
import json


def log_event(path, event):
    with open(path) as f:
        count = sum(1 for _ in f)
    with open(path, "a") as f:
        f.write(json.dumps({"number": count, **event}) + "\n")
