# safe: copy with version
from pathlib import Path


def back_up(path: Path) -> Path:
    text = path.read_text()
    copy = path.with_suffix(".bak")
    copy.write_text(text)
    return copy
