# safe: lock through a context manager
import contextlib
import fcntl
import json


@contextlib.contextmanager
def locked(path):
    with open(path + ".lock", "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(handle, fcntl.LOCK_UN)


def rename(path, old, new):
    with locked(path):
        with open(path) as f:
            names = json.load(f)
        names[new] = names.pop(old)
        with open(path, "w") as f:
            json.dump(names, f)
