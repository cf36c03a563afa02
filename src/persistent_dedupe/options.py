"""The options of a dedupe object, one frozen and validated value, and the window of time that they define."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Literal

import attrs
from attrs import validators

from storewriter import PerStoreWriterQueue

__all__ = ["BadFile", "DedupeOptions", "Failure", "Window", "moment"]


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
        """The time that counts: one too far ahead counts as now, so that it blocks for one TTL at most."""
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


Failure = Literal["open", "closed"]
BadFile = Literal["start-empty", "raise", "leave"]


def _number(instance: Any, attribute: attrs.Attribute[Any], value: float | None) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        msg = f"DedupeOptions.{attribute.name} must be a finite number, got {value!r}"
        raise ValueError(msg)


_seconds = validators.and_(_number, validators.ge(0))


def _queue(instance: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and not isinstance(value, PerStoreWriterQueue):
        msg = f"DedupeOptions.queue must be a PerStoreWriterQueue, got {value!r}"
        raise TypeError(msg)


@attrs.frozen(kw_only=True)
class DedupeOptions:
    """Options of `PersistentDedupe` and `AsyncPersistentDedupe`. Raises ValueError for what is out of range."""

    ttl: float = attrs.field(validator=_number)
    """Seconds for which a key counts as recent, rounded down to milliseconds. 0 or less: for ever, that is, until
    `file_max_entries` pushes it out. All writers of a file should use the same value: each prunes by its own."""
    memory_max_size: float = attrs.field(default=1_000, validator=_number)
    """Keys kept in memory over all namespaces, rounded down. 0 or less: no memory, every check looks into the file."""
    file_max_entries: float = attrs.field(default=10_000, validator=_number)
    """Keys kept in one file, rounded down, at least 1. Beyond it the oldest go; `counters.evicted` counts those that
    had not expired."""
    on_disk_error: Callable[[Exception], object] | None = None
    """Called with every error of a file, a lock timeout included, whatever the call then returns."""
    failure: Failure = attrs.field(default="open", validator=validators.in_(("open", "closed")))
    """What a check answers if the file cannot be used. `open`: new, not recorded (an event handled twice is better
    than one never handled). `closed`: the error is raised (an event refused is better than one handled twice)."""
    bad_file: BadFile | None = attrs.field(
        default=None, validator=validators.in_((None, "start-empty", "raise", "leave"))
    )
    """What a recording call does about a file that cannot be understood. `start-empty`: it is moved aside under a
    unique name, never deleted, and the namespace starts empty. `raise`: moved aside, and this one call raises.
    `leave`: it stays as it is, byte for byte, and every call is answered by `failure`. None: `start-empty` if failing
    open, `leave` if failing closed. Calls that only read never move anything."""
    blank_key: Literal["new", "error"] = attrs.field(default="new", validator=validators.in_(("new", "error")))
    """A blank key names no event: `new` every time and never recorded, or a ValueError."""
    future_tolerance: float = attrs.field(default=300.0, validator=_seconds)
    """Seconds that a time in the file may be ahead of the clock. One further ahead counts as now, and is reported."""
    claim_limit: float | None = attrs.field(
        default=None, validator=validators.optional(validators.and_(_number, validators.gt(0)))
    )
    """Seconds after which a claim may be taken over although its owner lives. None: only a dead owner's claim is."""
    timeout: float = attrs.field(default=30.0, validator=_seconds)
    """Seconds that one call waits for its turn at the file, all in all."""
    durability: Literal["power", "process"] = attrs.field(
        default="power", validator=validators.in_(("power", "process"))
    )
    """`power`: a recorded key survives a power cut. `process`: it survives the death of any process."""
    queue: PerStoreWriterQueue | None = attrs.field(default=None, validator=_queue)
    """Which lock strategy guards the files (with its own timeout); None: the default one, with `timeout`."""
    neighbour_lock: bool | None = None
    """Whether OpenClaw's lock is taken as well for the files of keys, so that a gateway that writes the same file is
    excluded. None: for files in OpenClaw's state directory (`$OPENCLAW_STATE_DIR`, or `~/.openclaw`). A `queue` decides
    by itself, with its `also`."""
    clock: Callable[[], float] = time.time
    """Seconds since the epoch."""

    @property
    def window(self) -> Window:
        """The rule for what is recent."""
        return Window(whole_milliseconds(self.ttl), whole_milliseconds(self.future_tolerance))

    @property
    def memory_limit(self) -> int:
        """Entries that memory may hold, from 0."""
        return max(0, math.floor(self.memory_max_size))

    @property
    def file_limit(self) -> int:
        """Entries that one file may hold, from 1."""
        return max(1, math.floor(self.file_max_entries))

    @property
    def on_bad_file(self) -> BadFile:
        """`bad_file` with its default filled in."""
        if self.bad_file is not None:
            return self.bad_file
        return "start-empty" if self.failure == "open" else "leave"
