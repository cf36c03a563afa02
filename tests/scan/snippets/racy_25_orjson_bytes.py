# racy: orjson bytes
from pathlib import Path

import orjson


def set_cursor(folder: Path, stream: str, position: int) -> None:
    file = folder / "cursors.json"
    try:
        cursors = orjson.loads(file.read_bytes())
    except FileNotFoundError:
        cursors = {}
    cursors[stream] = position
    file.write_bytes(orjson.dumps(cursors, option=orjson.OPT_INDENT_2))
