# racy: r plus
import json


def increment(path):
    with open(path, "r+") as f:
        data = json.load(f)
        data["count"] = data.get("count", 0) + 1
        f.seek(0)
        json.dump(data, f)
        f.truncate()
