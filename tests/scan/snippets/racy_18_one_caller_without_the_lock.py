# racy: one caller without the lock
import json

import fasteners


def _write_seen(path, item):
    with open(path) as f:
        seen = json.load(f)
    seen.append(item)
    with open(path, "w") as f:
        json.dump(seen, f)


def remember(path, item):
    with fasteners.InterProcessLock(path + ".lock"):
        _write_seen(path, item)


def remember_quickly(path, item):
    _write_seen(path, item)
