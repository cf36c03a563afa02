"""Temporary files that a writer of the original left behind when a write failed.

Ours never pile up: storewriter uses one temporary name per store. The original's are `<name>.<random uuid>.tmp`.
"""

from __future__ import annotations

import os
import re
import stat
import time
from pathlib import Path

__all__ = ["OLD_ENOUGH", "remove_leftovers"]

OLD_ENOUGH = 3600.0
"""Seconds after which a temporary file was left by a dead writer: a live one needs it for milliseconds."""

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


def remove_leftovers(path: Path, older_than: float = OLD_ENOUGH) -> int:
    """Remove the left-over temporary files of this file; how many there were. A folder that is missing has none."""
    pattern = re.compile(rf"{re.escape(path.name)}\.{_UUID}\.tmp")
    limit = time.time() - older_than
    try:
        names = [name for name in os.listdir(path.parent) if pattern.fullmatch(name)]
    except (FileNotFoundError, NotADirectoryError):
        return 0
    return sum(_removed(path.parent / name, limit) for name in names)


def _removed(leftover: Path, limit: float) -> bool:
    try:
        status = leftover.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_mtime > limit:
            return False
        leftover.unlink()
    except FileNotFoundError:
        return False
    return True
