"""A strategy with neighbours' locks inside: our own lock first, then theirs, released in reverse.

Promise    A turn holds our own lock and every neighbour's. While a neighbour holds its lock, ours is given back and the
           attempt repeated later, so our other processes do not wait behind one that waits. A lock that was lost to
           another program ends the hold: it is not passed on, and its commit is refused (`LockLost`).
How        Neighbours' programs poll, and give up after a fraction of a second. So a hold is passed on inside this
           process for `HOLD` seconds at most. When our programs together have had the locks for that long without a
           gap, the next attempt leaves the neighbours' locks alone for `GAP` seconds, while it holds our own. The time
           of the last gap is kept in the sidecar, for all our processes.
           The sidecar also names the neighbours' locks that are taken: a running program of ours that is configured
           differently is refused (`StrategyMismatch`).
Pauses     An attempt pauses for `GAP`, or after a take-over for `SETTLE`, at most, and therefore never runs on an event
           loop (`is_quick = False`). After a take-over, because a contender that judged the abandoned lock before may
           remove ours right after it was put down: the look after the pause shows that.
"""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager, suppress
from types import TracebackType
from typing import Final

import attrs

from storewriter import events
from storewriter._platform import forks
from storewriter._platform.owner import Owner
from storewriter.errors import LockLost
from storewriter.locks._lock_file import LockFile
from storewriter.locks._protocol import Hold, Strategy
from storewriter.locks.neighbours import _heartbeat
from storewriter.locks.neighbours._agreement import agree, note_gap
from storewriter.locks.neighbours._pace import HOLD, pace_of
from storewriter.locks.neighbours._protocol import Claim, Neighbour

__all__ = ["Joined", "JoinedHold"]

SETTLE: Final = 0.1
"""Seconds after a take-over until the lock counts as ours."""


@attrs.frozen(repr=False)
class Joined:
    """See the module."""

    own: Strategy
    neighbours: tuple[Neighbour, ...]
    """In the order in which they are taken."""
    given: Strategy = attrs.field(eq=False)
    """What `lock=` was."""

    is_quick = False

    def __repr__(self) -> str:
        """The lock and its neighbours as they were given."""
        also = self.neighbours if self.given == self.own else self.neighbours[1:]
        return " with ".join(map(repr, (self.given, *also)))

    @property
    def name(self) -> str:
        """See `Strategy`."""
        return self.own.name

    def attempt(self, path: str, label: str | None) -> JoinedHold | None:
        """See `Strategy`."""
        self.begin(path)
        own = self.own.attempt(path, label)
        return None if own is None else self.join(own, path)

    def begin(self, path: str) -> None:
        """An attempt begins: from now on our programs count as busy with the store."""
        pace_of(path).begin()

    def join(self, own: Hold, path: str) -> JoinedHold | None:
        """Take the neighbours' locks, with our own held. None: one is busy, and our own was given back.

        Raises what `Claim.take` raises, and StrategyMismatch; our own lock was given back then.
        """
        hold = JoinedHold(self, own, path)
        is_ours = False
        try:
            is_ours = hold.take()
        finally:
            if not is_ours:
                _give_back(hold)
        return hold if is_ours else None

    def owner(self, path: str) -> Owner | None:
        """See `Strategy`. Our own lock is held for an instant by every program of ours that polls a neighbour's.

        So a neighbour's holder comes first, unless it is one of ours, of which our own record has more.
        """
        own = self.own.owner(path)
        others = [owner for one in self.neighbours if (owner := one.owner(path)) is not None]
        named = [owner for owner in others if owner.pid is not None]
        if named and (own is None or own.pid != named[0].pid):
            return named[0]
        if others and not named and (own is None or own.pid == os.getpid()):
            return others[0]
        return own

    @property
    def settings(self) -> str:
        """What a program of ours must agree on, as text."""
        return ", ".join([repr(neighbour) for neighbour in self.neighbours])


class _Fence:
    """Around the instant of a commit: our own lock's fence, and the claims looked at in it.

    No generator: in one, a StopIteration of a signal handler becomes a RuntimeError.
    """

    __slots__ = ("_hold", "_own")

    def __init__(self, hold: JoinedHold, own: AbstractContextManager[None]) -> None:
        self._hold = hold
        self._own = own

    def __enter__(self) -> None:
        self._own.__enter__()
        try:
            self._hold.require_claims()
        except BaseException as error:
            self._own.__exit__(type(error), error, error.__traceback__)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._own.__exit__(kind, error, trace)


