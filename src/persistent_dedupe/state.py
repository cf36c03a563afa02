"""What one object knows in one process: memory, checks that are running, claims that are open, counters.

A forked child starts with an empty one: the checks and claims it would inherit belong to threads that it does not have.
"""

from __future__ import annotations

import heapq
import os
import threading
import uuid
import weakref
from pathlib import Path

import attrs

from persistent_dedupe.document import Sighting
from persistent_dedupe.keys import ScopedKey
from persistent_dedupe.options import DedupeOptions, Window
from persistent_dedupe.results import CheckResult, OpenClaim, Reports
from persistent_dedupe.runner import OneShotResult

__all__ = ["ClaimEnd", "LocalClaim", "Memory", "ProcessState", "RunningCheck", "is_held_here"]


@attrs.define(eq=False)
class Memory:
    """Keys seen lately, over all namespaces of one object. Its methods may be called from any thread."""

    window: Window
    limit: int
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _times: dict[ScopedKey, float] = attrs.field(factory=dict[ScopedKey, float], init=False)
    _ages: list[tuple[float, str, str]] = attrs.field(factory=list[tuple[float, str, str]], init=False)
    # Invariant: every entry of `_times` has its item among the ages; items that `_times` contradicts are outdated.

    def __len__(self) -> int:
        with self._lock:
            return len(self._times)

    def peek(self, scoped: ScopedKey, now: float) -> float | None:
        """When the key was first seen, if that is recent; an expired entry is removed."""
        with self._lock:
            seen_at = self._times.get(scoped)
            if seen_at is not None and not self.window.is_recent(seen_at, now):
                del self._times[scoped]
                return None
            return seen_at

    def remember(self, scoped: ScopedKey, seen_at: float, now: float) -> None:
        """Store a first sighting at the end; drop what has expired, then from the front until the limit fits."""
        if self.limit == 0:
            return
        believed = self.window.believed(seen_at, now)
        with self._lock:
            self._times.pop(scoped, None)
            self._times[scoped] = believed
            heapq.heappush(self._ages, (believed, scoped.namespace, scoped.key))
            self._drop_expired(now)
            while len(self._times) > self.limit:
                del self._times[next(iter(self._times))]
            self._compact()

    def forget(self, scoped: ScopedKey) -> None:
        """Remove the key."""
        with self._lock:
            self._times.pop(scoped, None)

    def clear(self) -> None:
        """Remove everything."""
        with self._lock:
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


@attrs.define(eq=False)
class RunningCheck:
    """A check of one key that is under way in this object."""

    outcome: OneShotResult[CheckResult | None] = attrs.field(factory=OneShotResult["CheckResult | None"])
    """Its answer; None if its caller got none (cancelled, or an error was raised)."""
    found: Sighting | None = None
    """What it has found in the file. If its caller got no answer, the next check goes on from there."""


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
    outcome: OneShotResult[ClaimEnd] = attrs.field(factory=OneShotResult[ClaimEnd], init=False)
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
        self.memory = Memory(options.window, options.memory_limit)
        # Guards everything below.
        self._lock = threading.Lock()
        self._checks: dict[ScopedKey, RunningCheck] = {}
        self._claims: dict[ScopedKey, LocalClaim] = {}

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
        check.outcome.set(result)

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
        claim.outcome.set(end)
