# racy: tempfile os replace
import json
import os
import tempfile


def register(path, worker):
    with open(path, "r") as f:
        workers = json.load(f)
    workers[worker["id"]] = worker
    fd, temporary = tempfile.mkstemp(dir=os.path.dirname(path))
    with os.fdopen(fd, "w") as f:
        json.dump(workers, f)
        f.flush()
        os.fsync(f.fileno())
    os.replace(temporary, path)
