# safe: lockf in try finally
import fcntl
import json


def append(path, entry):
    lock = open(path + ".lock", "w")
    fcntl.lockf(lock, fcntl.LOCK_EX)
    try:
        with open(path) as f:
            entries = json.load(f)
        entries.append(entry)
        with open(path, "w") as f:
            json.dump(entries, f)
    finally:
        fcntl.lockf(lock, fcntl.LOCK_UN)
        lock.close()
