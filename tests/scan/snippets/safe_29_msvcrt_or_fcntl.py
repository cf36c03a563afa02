# safe: msvcrt or fcntl
import json
import os

if os.name == "nt":
    import msvcrt

    def _lock(handle):
        msvcrt.locking(handle.fileno(), msvcrt.LK_LOCK, 1)
else:
    import fcntl

    def _lock(handle):
        fcntl.flock(handle.fileno(), fcntl.LOCK_EX)


def add(path, item):
    with open(path, "r+") as handle:
        _lock(handle)
        items = json.load(handle)
        items.append(item)
        handle.seek(0)
        json.dump(items, handle)
        handle.truncate()
