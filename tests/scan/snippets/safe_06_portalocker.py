# safe: portalocker
import json

import portalocker


def push(path, job):
    with portalocker.Lock(path, "r+", timeout=5) as f:
        jobs = json.load(f)
        jobs.append(job)
        f.seek(0)
        f.truncate()
        json.dump(jobs, f)
