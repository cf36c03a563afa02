"""Events that return values do not show: counted always, logged once per kind.

The log is `logging.getLogger("persistent_dedupe")`. Methods may be called from any thread.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import attrs

from persistent_dedupe.document import Oddity
from storewriter import LockTimeout, StoreCorrupt

__all__ = ["Counters", "OnError", "Reports"]

log = logging.getLogger("persistent_dedupe")

OnError = Callable[[Exception], object]


@attrs.frozen(kw_only=True)
class Counters:
    """What one object has seen in this process so far."""

    new: int = 0
    """Checks that returned new, recorded or not."""
    duplicates: int = 0
    """Checks that returned seen before."""
    from_memory: int = 0
    """Those of the duplicates that needed no look into the file."""
    coalesced: int = 0
    """Those of the duplicates that waited for a check of the same key by this object."""
    unrecorded: int = 0
    """New keys that could not be recorded: a later check may return new again."""
    blank: int = 0
    """Checks of a blank key."""
    disk_errors: int = 0
    """Errors of a file, those of the next two kinds included."""
    lock_timeouts: int = 0
    """Turns that did not come in time."""
    bad_files: int = 0
    """Times that a file could not be understood."""
    moved_aside: int = 0
    """Files that were moved aside for that."""
    invalid_entries: int = 0
    """Entries of files that are no record: kept, never matched. Each is counted once."""
    duplicate_keys: int = 0
    """Keys that a file held more than once: the larger time counts. Each is counted once."""
    ahead: int = 0
    """Times too far ahead of the clock that were set to now."""
    evicted: int = 0
    """Keys that had not expired when `file_max_entries` pushed them out: they will count as new again."""
    reclaimed: int = 0
    """Claims taken over from an owner that was gone or had passed its time limit."""
    leftovers: int = 0
    """Forgotten temporary files that were removed."""


class Reports:
    """The counters of one object, and what it has already logged."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = dict.fromkeys((field.name for field in attrs.fields(Counters)), 0)
        self._logged: set[tuple[Path, str]] = set()
        self._oddities: dict[Path, set[Oddity]] = {}

    def counters(self) -> Counters:
        """The counts so far."""
        with self._lock:
            return Counters(**self._counts)

    def count(self, *names: str, by: int = 1) -> None:
        """Add to the named counters."""
        with self._lock:
            for name in names:
                self._counts[name] += by

    def failure(self, path: Path, error: Exception) -> None:
        """A file could not be used."""
        self.count("disk_errors")
        if isinstance(error, LockTimeout):
            self.count("lock_timeouts")
        if isinstance(error, StoreCorrupt):
            self.count("bad_files")
        self._log_once(logging.ERROR, path, type(error).__name__, "%s: %s", path, error)

    def moved_aside(self, path: Path, aside: str) -> None:
        """A bad file has another name now: always logged, because a person should look at it."""
        self.count("moved_aside")
        log.warning("%s could not be decoded; it was moved aside to %s and the namespace starts empty", path, aside)

    def unexpected(self, path: Path, name: str, by: int, message: str) -> None:
        """Something that costs a promise: `message` has a place for the number and one for the path."""
        if by:
            self.count(name, by=by)
            self._log_once(logging.WARNING, path, name, message, by, path)

    def oddities(self, path: Path, found: tuple[Oddity, ...]) -> None:
        """Entries of a file that cannot be records; those already reported are skipped."""
        if not found:
            return
        with self._lock:
            known = self._oddities.setdefault(path, set())
            fresh = [oddity for oddity in found if oddity not in known]
            known.update(fresh)
        self._oddity(path, "invalid_entries", "kept, never matched", _keys(fresh, "invalid entry"))
        self._oddity(path, "duplicate_keys", "the larger time counts", _keys(fresh, "duplicate key"))

    def _oddity(self, path: Path, name: str, treatment: str, keys: list[str]) -> None:
        if keys:
            self.count(name, by=len(keys))
            log.warning("%s: %d %s (%s): %s", path, len(keys), name.replace("_", " "), treatment, _shown(keys))

    def _log_once(self, level: int, path: Path, kind: str, message: str, *args: object) -> None:
        with self._lock:
            repeated = (path, kind) in self._logged
            self._logged.add((path, kind))
        log.log(logging.DEBUG if repeated else level, message, *args)


def _keys(oddities: Iterable[Oddity], kind: str) -> list[str]:
    return [key for found, key in oddities if found == kind]


_SHOWN = 5


def _shown(keys: list[str]) -> str:
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return ", ".join(ascii(key) for key in keys[:_SHOWN]) + more
