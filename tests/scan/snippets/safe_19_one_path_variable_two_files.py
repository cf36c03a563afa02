# safe: one path variable two files
import json
import os


def migrate(folder):
    path = os.path.join(folder, "old.json")
    with open(path) as f:
        data = json.load(f)
    path = os.path.join(folder, "new.json")
    with open(path, "w") as f:
        json.dump(data, f)
