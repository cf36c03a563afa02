# racy: pathlib text
import json
from pathlib import Path

STATE = Path.home() / ".cache" / "crawler" / "state.json"


def mark_done(url: str) -> None:
    state = json.loads(STATE.read_text())
    state["done"].append(url)
    STATE.write_text(json.dumps(state))
