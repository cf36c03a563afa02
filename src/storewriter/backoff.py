"""How long to wait between attempts where the kernel cannot wake us: a value, and an iterator of delays.

Promise    Delays stay within [minimum, maximum], never reach past the deadline, and end after `retries`.
How        delay(n) = minimum * factor ** n, capped at maximum, then jittered.
Source     Full jitter: Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
           Proportional jitter: the policy of openclaw's file locks (8 ms x 1.35, at most 180 ms, 6 retries).
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

import attrs

__all__ = ["Backoff"]

Jitter = Literal["none", "full", "proportional"]


def _positive(instance: Any, attribute: attrs.Attribute[Any], value: float) -> None:
    if not (isinstance(value, (int, float)) and math.isfinite(value) and value > 0):
        msg = f"Backoff.{attribute.name} must be a finite number of seconds above 0, got {value!r}"
        raise ValueError(msg)


def _at_least_one(instance: Any, attribute: attrs.Attribute[Any], value: float) -> None:
    if not (isinstance(value, (int, float)) and math.isfinite(value) and value >= 1):
        msg = f"Backoff.factor must be a finite number, at least 1, got {value!r}"
        raise ValueError(msg)


def _count(instance: Any, attribute: attrs.Attribute[Any], value: int | None) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        msg = f"Backoff.retries must be None (until the deadline) or a whole number from 0, got {value!r}"
        raise ValueError(msg)


class RetriesExhausted(Exception):
    """As many attempts as `retries` allows have been made."""


@attrs.frozen
class Backoff:
    """Pace at which a lock is tried again where the kernel cannot wake the waiter. A value: frozen, safe to share.

    Example:
        PerStoreWriterQueue("lease", backoff=Backoff(minimum=0.01, maximum=0.5))

    A value out of range is a ValueError.
    """

    minimum: float = attrs.field(default=0.001, validator=_positive, kw_only=True)
    """Seconds before the first retry, above 0."""
    factor: float = attrs.field(default=1.6, validator=_at_least_one, kw_only=True)
    """Each delay is this many times the one before; at least 1."""
    maximum: float = attrs.field(default=0.05, validator=_positive, kw_only=True)
    """Seconds that no delay exceeds; at least `minimum`."""
    retries: int | None = attrs.field(default=None, validator=_count, kw_only=True)
    """How many retries there are at most, from 0; then the wait ends, deadline or not. None: until the deadline."""
    jitter: Jitter = attrs.field(
        default="full", validator=attrs.validators.in_(("none", "full", "proportional")), kw_only=True
    )
    """`full`: a random delay from the minimum to the computed one; `proportional`: 1 to 2 times the computed one;
    `none`: the computed one."""
    seed: int | None = attrs.field(default=None, kw_only=True)
    """Seed of the jitter, for tests; None: unpredictable, so that processes that start together spread out."""

    def __attrs_post_init__(self) -> None:
        if self.maximum < self.minimum:
            msg = f"Backoff.maximum ({self.maximum} s) is below Backoff.minimum ({self.minimum} s)"
            raise ValueError(msg)

    @classmethod
    def reference(cls, *, seed: int | None = None) -> Backoff:
        """Return OpenClaw's policy: 6 retries, 8 ms x 1.35, at most 180 ms, jitter. It ends after 0.12 to 0.23 s.

        `seed` is that of the jitter; None: unpredictable.
        """
        return cls(minimum=0.008, factor=1.35, maximum=0.18, retries=6, jitter="proportional", seed=seed)

    def delays(self, deadline: float | None = None, *, clock: Callable[[], float] = time.monotonic) -> Iterator[float]:
        """Yield the seconds to sleep before each retry.

        Args:
            deadline: Value of `clock` at which the iterator ends; the last delay is cut so that the sleep ends there.
                None: only `retries` ends it.
            clock: Returns seconds.
        """
        dice = random.Random(self.seed)
        attempt = 0
        while self.retries is None or attempt < self.retries:
            delay = self._jittered(self._bare(attempt), dice)
            if deadline is not None:
                left = deadline - clock()
                if left <= 0:
                    return
                delay = min(delay, left)
            yield delay
            attempt += 1

    def _bare(self, attempt: int) -> float:
        try:
            return min(self.maximum, self.minimum * self.factor**attempt)
        except OverflowError:  # long after the maximum has taken over
            return self.maximum

    def _jittered(self, delay: float, dice: random.Random) -> float:
        if self.jitter == "full":
            return dice.uniform(self.minimum, delay)
        if self.jitter == "proportional":
            return min(self.maximum, delay * dice.uniform(1.0, 2.0))
        return delay
