"""What callers get back, and what return values do not show: events that are counted always and logged once per kind.

The log is `logging.getLogger("persistent_dedupe")`. Methods of `Reports` may be called from any thread.
"""

from __future__ import annotations

import enum
import logging
import threading
from collections.abc import Callable

import attrs

from persistent_dedupe.document import Anomaly
from persistent_dedupe.keys import Place
from storewriter import LockTimeout, Owner, StoreCorrupt, StoreWriterError

__all__ = [
    "CheckResult",
    "Claim",
    "ClaimReleased",
    "ClaimStatus",
    "Counters",
    "Entry",
    "ImportReport",
    "OnError",
    "OpenClaim",
    "Reports",
]


@attrs.frozen(kw_only=True)
class CheckResult:
    """The answer to "have I handled this key lately?". True in a condition means: new, go ahead."""

    is_new: bool
    """Whether the caller should handle the event."""
    recorded: bool
    """Whether this call has recorded the key: in its file, or in memory if the object has no files. New but not
    recorded: `error` says why, and another process that checks gets new as well; or the key is blank."""
    seen_at: float | None = None
    """First sighting in seconds since the epoch; None for a blank key."""
    error: Exception | None = None
    """Why the key was not recorded, or may not have been (`CommitUncertain`)."""
    took: float = 0.0
    """Seconds from asking for the file to its answer, waiting for the lock included; 0 if memory knew."""

    def __bool__(self) -> bool:
        """Whether the key is new."""
        return self.is_new


class ClaimStatus(enum.Enum):
    """What a claim came to."""

    CLAIMED = "claimed"
    """The key is the caller's: handle it, then commit or release."""
    IN_FLIGHT = "inflight"
    """Another caller has claimed it: `wait` for the outcome, or leave."""
    DUPLICATE = "duplicate"
    """It has been handled lately."""


@attrs.frozen(kw_only=True)
class OpenClaim:
    """A claim that has been neither committed nor released, as its file shows it."""

    key: str
    """The key that is claimed."""
    token: str
    """Which claim of this key it is: a later one has another."""
    since: float
    """When it was taken, in seconds since the epoch, by its owner's clock."""
    owner: Owner | None
    """The process that took it; None if the file does not name it."""
    gone: bool = False
    """Whether it can be taken over now: its owner is provably dead, or its time is up."""


@attrs.frozen(kw_only=True)
class Claim:
    """The answer to `claim`. True in a condition means: the caller has the claim."""

    status: ClaimStatus
    """Whose the key is."""
    namespace: str
    """The namespace, trimmed."""
    key: str
    """The key, trimmed."""
    recorded: bool = False
    """Whether other objects and processes can see the claim. False also for a blank key and a memory-only object."""
    holder: OpenClaim | None = None
    """The claim that is open, if it is of another object or process."""
    error: Exception | None = None
    """What kept the claim from being recorded."""
    local: object = attrs.field(default=None, repr=False, eq=False)
    """The claim in this object that `wait` follows."""

    def __bool__(self) -> bool:
        """Whether the caller owns the key now."""
        return self.status is ClaimStatus.CLAIMED


class ClaimReleased(StoreWriterError):
    """The claim that a caller waited for ended without a record: released, forgotten, or its owner died.

    The key can be claimed again.
    """

    namespace: str
    """The namespace."""
    key: str
    """The key."""


@attrs.frozen(kw_only=True)
class Entry:
    """One key of a namespace."""

    key: str
    """The key."""
    seen_at: float
    """First sighting, in seconds since the epoch."""
    recent: bool
    """Whether it still counts."""


@attrs.frozen(kw_only=True)
class ImportReport:
    """What became of the entries of an imported file."""

    imported: int
    """Entries that the namespace has got, or got a newer time for."""
    expired: int
    """At least one TTL old: left out."""
    invalid: int
    """No time, or no plain key: left out."""
    already_present: int
    """The namespace has them with an equal or a newer time."""


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
    """Keys whose times are too far ahead of the clock: they count as now. Each is counted once."""
    evicted: int = 0
    """Keys that had not expired when `file_max_entries` pushed them out: they will count as new again."""
    reclaimed: int = 0
    """Claims taken over from an owner that was gone or had passed its time limit."""
    leftovers: int = 0
    """Forgotten temporary files that were removed."""


_ANOMALIES = {
    "invalid entry": ("invalid_entries", "invalid entries (kept, never matched)"),
    "duplicate key": ("duplicate_keys", "duplicate keys (the larger time counts)"),
    "time ahead": ("ahead", "times too far ahead of the clock (they count as now)"),
}
"""Kinds of what is odd in a file: its counter, and what is said of it."""


class Reports:
    """The counters of one object, and what it has already logged."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = dict.fromkeys((field.name for field in attrs.fields(Counters)), 0)
        self._logged: set[tuple[Place, str]] = set()
        self._anomalies: dict[Place, set[Anomaly]] = {}

    def counters(self) -> Counters:
        """The counts so far."""
        with self._lock:
            return Counters(**self._counts)

    def count(self, *names: str, by: int = 1) -> None:
        """Add to the named counters."""
        with self._lock:
            for name in names:
                self._counts[name] += by

    def failure(self, path: Place, error: Exception) -> None:
        """A file could not be used."""
        self.count("disk_errors")
        if isinstance(error, LockTimeout):
            self.count("lock_timeouts")
        if isinstance(error, StoreCorrupt):
            self.count("bad_files")
        self._log_once(logging.ERROR, path, type(error).__name__, "%s: %s", path, error)

    def moved_aside(self, path: Place, aside: str) -> None:
        """A bad file has another name now. Logged each time."""
        self.count("moved_aside")
        log.warning("%s could not be decoded; it was moved aside to %s and the namespace starts empty", path, aside)

    def evicted(self, path: Place, keys: int) -> None:
        """So many keys had to go that had not expired."""
        if keys:
            self.count("evicted", by=keys)
            message = "%d keys had not expired and were pushed out of %s"
            self._log_once(logging.WARNING, path, "evicted", message, keys, path)

    def anomalies(self, path: Place, found: tuple[Anomaly, ...]) -> None:
        """What is odd in a file; what was reported already is skipped."""
        if not found:
            return
        with self._lock:
            known = self._anomalies.setdefault(path, set())
            fresh = [anomaly for anomaly in found if anomaly not in known]
            known.update(fresh)
        for kind, (counter, meaning) in _ANOMALIES.items():
            keys = [key for what, key in fresh if what == kind]
            if keys:
                self.count(counter, by=len(keys))
                log.warning("%s: %d %s: %s", path, len(keys), meaning, _shown(keys))

    def _log_once(self, level: int, path: Place, kind: str, message: str, *args: object) -> None:
        with self._lock:
            repeated = (path, kind) in self._logged
            self._logged.add((path, kind))
        log.log(logging.DEBUG if repeated else level, message, *args)


_SHOWN = 5


def _shown(keys: list[str]) -> str:
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return ", ".join(ascii(key) for key in keys[:_SHOWN]) + more
