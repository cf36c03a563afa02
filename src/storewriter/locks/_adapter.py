"""A lock strategy on one store file, as turns see it: the `LockAdapter` of files (`_turns/adapter.py`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from threading import Event
from typing import cast

from storewriter._files.keys import same_lock_file, sidecar
from storewriter._platform.owner import Owner
from storewriter.backoff import Backoff, RetriesExhausted
from storewriter.errors import StrategyMismatch
from storewriter.locks._protocol import Hold, Strategy, WaitingStrategy
from storewriter.locks._refusals import mismatch
from storewriter.locks.flock import Flock
from storewriter.locks.neighbours._detection import look, next_look
from storewriter.locks.neighbours._joined import Joined

_GUARDED = {"flock", "marker", "lease"}
"""Strategies that exclude other processes, each its own kind only."""


class FileLock:
    """See the module. Strategies that no kernel wakes are polled with the backoff."""

    def __init__(self, strategy: Strategy, backoff: Backoff, path: str) -> None:
        self.key = path
        self.settings = strategy
        self.is_quick = strategy.is_quick
        self._backoff = backoff
        # No functions of their own: an uncontended turn calls them, and their call would cost more than what they do.
        self.attempt: Callable[[str | None], Hold | None] = partial(strategy.attempt, path)
        self.next_look: Callable[[], float] = cast("Callable[[], float]", partial(next_look.get, path, 0.0))

    @property
    def name(self) -> str:
        """See `LockAdapter`."""
        return self.settings.name

    @property
    def sidecar(self) -> str:
        """See `LockAdapter`."""
        return sidecar(self.key)

    def look(self) -> None:
        """See `LockAdapter`: for the locks of other programs on this store."""
        look(self.key, self.settings)

    def wait(self, label: str | None, wanted: Callable[[], bool], replace: Callable[[], None]) -> Hold | None:
        """See `LockAdapter`."""
        strategy = self.settings
        if type(strategy) is Flock:  # nearly always, so it comes first
            return strategy.wait(self.key, label, replace)
        if isinstance(strategy, Joined) and _waits(strategy.own):
            return self._poll(wanted, partial(self._join, strategy, label, replace))
        if _waits(strategy):
            return self._wait(strategy, label, replace)
        return self._poll(wanted, partial(self.attempt, label))

    def _wait(self, strategy: Strategy, label: str | None, replace: Callable[[], None]) -> Hold:
        if getattr(type(strategy), "wait", None) is Flock.wait:  # and not a subclass's own
            return cast("Flock", strategy).wait(self.key, label, replace)
        hold = cast("WaitingStrategy", strategy).wait(self.key, label)
        if hold is None:  # a user's own method, which would be called for every wait
            msg = f"the lock {strategy.name!r} came back from wait() without a hold on {self.key}"
            raise TypeError(msg)
        return hold

    def _join(self, joined: Joined, label: str | None, replace: Callable[[], None]) -> Hold | None:
        """Wait in the kernel for our own lock, then try the neighbours'."""
        joined.begin(self.key)
        return joined.join(self._wait(joined.own, label, replace), self.key)

    def _poll(self, wanted: Callable[[], bool], attempt: Callable[[], Hold | None]) -> Hold | None:
        """Attempt, sleep, attempt. The deadlines are the tickets' own."""
        sleeping = Event()
        delays = self._backoff.delays()
        while True:
            hold = attempt()
            if hold is not None or not wanted():
                return hold
            delay = next(delays, None)
            if delay is None:
                raise RetriesExhausted
            sleeping.wait(delay)

    def owner(self) -> Owner | None:
        """See `LockAdapter`."""
        return self.settings.owner(self.key)

    def mismatch(self, owner: Owner) -> StrategyMismatch | None:
        """See `LockAdapter`."""
        ours = self.settings.name
        if owner.strategy is None or owner.strategy == ours or not {ours, owner.strategy} <= _GUARDED:
            return None
        return mismatch(self.key, ours, owner.strategy, owner)

    def whereabouts(self) -> str:
        """See `LockAdapter`."""
        strategy = self.settings
        others = strategy.neighbours if isinstance(strategy, Joined) else ()
        files = [sidecar(self.key), *(neighbour.lock_path(self.key) for neighbour in others)]
        return f"lock file{'s' if others else ''} {' and '.join(files)}"

    def advice(self, owner: Owner | None) -> None:
        """See `LockAdapter`."""

    def same_lock(self, keys: Iterable[str]) -> FileLock | None:
        """See `LockAdapter`: a folder above was renamed, and a link put there."""
        key = same_lock_file(self.key, keys)
        return None if key is None else FileLock(self.settings, self._backoff, key)


def _waits(strategy: Strategy) -> bool:
    """Whether the kernel wakes its waiters."""
    return getattr(strategy, "waits", False) is True  # `isinstance` with a protocol costs more than the rest of a wait
