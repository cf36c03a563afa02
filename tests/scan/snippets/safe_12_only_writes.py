# safe: only writes
import json
import time


def write_report(path, results):
    report = {"when": time.time(), "results": results}
    with open(path, "w") as f:
        json.dump(report, f)
