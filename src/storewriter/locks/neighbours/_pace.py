"""Gaps for the neighbours of a store: when our programs have had its locks for too long without one.

Neighbours' programs poll, and give up after a fraction of a second.
"""

from __future__ import annotations

import time
from typing import Final

HOLD: Final = 0.02
"""Seconds for which our programs have a neighbour's lock without a gap, about."""
GAP: Final = 0.01
"""Seconds of a gap: the neighbours' polls, a few milliseconds apart, find the lock free in it."""


class Pace:
    """When this process has had the locks of one store, or has waited for them."""

    __slots__ = ("last_end", "last_gap", "since")

    def __init__(self) -> None:
        self.since = 0.0
        """Since when there has been no natural gap."""
        self.last_end = 0.0
        self.last_gap = 0.0
        """When our programs last left a gap. By time.monotonic(), which all processes of a host share."""

    def begin(self) -> None:
        """An attempt begins: from now on our programs count as busy with the store."""
        now = time.monotonic()
        if now - self.last_end > GAP:
            self.since = now

    def leave_gap(self) -> bool:
        """Pause, if the neighbours have had no gap for too long."""
        now = time.monotonic()
        if now - max(self.since, self.last_gap) < HOLD:
            return False
        time.sleep(GAP)
        self.last_gap = time.monotonic()
        return True


_paces: dict[str, Pace] = {}


def pace_of(path: str) -> Pace:
    """The pace of a store in this process."""
    known = _paces.get(path)
    if known is None:
        if len(_paces) >= 256:
            _paces.clear()  # each begins to count again: a gap comes a moment later
        known = _paces[path] = Pace()
    return known
