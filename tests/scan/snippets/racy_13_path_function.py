# racy: path function
import json
from pathlib import Path


def _history_file(profile: str) -> Path:
    return Path.home() / ".shellbot" / profile / "history.json"


def append(profile: str, entry: dict) -> None:
    history = []
    if _history_file(profile).exists():
        history = json.loads(_history_file(profile).read_text())
    history.append(entry)
    _history_file(profile).write_text(json.dumps(history[-500:]))
