# safe: ignored
import json


def bump(path):
    with open(path) as f:
        version = json.load(f)
    version["build"] += 1
    with open(path, "w") as f:  # storewriter: ignore[the release script runs alone]
        json.dump(version, f)
