# racy: lock released too early
import json
import threading

_lock = threading.Lock()


def enqueue(path, job):
    with _lock:
        with open(path) as f:
            jobs = json.load(f)
    jobs.append(job)
    with _lock:
        with open(path, "w") as f:
            json.dump(jobs, f)
