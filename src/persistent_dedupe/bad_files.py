"""A file that cannot be understood, moved aside under a name of its own; nothing ever deletes it."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from storewriter.codecs import DecodeError

__all__ = ["move_aside"]


def move_aside(path: Path, decode: Callable[[bytes], object]) -> Path | None:
    """Move the file at `path` aside if it still cannot be decoded; the path it has then.

    None: there is nothing to move, because somebody has repaired or moved it meanwhile. Only under the file's lock,
    so that nobody's good document is moved.
    """
    target = Path(os.path.realpath(path))
    try:
        decode(target.read_bytes())
    except FileNotFoundError:
        return None
    except DecodeError:
        aside = target.with_name(
            f"{target.name}.bad-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{uuid.uuid4().hex[:8]}"
        )
        target.rename(aside)
        return aside
    return None
