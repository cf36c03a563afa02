# safe: loop over files
import json
from pathlib import Path


def merge(folder, target):
    merged = {}
    for path in Path(folder).glob("*.json"):
        merged.update(json.loads(path.read_text()))
    with open(target, "w") as f:
        json.dump(merged, f)
