"""The memory in front of the files: bounded, in order of insertion, with the same fixed window.

Promise    Never holds more than its limit, nor, after a `remember`, anything expired.
How        A dict in order of insertion for the limit, a heap of times for the expiry.
Does not   guard itself: an object shared among threads needs a lock around each call.
"""

from __future__ import annotations

import heapq

import attrs

from persistent_dedupe.keys import ScopedKey
from persistent_dedupe.window import Window

__all__ = ["Memory"]


@attrs.define(eq=False)
class Memory:
    """Keys seen lately, over all namespaces of one object."""

    window: Window
    limit: int
    _times: dict[ScopedKey, float] = attrs.field(factory=dict[ScopedKey, float], init=False)
    _ages: list[tuple[float, str, str]] = attrs.field(factory=list[tuple[float, str, str]], init=False)
    # Invariant: every entry of `_times` has its item among the ages; items that `_times` contradicts are outdated.

    def __len__(self) -> int:
        return len(self._times)

    def peek(self, scoped: ScopedKey, now: float) -> float | None:
        """When the key was first seen, if that is recent; an expired entry is removed."""
        seen_at = self._times.get(scoped)
        if seen_at is None:
            return None
        if not self.window.is_recent(seen_at, now):
            del self._times[scoped]
            return None
        return seen_at

    def remember(self, scoped: ScopedKey, seen_at: float, now: float) -> None:
        """Store a first sighting at the end; drop what has expired, then from the front until the limit fits."""
        if self.limit == 0:
            return
        self._times.pop(scoped, None)
        self._times[scoped] = self.window.believed(seen_at, now)
        heapq.heappush(self._ages, (self._times[scoped], scoped.namespace, scoped.key))
        self._drop_expired(now)
        while len(self._times) > self.limit:
            del self._times[next(iter(self._times))]
        self._compact()

    def forget(self, scoped: ScopedKey) -> bool:
        """Remove the key; whether it was there."""
        return self._times.pop(scoped, None) is not None

    def clear(self) -> None:
        """Remove everything."""
        self._times.clear()
        self._ages.clear()

    def _drop_expired(self, now: float) -> None:
        while self._ages and not self.window.is_recent(self._ages[0][0], now):
            seen_at, namespace, key = heapq.heappop(self._ages)
            scoped = ScopedKey(namespace, key)
            if self._times.get(scoped) == seen_at:
                del self._times[scoped]

    def _compact(self) -> None:
        if len(self._ages) > 2 * len(self._times) + 64:
            self._ages = [(seen_at, at.namespace, at.key) for at, seen_at in self._times.items()]
            heapq.heapify(self._ages)