class JoinedHold:
    """Our own hold, and the claims on the neighbours' locks."""

    __slots__ = ("__weakref__", "_claims", "_generation", "_is_lost", "_own", "_path", "_strategy", "_taken")

    def __init__(self, strategy: Joined, own: Hold, path: str) -> None:
        self._strategy = strategy
        self._own = own
        self._path = path
        self._claims: list[Claim] = []
        self._generation = forks.generation
        self._taken = 0.0
        self._is_lost = False

    # -- taking --------------------------------------------------------------------------------------------------------

    def take(self) -> bool:
        """Take every neighbour's lock. False: one is busy; `release` must follow then, and whatever is raised."""
        fd = _sidecar_of(self._own)
        pace = pace_of(self._path)
        if fd is not None:
            pace.last_gap = max(pace.last_gap, agree(fd, self._path, self._strategy.name, self._strategy.settings))
        if pace.leave_gap() and fd is not None:
            note_gap(fd, pace.last_gap)
        for neighbour in self._strategy.neighbours:
            claim = neighbour.claim(self._path)
            self._claims.append(claim)
            if not claim.take():
                return False
        if any([claim.was_reclaimed for claim in self._claims]) and not self._settles():
            return False
        self._taken = time.monotonic()
        if any([claim.interval is not None for claim in self._claims]):
            _heartbeat.begin(self)
        return True

    def _settles(self) -> bool:
        """After a take-over: whether the locks are still ours when slower contenders have had their time."""
        time.sleep(SETTLE)
        return self._are_ours()

    # -- see Hold ------------------------------------------------------------------------------------------------------

    @property
    def token(self) -> str | None:
        return self._own.token

    def may_pass(self) -> bool:
        if self._is_lost or time.monotonic() - self._taken >= HOLD or not self._own.may_pass():
            return False
        return self._are_ours()

    def _are_ours(self) -> bool:
        for claim in self._claims:
            if not claim.is_ours():
                return False
        return True

    def check(self) -> None:
        self._own.check()
        self.require_claims()

    def fence(self) -> AbstractContextManager[None]:
        return _Fence(self, self._own.fence())

    def require_claims(self) -> None:
        for neighbour, claim in zip(self._strategy.neighbours, self._claims, strict=True):
            if not claim.renew():
                self._lose(neighbour)
                successor = neighbour.owner(self._path)
                raise LockLost(
                    f"the turn on {self._path} was lost before its commit: {neighbour.lock_path(self._path)}, the lock "
                    f"that a {neighbour.name} program takes, was removed or taken over, and is now held by "
                    f"{successor or 'an unknown process, or none'}. Nothing was written: do it again on fresh state.",
                    path=self._path,
                    owner=successor,
                )

    def _lose(self, neighbour: Neighbour) -> None:
        """Record the reason, log it and emit `LeaseLost`, once. Called by the heartbeat, too."""
        if self._is_lost:
            return
        self._is_lost = True
        reason = f"{neighbour.name}'s lock was removed or taken over by another program"
        events.log.warning("the lock on %s was lost (%s); the commit will be refused", self._path, reason)
        if events.subscribers:
            events.emit(events.LeaseLost(path=self._path, reason=reason))

    def describe(self, label: str | None) -> None:
        self._own.describe(label)

    def release(self) -> None:
        if self._generation != forks.generation:
            return
        _heartbeat.end(self)
        for claim in reversed(self._claims):
            try:
                claim.release()
            except OSError as error:
                if error.errno is None:
                    raise  # a signal handler's: the release is repeated
                # Our own lock must go all the same. What stays is taken over when its time has come.
                events.log.warning("a neighbour's lock of %s could not be given back: %s", self._path, error)
        pace_of(self._path).last_end = time.monotonic()
        self._own.release()

    def beat(self) -> None:
        """Renew what is due. Called by the heartbeat's thread."""
        for neighbour, claim in zip(self._strategy.neighbours, self._claims, strict=False):
            try:
                is_ours = claim.interval is None or claim.renew()
            except Exception as error:  # noqa: BLE001 - the check before the commit meets it, in its caller's thread
                events.log.debug("a neighbour's lock of %s could not be renewed: %r", self._path, error)
                continue
            if not is_ours and _heartbeat.is_beating(self):  # and not gone because it is being given back
                self._lose(neighbour)


def _give_back(hold: JoinedHold) -> None:
    try:
        hold.release()
    except BaseException:
        with suppress(Exception):  # it had come to its end when the interrupt arrived
            hold.release()
        raise


def _sidecar_of(own: Hold) -> int | None:
    """The open sidecar of a hold of ours; None for a strategy without one."""
    for holder in (own, getattr(own, "sidecar_lock", None)):
        if isinstance(holder, LockFile) and holder.is_open:
            return holder.fd
    return None
