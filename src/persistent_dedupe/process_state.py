"""What one object knows in one process: memory, checks that are running, claims that are open, counters.

A forked child starts with an empty one: the checks and claims it would inherit belong to threads that it does not have.
"""

from __future__ import annotations

import os
import threading
import uuid
import weakref
from pathlib import Path

import attrs

from persistent_dedupe.keys import ScopedKey
from persistent_dedupe.latch import Latch
from persistent_dedupe.memory import Memory
from persistent_dedupe.options import DedupeOptions
from persistent_dedupe.reports import Reports
from persistent_dedupe.results import CheckResult, OpenClaim

__all__ = ["CheckEnd", "ClaimEnd", "LocalClaim", "ProcessState", "RunningCheck", "is_held_here"]


@attrs.frozen
class CheckEnd:
    """How a running check ended."""

    result: CheckResult | None
    """Its answer; None if its caller got none (cancelled, or an error was raised)."""
    decided: float | None = None
    """The time with which it may have recorded the key before its caller went away unanswered."""


@attrs.define(eq=False)
class RunningCheck:
    """A check of one key that is under way in this object."""

    latch: Latch[CheckEnd] = attrs.field(factory=Latch[CheckEnd])
    decided: float | None = None
    """The time with which this check records the key, once it has found it new."""
    seen_at: float | None = None
    """The time that it has found recorded by another caller."""

    def note(self, is_new: bool, seen_at: float) -> None:
        """Note what the check has found, for the case that its caller never gets the answer."""
        self.decided, self.seen_at = (seen_at, None) if is_new else (None, seen_at)


@attrs.frozen
class ClaimEnd:
    """How a claim in this object ended: by a result, by an error, or because another caller turned out to own it."""

    result: bool = False
    error: Exception | None = None
    holder: OpenClaim | None = None


_held: weakref.WeakValueDictionary[str, LocalClaim] = weakref.WeakValueDictionary()
"""Token to claim, of every object of this process. A claim whose object is gone has no owner."""


@attrs.define(eq=False)
class LocalClaim:
    """A claim that this object owns."""

    scoped: ScopedKey
    token: str = attrs.field(factory=lambda: uuid.uuid4().hex, init=False)
    latch: Latch[ClaimEnd] = attrs.field(factory=Latch[ClaimEnd], init=False)
    is_written: bool = attrs.field(default=False, init=False)
    """Whether it may stand in the namespace's claims."""

    def __attrs_post_init__(self) -> None:
        _held[self.token] = self


def is_held_here(token: str) -> bool:
    """Whether some object of this process still owns the claim with this token."""
    return token in _held


class ProcessState:
    """Shared by the threads and tasks that use one object; every method may be called from any thread."""

    def __init__(self, options: DedupeOptions) -> None:
        self.pid = os.getpid()
        self.reports = Reports()
        self.swept: set[Path] = set()
        """Files whose left-over temporary files have been looked for."""
        # Guards everything below.
        self._lock = threading.Lock()
        self._memory = Memory(options.window, options.memory_limit)
        self._checks: dict[ScopedKey, RunningCheck] = {}
        self._claims: dict[ScopedKey, LocalClaim] = {}

    def recall(self, scoped: ScopedKey, now: float) -> float | None:
        """The first sighting of the key by memory, if that is recent."""
        with self._lock:
            return self._memory.peek(scoped, now)

    def remember(self, scoped: ScopedKey, seen_at: float, now: float) -> None:
        """Put a first sighting into memory."""
        with self._lock:
            self._memory.remember(scoped, seen_at, now)

    def forget(self, scoped: ScopedKey) -> bool:
        """Remove a key from memory; whether it was there."""
        with self._lock:
            return self._memory.forget(scoped)

    def clear_memory(self) -> None:
        """Empty the memory."""
        with self._lock:
            self._memory.clear()

    def memory_size(self) -> int:
        """Keys in memory."""
        with self._lock:
            return len(self._memory)

    def begin_check(self, scoped: ScopedKey) -> tuple[RunningCheck, bool]:
        """The running check of this key, and whether it is the caller's own."""
        mine = RunningCheck()
        with self._lock:
            running = self._checks.setdefault(scoped, mine)
        return running, running is mine

    def end_check(self, scoped: ScopedKey, check: RunningCheck, result: CheckResult | None) -> None:
        """The check is over: its waiters go on."""
        with self._lock:
            del self._checks[scoped]
        check.latch.set(CheckEnd(result, check.decided))

    def begin_claim(self, scoped: ScopedKey) -> tuple[LocalClaim, bool]:
        """The claim on this key in this object, and whether it is the caller's own."""
        mine = LocalClaim(scoped)
        with self._lock:
            owned = self._claims.setdefault(scoped, mine)
        return owned, owned is mine

    def claim(self, scoped: ScopedKey) -> LocalClaim | None:
        """The claim on this key in this object."""
        with self._lock:
            return self._claims.get(scoped)

    def end_claim(self, claim: LocalClaim, end: ClaimEnd) -> None:
        """The claim is over: its waiters get the outcome."""
        with self._lock:
            if self._claims.get(claim.scoped) is claim:
                del self._claims[claim.scoped]
        _held.pop(claim.token, None)
        claim.latch.set(end)
