"""A clock that stands still until it is moved."""

from __future__ import annotations

__all__ = ["FakeClock"]


class FakeClock:
    """Stands in for `time.time`, and, with `milliseconds`, for clocks that count those. For one thread at a time.

    clock = FakeClock()
    dedupe = PersistentDedupe("dedupe", DedupeOptions(ttl=60, clock=clock))
    clock.advance(61)
    """

    def __init__(self, now: float = 1_900_000_000.0) -> None:
        self.now = now
        """Seconds since the Unix epoch."""

    def __call__(self) -> float:
        """Return the time in seconds, as `time.time` does."""
        return self.now

    def milliseconds(self) -> int:
        """Return the time in whole milliseconds since the Unix epoch."""
        return round(self.now * 1000)

    def advance(self, seconds: float) -> None:
        """Move it by `seconds`. A negative number sets it back, as an administrator or NTP may do."""
        self.now += seconds
