"""What OpenClaw has to do with a namespace's file: its lock, its database, the temporary files that it left.

OpenClaw kept its dedupe keys in JSON files until its pull request #91133 (2026-06-07), and in `state/openclaw.sqlite`
since. storewriter uses one temporary name per store, so its own never pile up; OpenClaw's are
`<name>.<random uuid>.tmp`.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import time
from pathlib import Path

from persistent_dedupe.keys import Place
from persistent_dedupe.options import DedupeOptions
from storewriter import PerStoreWriterQueue
from storewriter.locks import OpenClawLock

__all__ = ["queue_for", "remove_leftovers", "warn_of_database"]


def state_dir() -> Path:
    """The state directory of this user's gateway."""
    given = os.environ.get("OPENCLAW_STATE_DIR", "").strip() or "~/.openclaw"
    return Path(os.path.realpath(os.path.expanduser(given)))


def is_openclaws(place: Place) -> bool:
    """Whether it is a file in the state directory of this user's gateway."""
    return isinstance(place, Path) and Path(os.path.realpath(place)).is_relative_to(state_dir())


def queue_for(place: Place, options: DedupeOptions) -> PerStoreWriterQueue:
    """The queue of a namespace's keys."""
    if options.queue is not None:
        return options.queue
    wanted = is_openclaws(place) if options.neighbour_lock is None else options.neighbour_lock
    also = OpenClawLock() if wanted and isinstance(place, Path) else None
    return PerStoreWriterQueue(timeout=options.timeout, also=also)


_warned: set[Path] = set()


def warn_of_database(place: Place) -> None:
    """Say, once per process, that OpenClaw does not read this file any more, if that is so."""
    database = state_dir() / "state" / "openclaw.sqlite"
    if database in _warned or not is_openclaws(place) or not database.exists():
        return
    _warned.add(database)
    logging.getLogger("persistent_dedupe").warning(
        "OpenClaw keeps its dedupe keys in %s (since its pull request #91133, 2026-06-07), and does not read %s: what "
        "is recorded here is not seen by the gateway",
        database,
        place,
    )


_OLD_ENOUGH = 3600.0
"""Seconds after which a temporary file was left by a dead writer: a live one needs it for milliseconds."""

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


def remove_leftovers(path: Path) -> int:
    """Remove the left-over temporary files of this file; how many there were. A folder that is missing has none."""
    pattern = re.compile(rf"{re.escape(path.name)}\.{_UUID}\.tmp")
    limit = time.time() - _OLD_ENOUGH
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
