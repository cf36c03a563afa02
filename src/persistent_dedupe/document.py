"""The content of one namespace's file: when each key was first seen, and what is in there besides.

Promise    An entry that is not a time of a plain key is carried along exactly as it was written, and never matched,
           until its key is recorded for the first time.
How        Times in a dict, in file order. The first pruning builds a heap of (time, order, key) beside it; items
           that the dict contradicts are skipped, so that pruning costs what it removes, not the whole document.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from typing import Literal

import attrs

from persistent_dedupe.options import Window

__all__ = ["Anomaly", "Document", "KeptEntry", "Pruned", "Sighting"]

AnomalyKind = Literal["invalid entry", "duplicate key"]


Anomaly = tuple[AnomalyKind, str]
"""Something in a file that its writer cannot have meant, and the key where it is."""


@attrs.frozen
class KeptEntry:
    """An entry that is no record (key and time), as it was written."""

    key: str
    raw_key: str
    raw_value: str


@attrs.frozen
class Pruned:
    """What one recording did to the other keys."""

    expired: int = 0
    evicted: int = 0
    """Keys that were still recent and had to go because the file is limited."""
    ahead: int = 0
    """Times too far ahead that were set to now."""


@attrs.frozen
class Sighting:
    """What looking for a key, and recording it if it is new, has found and done."""

    is_new: bool
    seen_at: float
    """First sighting, in milliseconds since the epoch."""
    anomalies: tuple[Anomaly, ...]
    pruned: Pruned = Pruned()


Age = tuple[float, int, str]


def _no_kept() -> tuple[KeptEntry, ...]:
    return ()


@attrs.define(eq=False)
class Document:
    """One decoded file. Used by one caller at a time."""

    times: dict[str, float] = attrs.field(factory=dict[str, float])
    """Key to time of the first sighting, in milliseconds since the epoch."""
    kept: tuple[KeptEntry, ...] = attrs.field(factory=_no_kept)
    """Entries that are no records."""
    anomalies: tuple[Anomaly, ...] = ()
    """What was noticed while reading."""
    source: bytes | None = None
    """The bytes that hold exactly this document; None once it has changed."""
    _ages: list[Age] | None = None
    # Invariant: if there are ages, every item of `times` is among them.
    _order: int = 0
    _span: tuple[float, float] | None = None
    # Invariant: if there is a span, all of `times` lies within it.

    def see(self, key: str, now: float, window: Window, limit: int, inherited: float | None) -> Sighting:
        """Record the key unless it is recent; new is also what was recorded with the `inherited` time."""
        seen_at = self.times.get(key)
        if seen_at is None or not window.is_recent(seen_at, now):
            return Sighting(True, now, self.anomalies, self.record(key, now, window, limit))
        if seen_at == inherited:
            return Sighting(True, seen_at, self.anomalies)
        return Sighting(False, window.believed(seen_at, now), self.anomalies)

    def record(self, key: str, now: float, window: Window, limit: int) -> Pruned:
        """Set the key's time to now; drop what has expired, then the oldest until `limit` is kept."""
        self.times.pop(key, None)
        self.kept = tuple(entry for entry in self.kept if entry.key != key)
        ahead = self._pull_back(now, window)
        expired = evicted = 0
        if not window.is_recent(self._bounds()[0], now):
            expired = self._drop_oldest(lambda seen_at: not window.is_recent(seen_at, now))
        if len(self.times) >= limit:
            evicted = self._drop_oldest(lambda _: len(self.times) >= limit)
        self._add(key, now)
        return Pruned(expired, evicted, ahead)

    def put(self, times: dict[str, float]) -> None:
        """Set the times of several keys, without pruning."""
        self.times.update(times)
        self.kept = tuple(entry for entry in self.kept if entry.key not in times)
        self._changed()

    def forget(self, key: str) -> bool:
        """Remove the key; whether it was there."""
        if self.times.pop(key, None) is None:
            return False
        self.source = None
        return True

    def _add(self, key: str, now: float) -> None:
        oldest, latest = self._bounds()
        self.times[key] = now
        self.source = None
        self._span = (min(oldest, now), max(latest, now))
        if self._ages is not None:
            heapq.heappush(self._ages, (now, self._order, key))
            self._order += 1
            # Forgotten keys leave their items behind; past twice the size a fresh heap is cheaper than these.
            if len(self._ages) > 2 * len(self.times) + 64:
                self._ages = None

    def _changed(self) -> None:
        self.source = self._ages = self._span = None

    def _bounds(self) -> tuple[float, float]:
        """No time is before the first nor after the second."""
        if self._span is None:
            times = self.times.values()
            self._span = (min(times, default=math.inf), max(times, default=0.0))
        return self._span

    def _pull_back(self, now: float, window: Window) -> int:
        if not window.is_ahead(self._bounds()[1], now):
            return 0
        ahead = [key for key, seen_at in self.times.items() if window.is_ahead(seen_at, now)]
        self.times.update(dict.fromkeys(ahead, now))
        self._changed()
        return len(ahead)

    def _drop_oldest(self, unwanted: Callable[[float], bool]) -> int:
        heap = self._heap()
        dropped = 0
        while heap:
            seen_at, _, key = heap[0]
            outdated = self.times.get(key) != seen_at
            if not outdated and not unwanted(seen_at):
                break
            heapq.heappop(heap)
            if not outdated:
                del self.times[key]
                dropped += 1
        self._span = (heap[0][0] if heap else math.inf, self._bounds()[1])
        return dropped

    def _heap(self) -> list[Age]:
        if self._ages is None:
            self._ages = list(zip(self.times.values(), itertools.count(), self.times, strict=False))
            heapq.heapify(self._ages)
            self._order = len(self._ages)
        return self._ages
