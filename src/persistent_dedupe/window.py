"""When a key counts as recent: one rule for the file and for memory, in milliseconds since the epoch."""

from __future__ import annotations

import math
from decimal import Decimal

import attrs

__all__ = ["Window", "moment"]


@attrs.frozen
class Window:
    """A fixed window: it starts at the first sighting and no later sighting moves it."""

    ttl_ms: int
    """How long a key is recent; 0 = for ever."""
    tolerance_ms: int
    """How far ahead of our clock a time may be before it is taken for wrong."""

    def is_ahead(self, seen_at: float, now: float) -> bool:
        """Whether a time cannot be right: a clock was wrong, here or where it was written."""
        return seen_at > now + self.tolerance_ms

    def believed(self, seen_at: float, now: float) -> float:
        """The time to reckon with: one too far ahead counts as now, so that it blocks for one TTL at most."""
        return now if self.is_ahead(seen_at, now) else seen_at

    def is_recent(self, seen_at: float, now: float) -> bool:
        """Whether a key seen then is still recent. Exactly one TTL later it no longer is."""
        return self.ttl_ms == 0 or now - self.believed(seen_at, now) < self.ttl_ms


def moment(seconds: float) -> int:
    """A time in seconds since the epoch, as the files keep it: whole milliseconds.

    Raises ValueError for a time that is not finite or not above 0: readers would ignore it.
    """
    if not math.isfinite(seconds) or seconds <= 0:
        msg = f"now is a time in seconds since the epoch, above 0, got {seconds!r}"
        raise ValueError(msg)
    return max(1, round(seconds * 1000))


def whole_milliseconds(seconds: float) -> int:
    """A duration in whole milliseconds, rounded down; below 0 is 0."""
    # Through the decimal text: 1.001 * 1000 is 1000.9999999999999 in floating point.
    return max(0, math.floor(Decimal(repr(seconds)) * 1000))
