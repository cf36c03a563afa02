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

import contextlib
import os
import struct
import time
from collections.abc import Generator
from typing import Final

import attrs

from storewriter import events
from storewriter._files.keys import sidecar
from storewriter._platform import forks
from storewriter._platform.descriptors import Descriptor
from storewriter._platform.interrupts import quietly
from storewriter._platform.liveness import Verdict, judge, myself
from storewriter._platform.owner import Owner
from storewriter._platform.system import CLOEXEC, NOFOLLOW, NONBLOCK
from storewriter.errors import LockLost, StrategyMismatch
from storewriter.locks import _sidecar
from storewriter.locks._protocol import Hold, Strategy
from storewriter.locks.neighbours import _heartbeat
from storewriter.locks.neighbours._protocol import Claim, Neighbour

__all__ = ["Joined", "JoinedHold"]

HOLD: Final = 0.02
"""Seconds for which our programs have a neighbour's lock without a gap, about."""
GAP: Final = 0.01
"""Seconds of a gap: the neighbours' polls, a few milliseconds apart, find the lock free in it."""
SETTLE: Final = 0.1
"""Seconds after a take-over until the lock counts as ours."""


@attrs.frozen
class Joined:
    """See the module."""

    own: Strategy
    neighbours: tuple[Neighbour, ...]
    """In the order in which they are taken."""
    given: Strategy = attrs.field(eq=False, repr=False)
    """What `lock=` was."""

    is_quick = False

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
        _pace(path).begin()

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
        return ", ".join(repr(neighbour) for neighbour in self.neighbours)


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
        pace = _pace(self._path)
        if fd is not None:
            pace.last_gap = max(pace.last_gap, _agree(fd, self._path, self._strategy))
        if pace.leave_gap() and fd is not None:
            _note_gap(fd, pace.last_gap)
        for neighbour in self._strategy.neighbours:
            claim = neighbour.claim(self._path)
            self._claims.append(claim)
            if not claim.take():
                return False
        if any(claim.was_reclaimed for claim in self._claims) and not self._settles():
            return False
        self._taken = time.monotonic()
        if any(claim.interval is not None for claim in self._claims):
            _heartbeat.begin(self)
        return True

    def _settles(self) -> bool:
        """After a take-over: whether the locks are still ours when slower contenders have had their time."""
        time.sleep(SETTLE)
        return all(claim.is_ours() for claim in self._claims)

    # -- see Hold ------------------------------------------------------------------------------------------------------

    @property
    def token(self) -> str | None:
        return self._own.token

    def may_pass(self) -> bool:
        if self._is_lost or time.monotonic() - self._taken >= HOLD or not self._own.may_pass():
            return False
        return all(claim.is_ours() for claim in self._claims)

    def check(self) -> None:
        self._own.check()
        self._require_claims()

    @contextlib.contextmanager
    def fence(self) -> Generator[None]:
        with self._own.fence():
            self._require_claims()
            yield

    def _require_claims(self) -> None:
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
        _pace(self._path).last_end = time.monotonic()
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
        with contextlib.suppress(Exception):  # it had come to its end when the interrupt arrived
            hold.release()
        raise


# -- gaps --------------------------------------------------------------------------------------------------------------


class _Pace:
    """When this process has had the locks of one store, or has waited for them."""

    __slots__ = ("last_end", "last_gap", "since")

    def __init__(self) -> None:
        self.since = 0.0
        """Since when there has been no natural gap."""
        self.last_end = 0.0
        self.last_gap = 0.0
        """When our programs last left a gap. By time.monotonic(), which all processes of a host share."""

    def begin(self) -> None:
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


_paces: dict[str, _Pace] = {}


def _pace(path: str) -> _Pace:
    known = _paces.get(path)
    if known is None:
        if len(_paces) >= 256:
            _paces.clear()  # each begins to count again: a gap comes a moment later
        known = _paces[path] = _Pace()
    return known


# -- what our programs write for each other, behind the record in the sidecar ------------------------------------------

_PLACE: Final = 2048
_LENGTH: Final = 1024
_MOMENT: Final = struct.Struct("<d")


def _sidecar_of(own: Hold) -> int | None:
    """The open sidecar of a hold of ours; None for a strategy without one."""
    for holder in (own, getattr(own, "presence", None)):
        if isinstance(holder, _sidecar.LockFile) and holder.is_open:
            return holder.fd
    return None


def _agree(fd: int, path: str, strategy: Joined) -> float:
    """Make sure that every program of ours takes the same neighbours' locks; returns when the last gap was.

    Raises StrategyMismatch if a running one does not.
    """
    found = os.pread(fd, _LENGTH, _PLACE)
    line = found[_MOMENT.size :].partition(b"\n")[0]
    gap = float(_MOMENT.unpack(found[: _MOMENT.size])[0]) if len(found) > _MOMENT.size else 0.0
    ours = _agreement(strategy)
    if line != ours:
        _require_agreement(line, path, strategy)
        quietly(os.pwrite, fd, ours + b"\n", _PLACE + _MOMENT.size)  # on a full disk: the next turn writes it again
    return gap if 0.0 <= gap <= time.monotonic() else 0.0


def _note_gap(fd: int, moment: float) -> None:
    quietly(os.pwrite, fd, _MOMENT.pack(moment), _PLACE)


_agreements: dict[tuple[str, int], bytes] = {}
forks.in_child(_agreements.clear)


def _agreement(strategy: Joined) -> bytes:
    key = (strategy.settings, os.getpid())
    known = _agreements.get(key)
    if known is None:
        owner = attrs.evolve(myself(), command=None, strategy=strategy.name, label=strategy.settings)
        known = _agreements[key] = owner.to_record().rstrip(b"\n")
    return known


def _require_agreement(line: bytes, path: str, strategy: Joined) -> None:
    other = Owner.from_record(line)
    # Two settings in one process meet in their lane, if they meet at all.
    if other is None or other.pid == os.getpid() or other.label == strategy.settings:
        return
    if judge(other) is not Verdict.ALIVE:
        return
    raise different_neighbours(path, strategy.settings, other.label or "", other)


def different_neighbours(path: str, ours: str, theirs: str, owner: Owner) -> StrategyMismatch:
    """The error for a program of ours that takes other neighbours' locks on the same store."""
    return StrategyMismatch(
        f"pid {owner.pid} on {owner.host} uses {path} with {theirs or 'no lock of a neighbour program'}, and "
        f"{ours or 'none'} was asked for: one of the two is not excluded from the neighbour. "
        f"Configure the same lock= and also= in every program, or let that one end first.",
        path=path,
        ours=ours,
        theirs=theirs,
        owner=owner,
    )


def neighbours_of_others(path: str) -> tuple[str, Owner] | None:
    """The neighbours' locks that a running program of ours takes beside our own; None: nothing is known of one.

    For a program that takes none, which does not look here at every turn.
    """
    file = Descriptor()
    try:
        fd = file.open(os.open, sidecar(path), os.O_RDONLY | NOFOLLOW | NONBLOCK | CLOEXEC)
        found = os.pread(fd, _LENGTH, _PLACE)
    except OSError as error:
        if error.errno is None:
            raise  # a signal handler's
        return None
    finally:
        file.close(quietly=True)
    other = Owner.from_record(found[_MOMENT.size :].partition(b"\n")[0])
    if other is None or other.pid == os.getpid() or judge(other) is not Verdict.ALIVE or not other.label:
        return None
    return other.label, other
