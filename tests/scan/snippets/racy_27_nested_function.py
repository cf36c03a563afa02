# racy: nested function
import json


def make_counter(path):
    def increment(key):
        with open(path) as f:
            counts = json.load(f)
        counts[key] = counts.get(key, 0) + 1
        with open(path, "w") as f:
            json.dump(counts, f)
        return counts[key]

    return increment
