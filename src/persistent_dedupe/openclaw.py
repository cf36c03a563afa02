"""OpenClaw's own files: whether a file of keys is one, its lock, and its database.

OpenClaw kept its dedupe keys in JSON files until its pull request #91133 (2026-06-07), and in `state/openclaw.sqlite`
since.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from persistent_dedupe.options import DedupeOptions
from storewriter import PerStoreWriterQueue
from storewriter.locks import OpenClawLock

__all__ = ["queue_for", "warn_of_database"]

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


def queue_for(path: Path, options: DedupeOptions, *, has_neighbours: bool) -> PerStoreWriterQueue:
    """The queue of one file. `has_neighbours`: OpenClaw knows this kind of file."""
    if options.queue is not None:
        return options.queue
    wanted = is_openclaws(path) if options.neighbour_lock is None else options.neighbour_lock
    also = OpenClawLock(stale=_STALE) if wanted and has_neighbours else None
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
