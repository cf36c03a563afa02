# racy: open json
import json
import os

CONFIG = os.path.expanduser("~/.mytool/config.json")


def set_option(key, value):
    with open(CONFIG) as f:
        config = json.load(f)
    config[key] = value
    with open(CONFIG, "w") as f:
        json.dump(config, f, indent=2)
