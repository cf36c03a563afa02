# safe: filelock
import json

from filelock import FileLock


def set_option(path, key, value):
    with FileLock(f"{path}.lock"):
        with open(path) as f:
            config = json.load(f)
        config[key] = value
        with open(path, "w") as f:
            json.dump(config, f)
