"""The locks of a document in a file, in words for people: for `storewriter status` and `storewriter doctor`."""

from __future__ import annotations

import os
import time

from storewriter._backends.file_status import FileStatus
from storewriter._files.keys import sidecar
from storewriter._platform.liveness import Verdict
from storewriter._platform.mounts import Trust
from storewriter.locks._marker_file import Seen
from storewriter.locks.neighbours._detection import advice
from storewriter.locks.neighbours._whose import Foreign

__all__ = ["age_of_marker", "holder_text", "neighbour_text", "place_text", "strategy_text", "trust_text"]


def holder_text(found: FileStatus) -> str:
    """The holder, and what is known of it."""
    if found.unseen is not None and found.holder is None:
        return f"unknown: {found.unseen}"
    if found.holder is None:
        return "none" if found.marker is None else "not known: the marker is damaged"
    known = {Verdict.ALIVE: "alive", Verdict.GONE: "gone: the next contender takes over"}
    verdict = known.get(found.verdict or Verdict.UNKNOWN, "it is not known whether it is alive")
    more = "" if found.unseen is None else f"; since when and what for is unknown: {found.unseen}"
    return f"{found.holder} ({verdict}){more}"


def strategy_text(found: FileStatus) -> str:
    """The strategy in use, or the one that was used last."""
    if found.strategy is None:
        return "unknown" if found.holder is not None or found.unseen is not None else "not used yet"
    text = found.strategy if found.holder is not None else f"{found.strategy} was used last"
    if found.marker is None or found.marker.stale is None:
        return text
    return f"{text}, refreshed {age_of_marker(found.marker):.1f} s ago, runs out after {found.marker.stale:g} s"


def age_of_marker(seen: Seen) -> float:
    """Seconds since a marker's last change, by the file's clock. For display only: no lock is reclaimed by it."""
    return max(0.0, time.time() - seen.modified)


def place_text(found: FileStatus) -> str:
    """The file system and its mount."""
    return "unknown" if found.mount is None else f"{found.mount.kind}, mounted at {found.mount.point}"


_TRUST = {
    Trust.LOCAL: "effective on this local file system",
    Trust.SHARED: "effective on other hosts too, through the server",
    Trust.HOST_ONLY: "may not be effective on other hosts: use lock='lease' if several hosts write",
    Trust.NONE: "not effective on this file system: use lock='lease'",
}


def trust_text(found: FileStatus) -> str:
    """What kernel locks exclude there."""
    return f"{_TRUST[found.trust]} ({_test_text(found)})"


def _test_text(found: FileStatus) -> str:
    if found.refused is not None:
        return "tested"
    there = os.path.lexists(sidecar(found.path))
    return "not tested: the lock file cannot be opened" if there else "not tested: no lock file yet"


def neighbour_text(path: str, one: Foreign) -> str:
    """Another program's lock, and what to do about it."""
    by = "" if one.owner is None else f", by {one.owner}"
    return f"{one.lock} is {one.what}{by}; programs that are not configured for it do not take it: {advice(path, one)}"
