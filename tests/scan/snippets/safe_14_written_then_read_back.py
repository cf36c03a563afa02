# safe: written then read back
import json


def write_and_check(path, settings):
    with open(path, "w") as f:
        json.dump(settings, f)
    with open(path) as f:
        if json.load(f) != settings:
            raise OSError("the settings were not written")
