"""Facts that hold for files only: whether OpenClaw knows a file too, its lock, its database; what dead writers left.

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

__all__ = ["OLD_ENOUGH", "queue_for", "remove_leftovers", "warn_of_database"]


log = logging.getLogger("persistent_dedupe")

_STALE = 60.0
"""Seconds after which OpenClaw's stores take a lock for abandoned."""


def state_dir() -> Path:
    """The state directory of this user's gateway."""
    given = os.environ.get("OPENCLAW_STATE_DIR", "").strip() or "~/.openclaw"
    return Path(os.path.realpath(os.path.expanduser(given)))


def is_openclaws(path: Path) -> bool:
    """Whether a file is in the state directory of this user's gateway."""
    return Path(os.path.realpath(path)).is_relative_to(state_dir())


def queue_for(place: Place, options: DedupeOptions, *, has_neighbours: bool) -> PerStoreWriterQueue:
    """The queue of one store. `has_neighbours`: OpenClaw knows this kind of file."""
    if options.queue is not None:
        return options.queue
    if not isinstance(place, Path) or not has_neighbours:
        return PerStoreWriterQueue(timeout=options.timeout)
    wanted = is_openclaws(place) if options.neighbour_lock is None else options.neighbour_lock
    also = OpenClawLock(stale=_STALE) if wanted else None
    return PerStoreWriterQueue(timeout=options.timeout, also=also)


_warned: set[Path] = set()


def warn_of_database(path: Path) -> None:
    """Say, once per process, that OpenClaw does not read this file any more, if that is so."""
    database = state_dir() / "state" / "openclaw.sqlite"
    if database in _warned or not is_openclaws(path) or not database.exists():
        return
    _warned.add(database)
    log.warning(
        "OpenClaw keeps its dedupe keys in %s (since its pull request #91133, 2026-06-07), and does not read %s: what "
        "is recorded here is not seen by the gateway",
        database,
        path,
    )


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
