"""A file that cannot be understood, moved aside under a name of its own; nothing ever deletes it."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from storewriter.codecs import DecodeError

__all__ = ["move_aside", "moved_aside"]

_MARK = ".bad-"


def move_aside(path: Path, decode: Callable[[bytes], object]) -> Path | None:
    """Move the file at `path` aside if it still cannot be decoded; the path it has then.

    None: there is nothing to move, because somebody has repaired or moved it meanwhile. Only in the file's turn,
    so that nobody's good document is moved.
    """
    target = Path(os.path.realpath(path))
    try:
        decode(target.read_bytes())
    except FileNotFoundError:
        return None
    except DecodeError:
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        aside = target.with_name(f"{target.name}{_MARK}{moment}-{uuid.uuid4().hex[:8]}")
        target.rename(aside)
        return aside
    return None


def moved_aside(path: Path) -> list[Path]:
    """The bad files that were moved aside from this path and are still there."""
    target = Path(os.path.realpath(path))
    try:
        names = os.listdir(target.parent)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [target.with_name(name) for name in sorted(names) if name.startswith(target.name + _MARK)]
