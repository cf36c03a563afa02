"""The hold of `marker` and `lease`: a marker that is ours, and the lock on the sidecar beside it.

Promise    A commit is fenced: refreshed and checked under the guard that every take-over needs. A release removes this
           hold's marker only; one that cannot be removed is given a content that says that it was given back.
"""

from __future__ import annotations

import fcntl
import os
import time
from typing import TYPE_CHECKING, Final

from storewriter import events
from storewriter._files.keys import is_named
from storewriter._platform import forks
from storewriter._platform.interrupts import is_of_a_step, quietly
from storewriter._platform.mounts import Trust
from storewriter.errors import LockLost
from storewriter.locks._guard import Guard
from storewriter.locks._lock_file import LockFile
from storewriter.locks._marker_file import RELEASED, marker_file
from storewriter.locks._marker_owner import owner_at
from storewriter.locks._marker_policy import LeaseState, MarkerPolicy
from storewriter.locks._record import write_record
from storewriter.locks._refusals import is_parents, taken_away

if TYPE_CHECKING:
    from filelock import SoftFileLock

_KEEP: Final = 0.05
"""Seconds for which a hold is passed on inside a process at most: waiters in other processes cannot be detected."""

_RELEASE: Final = 1.0
"""Seconds for which a release waits for the guard at most."""


def _take_soon(guard: Guard) -> None:
    """Take the guard, or go on without it after a while, or if its file was deleted and cannot be opened anew."""
    deadline = time.monotonic() + _RELEASE
    try:
        while True:  # with a condition, its jump back might have no handler (tests/turns/test_loops_in_handlers.py)
            if guard.take(wait=False) or time.monotonic() >= deadline:
                return
            time.sleep(0.002)
    except OSError as error:
        if error.errno is None:
            raise  # a signal handler's


class _Fence:
    """Around the instant of a commit: under the guard, refreshed and checked.

    No generator: in one, a StopIteration of a signal handler becomes a RuntimeError.
    """

    __slots__ = ("_hold",)

    def __init__(self, hold: MarkerHold) -> None:
        self._hold = hold

    def __enter__(self) -> None:
        hold = self._hold
        try:
            if hold.guard is not None:
                hold.guard.take(wait=True)
            if hold.policy.stale is not None:
                hold.refresh()
            hold.check()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        guard = self._hold.guard
        if guard is not None:
            guard.leave()


