# racy: toml
import tomllib

import tomli_w


def enable_plugin(name):
    with open("plugins.toml", "rb") as f:
        doc = tomllib.load(f)
    doc["plugins"]["enabled"] = sorted({*doc["plugins"]["enabled"], name})
    with open("plugins.toml", "wb") as f:
        tomli_w.dump(doc, f)
