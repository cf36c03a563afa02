# racy: path replace
import json
from pathlib import Path


def bump(path: Path) -> int:
    counters = json.loads(path.read_text(encoding="utf-8"))
    counters["runs"] += 1
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps(counters), encoding="utf-8")
    scratch.replace(path)
    return counters["runs"]