class MarkerHold:
    """A marker that is ours, and the lock on the sidecar beside it."""

    __slots__ = (
        "_generation",
        "_is_repeated",
        "_state",
        "_taken",
        "guard",
        "lock",
        "marker",
        "path",
        "policy",
        "sidecar_lock",
        "trust",
    )

    def __init__(self, path: str, policy: MarkerPolicy, lock: SoftFileLock, state: LeaseState) -> None:
        self.path = path
        self.policy = policy
        self.lock = lock
        """filelock's. Lost with the hold, it removes its marker by itself."""
        self.sidecar_lock = LockFile()
        """The sidecar."""
        self.marker = LockFile()
        """The marker: open, so that its inode's number cannot come back, and this process knows that it is held."""
        self.trust = Trust.NONE
        self.guard: Guard | None = None
        """What commits and releases of a lease happen under; None where they need none, or there is none."""
        self._state = state
        self._generation = forks.generation
        self._is_repeated = False
        self._taken = time.monotonic()

    def may_pass(self) -> bool:
        return time.monotonic() - self._taken < _KEEP and self._state.reason is None

    def check(self) -> None:
        if self._generation != forks.generation:
            raise is_parents(self.path)
        if self._state.reason is None and not self._is_at_its_path():
            self._state.report("another marker is in its place, or none")
        if self._state.reason is not None:
            raise self._lost()
        if self.trust is not Trust.NONE:
            locked = os.fstat(self.sidecar_lock.fd)
            if not is_named(locked.st_ino, locked.st_dev, self.path):
                raise taken_away(self.path)

    @property
    def token(self) -> str | None:
        # Only a lease can have a successor beside it.
        return None if self.policy.stale is None else getattr(self.lock, "token", None)

    def fence(self) -> _Fence:
        if self._generation != forks.generation:
            raise is_parents(self.path)
        return _Fence(self)

    def describe(self, label: str | None) -> None:
        write_record(self.sidecar_lock.fd, self.policy.name, label)

    def release(self) -> None:
        if self._generation != forks.generation:
            return
        if not self.sidecar_lock.is_open:
            msg = f"the hold on {self.path} was already released"
            raise RuntimeError(msg)
        try:
            if self.guard is not None:
                # Against a contender that found this marker stale: it must not put down its own between filelock's
                # look at the path and the removal. One that keeps the guard for long is not doing that, or is stopped
                # in the middle, and then no other one can put a marker down either.
                _take_soon(self.guard)
            self._give_back()
        except BaseException as error:
            # An interrupted release is repeated (`_turns/line.py`): the lock on the sidecar goes after the marker.
            if self._is_the_end(error):
                self.close()
            self._is_repeated = True
            raise
        self.close()

    def _is_the_end(self, error: BaseException) -> bool:
        return self._is_repeated or is_of_a_step(error)

    def _give_back(self) -> None:
        # A sign of life first, as for a commit: filelock looks whether the marker at the path is ours, and then removes
        # what is there.
        quietly(os.utime, self.marker.fd)
        try:
            self.lock.release()  # ends the heartbeat first
        except BaseException as error:
            if not self._is_the_end(error):
                raise  # it will be removed when this is repeated
            # Up to filelock 4.2 a marker that could not be removed was passed over in silence, since 4.3 it is an
            # error. Either way it was given up, unless filelock says that it holds it still.
            if not self._give_back_what_stays() or self.lock.is_locked or not isinstance(error, OSError):
                raise
        else:
            self._give_back_what_stays()

    def _give_back_what_stays(self) -> bool:
        """A marker that could not be removed (a folder that may not be written for the moment) has no owner any more.

        False where none had stayed. Raises OSError if that cannot be said in it either: then it keeps other processes
        out as long as this one lives, or until this one takes it over.
        """
        if not self._is_at_its_path():
            return False
        os.pwrite(self.marker.fd, RELEASED, 0)  # before the rest goes: it is never empty
        os.ftruncate(self.marker.fd, len(RELEASED))
        events.log.warning("the marker of %s could not be removed; it stays, as one that was given back", self.path)
        return True

    def close(self) -> None:
        """Let go of the guard and of all files. Can be repeated."""
        if self.guard is not None:
            self.guard.close()
        self.marker.close()
        if self.sidecar_lock.is_open and self.trust is not Trust.NONE:
            # Explicitly, and not only by closing: a child between fork and exec has a copy of the descriptor.
            quietly(fcntl.flock, self.sidecar_lock.fd, fcntl.LOCK_UN)
        self.sidecar_lock.close()

    def refresh(self) -> None:
        """Show a sign of life, before looking whether it was in time.

        A contender that has found the lease stale looks at the marker's times once more when it takes it over. So
        either it did before this, and the next look shows it, or it cannot for another term.
        """
        try:
            os.utime(self.marker.fd)
        except OSError as error:
            if error.errno is None:
                raise  # a signal handler's
            self._state.report(f"its marker could not be refreshed: {error.strerror}")

    def _is_at_its_path(self) -> bool:
        try:
            named = os.lstat(marker_file(self.path))
        except OSError as error:
            if error.errno is None:
                raise  # a signal handler's
            return False
        # Our descriptor keeps the inode: its number cannot come back.
        return os.path.samestat(named, os.fstat(self.marker.fd))

    def _lost(self) -> LockLost:
        successor = owner_at(self.path)
        return LockLost(
            f"the turn on {self.path} was lost before its commit ({self._state.reason}); "
            f"the lock is now held by {successor or 'no process'}. Nothing was written: do it again on fresh state.",
            path=self.path,
            owner=successor,
        )
