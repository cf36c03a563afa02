"""How `marker` and `lease` get in: the steps that the two share.

Promise    Two contenders that see the same stale marker never both get in, and no release takes a successor's marker
           away: wherever kernel locks reach everybody, each of these happens under the guard (`_guard.py`); elsewhere
           filelock's exchange of names decides, and the marker is looked at once more after it was put down.
           A store that is in use with another strategy is found out before anybody writes (`StrategyMismatch`).
How        1. Look at the marker: a live owner's ends the attempt, with no lock touched.
           2. Take the presence: flock(2) on the sidecar, for the whole turn. Users of `flock` cannot get in meanwhile.
           3. Take the guard and look again: nothing changes any more.
           4. Take a stale marker away; put ours down (filelock's `O_CREAT | O_EXCL`).
           5. Look whether the marker at the path is ours, write the record into the sidecar, leave the guard.
Does not   wait for anybody: whoever is in the way ends the attempt. Runs in a thread all the same, because any of
           these steps may wait for a disk or a server.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Final

import attrs

from storewriter import _forks, _mounts, events
from storewriter._fcntl import HAS_FLOCK, fcntl
from storewriter._keys import sidecar
from storewriter._liveness import myself
from storewriter._mounts import Trust
from storewriter._owner import Owner
from storewriter._replace import temporary
from storewriter._system import CLOEXEC, NOFOLLOW, NONBLOCK
from storewriter.errors import LockLost
from storewriter.locks import _sidecar
from storewriter.locks._guard import guard, guard_for, try_guard
from storewriter.locks._marker_file import Seen, Watch, look, marker_file, read_marker, why_stale

if TYPE_CHECKING:
    from filelock import SoftFileLock

_KEEP: Final = 0.05
"""Seconds for which a hold is passed on inside a process at most: who waits in another one cannot be seen."""

_RELEASE: Final = 1.0
"""Seconds for which a release waits for the guard at most."""


_TOKEN: Final = re.compile("[0-9a-f]{32}")
"""How filelock names the hold of a lease."""


@attrs.define(eq=False)
class Loss:
    """Whether a hold's heartbeat has failed, or its marker was taken over."""

    path: str
    reason: str | None = None

    def report(self, reason: str) -> None:
        """Remember and tell, once. Called from the heartbeat's thread too."""
        if self.reason is not None:
            return
        self.reason = reason
        events.log.warning("the lock on %s was lost (%s); the commit will be refused", self.path, reason)
        if events.subscribers:
            events.emit(events.LeaseLost(path=self.path, reason=reason))


@attrs.frozen
class Terms:
    """What tells the two strategies apart."""

    name: str
    stale: float | None
    """Term of a lease in seconds; None: a marker never runs out."""
    make: Callable[[str, Loss], SoftFileLock] = attrs.field(eq=False)
    """From the marker's path to filelock's lock; one lock for one hold."""

    def __str__(self) -> str:
        return self.name if self.stale is None else f"lease(stale={self.stale:g})"

    @property
    def presence(self) -> int:
        """How the sidecar is locked: alone, or, so that a stuck holder can be succeeded, together with others."""
        return fcntl.LOCK_EX if self.stale is None else fcntl.LOCK_SH


@attrs.define(eq=False)
class _Contender:
    """What this process remembers of a store between two attempts."""

    lock: SoftFileLock
    loss: Loss
    watch: Watch = attrs.field(factory=Watch)
    tried: float = 0.0
    is_guarded: bool = False


_contenders: dict[tuple[str, Terms], _Contender] = {}
_MOST_CONTENDERS: Final = 64
_forks.in_child(_contenders.clear)


def _contender(path: str, terms: Terms) -> _Contender:
    key = (path, terms)
    known = _contenders.get(key)
    if known is None:
        if len(_contenders) >= _MOST_CONTENDERS:
            # Those that gave up. Whoever still waits begins to count again, which only costs it time.
            _contenders.pop(min(_contenders, key=lambda other: _contenders[other].tried), None)
        loss = Loss(path)
        known = _contenders[key] = _Contender(terms.make(marker_file(path), loss), loss)
    known.tried = time.monotonic()
    return known


def attempt(path: str, label: str | None, terms: Terms) -> ExistenceHold | None:
    """One try; see `Strategy.attempt`."""
    contender = _contender(path, terms)
    seen = look(path)
    if seen is not None and contender.is_guarded and _why_not_held(seen, path, terms, contender) is None:
        return None
    fd = _sidecar.open_sidecar(path)
    hold: ExistenceHold | None = None
    try:
        trust = _take_presence(fd, path, terms)
        if trust is not None:
            contender.is_guarded = trust in (Trust.LOCAL, Trust.SHARED)
            hold = _attempt_beside(fd, trust, path, terms, contender)
        if hold is not None:
            del _contenders[path, terms]
            _sidecar.write_record(fd, terms.name, label)
        return hold
    finally:
        if hold is None:
            _sidecar.close(fd)


def _take_presence(fd: int, path: str, terms: Terms) -> Trust | None:
    """Lock the sidecar for the turn; None if somebody is in the way, otherwise what the lock is worth.

    Raises StrategyMismatch.
    """
    found = os.fstat(fd)
    _sidecar.require_regular(found, path)
    if not HAS_FLOCK:
        return Trust.NONE
    try:
        fcntl.flock(fd, terms.presence | fcntl.LOCK_NB)
    except BlockingIOError:
        _sidecar.require_same_strategy(fd, path, terms.name)
        return None
    except OSError as error:
        if error.errno in _sidecar.NO_LOCKS:
            return Trust.NONE
        raise
    if not _sidecar.is_named(found.st_ino, found.st_dev, path):
        return None  # deleted since it was opened: the next attempt finds the new one
    return _mounts.examine(fd, sidecar(path), found.st_dev)[0]


def _attempt_beside(fd: int, trust: Trust, path: str, terms: Terms, contender: _Contender) -> ExistenceHold | None:
    """The rest of an attempt, beside the presence."""
    if not contender.is_guarded:
        return _step_in(fd, trust, path, terms, contender)
    with try_guard(path, trust) as is_held:
        return _step_in(fd, trust, path, terms, contender) if is_held else None


def _step_in(fd: int, trust: Trust, path: str, terms: Terms, contender: _Contender) -> ExistenceHold | None:
    seen = look(path)
    why = None if seen is None else _why_not_held(seen, path, terms, contender)
    if seen is not None and contender.is_guarded:
        if why is None:
            return None
        _remove(path, seen)
    elif seen is not None and why is not None and seen.is_empty:
        _give_an_end(path)
    if not _put_down(contender.lock):
        return None
    own = _open_own(path, terms, contender.lock)
    if own is None:
        # Taken for a dead one's and replaced before the record was in it. Its place was lost, nobody's turn was.
        contender.lock.release()
        return None
    if seen is not None and why is not None:
        _disarm(path)
        _tell_reclaimed(path, seen.owner, why)
    return ExistenceHold(fd, own, trust, path, terms, contender.lock, contender.loss)


def _why_not_held(seen: Seen, path: str, terms: Terms, contender: _Contender) -> str | None:
    """Why a marker does not count, in words; None: it does. Raises StrategyMismatch for another strategy's."""
    why = why_stale(seen, contender.watch.unchanged(seen), terms.stale)
    if why is None and seen.strategy is not None:
        theirs = seen.strategy if seen.stale is None else f"lease(stale={seen.stale:g})"
        if theirs != str(terms):
            raise _sidecar.mismatch(path, str(terms), theirs, owner_at(path))
    return why


def _remove(path: str, seen: Seen) -> None:
    """Take a stale marker away, under the guard: nobody can have put another one in its place."""
    name = marker_file(path)
    with contextlib.suppress(FileNotFoundError):  # its owner woke up and released it
        found = os.lstat(name)
        if (found.st_dev, found.st_ino) == seen.inode:
            os.unlink(name)


def _give_an_end(path: str) -> None:
    """Turn an empty marker into a damaged one, where there is no guard: filelock never takes an empty one over.

    A newline at its end makes it a record that was cut short. If its writer is alive after all and writes now, its
    record begins at the start of the file: it overwrites the newline, or is followed by an empty line that nobody
    minds.
    """
    with contextlib.suppress(OSError):  # not ours to write: its owner's own contenders will
        fd = os.open(marker_file(path), os.O_WRONLY | os.O_APPEND | NOFOLLOW | NONBLOCK | CLOEXEC)
        try:
            if os.fstat(fd).st_size == 0:
                os.write(fd, b"\n")
        finally:
            os.close(fd)


def _put_down(lock: SoftFileLock) -> bool:
    """Create the marker with its record; where there is no guard, filelock takes a stale one over."""
    from filelock import LeaseSettingsMismatch, Timeout

    try:
        lock.acquire(timeout=0, blocking=False)
    except (Timeout, LeaseSettingsMismatch):  # the next attempt's look says what it is
        return False
    if lock.lock_counter > 1:
        # Another thread with the same lock was faster: filelock counts it as one holder who came twice.
        lock.release()
        return False
    return True


def _open_own(path: str, terms: Terms, lock: SoftFileLock) -> int | None:
    """Open the marker that was put down, to know it again; None if the one at the path is not ours."""
    try:
        fd = os.open(marker_file(path), os.O_RDONLY | NOFOLLOW | NONBLOCK | CLOEXEC)
    except OSError:
        return None
    if _is_ours(read_marker(fd), terms, lock):
        return _sidecar.adopt(fd)
    os.close(fd)
    return None


def _is_ours(seen: Seen, terms: Terms, lock: SoftFileLock) -> bool:
    if terms.stale is not None:
        return seen.token is not None and seen.token == getattr(lock, "token", None)
    me = myself()
    return seen.owner is not None and (seen.owner.pid, seen.owner.host) == (me.pid, me.host)


def _disarm(path: str) -> None:
    """Take away what a predecessor has written and not yet renamed, before our turn begins.

    It may only be paused, after its check and before its rename, where no guard keeps us out. Without the file that
    rename fails, however late it comes; and if it was faster, our turn sees what it committed.
    """
    folder, spare = os.path.split(temporary(path))
    for name in os.listdir(folder):
        # Exactly a token behind it: the lock files of a store called `<name>.tmp.something` begin like that too.
        if name.startswith(f"{spare}.") and _TOKEN.fullmatch(name, len(spare) + 1):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(folder, name))


def _tell_reclaimed(path: str, owner: Owner | None, why: str) -> None:
    events.log.warning("took over the lock on %s from %s: %s", path, owner or "an unknown process", why)
    if events.subscribers:
        events.emit(events.LockReclaimed(path=path, owner=owner, reason=why))


def owner_at(path: str) -> Owner | None:
    """Who the marker names; the sidecar's record adds since when and what for, if it is by the same process."""
    try:
        seen = look(path)
    except OSError:
        return None
    if seen is None or seen.owner is None:
        return None
    fd = _sidecar.open_to_read(path)
    if fd is None:
        return seen.owner
    try:
        record = _sidecar.read_record(fd)
    finally:
        os.close(fd)
    if record is None or (record.pid, record.host, record.start_ticks) != (
        seen.owner.pid,
        seen.owner.host,
        seen.owner.start_ticks,
    ):
        return seen.owner
    return attrs.evolve(record, strategy=seen.strategy)


class ExistenceHold:
    """A marker that is ours, and the presence beside it."""

    __slots__ = ("_fd", "_found", "_generation", "_lock", "_loss", "_own", "_path", "_taken", "_terms", "_trust")

    def __init__(
        self, fd: int, own: int, trust: Trust, path: str, terms: Terms, lock: SoftFileLock, loss: Loss
    ) -> None:
        self._fd = fd
        self._found = os.fstat(fd)
        self._own = own
        self._trust = trust
        self._path = path
        self._terms = terms
        self._lock = lock
        self._loss = loss
        self._generation = _forks.generation
        self._taken = time.monotonic()

    @property
    def _commits_under_guard(self) -> bool:
        return self._terms.stale is not None and self._trust in (Trust.LOCAL, Trust.SHARED)

    def may_pass(self) -> bool:
        return time.monotonic() - self._taken < _KEEP and self._loss.reason is None

    def check(self) -> None:
        _sidecar.require_parent(self._generation, self._path)
        if self._loss.reason is None and not self._is_at_its_path():
            self._loss.report("another marker is in its place, or none")
        if self._loss.reason is not None:
            raise self._lost()
        if self._trust is not Trust.NONE:
            _sidecar.require_named(self._found.st_ino, self._found.st_dev, self._path)

    @property
    def token(self) -> str | None:
        # Only a lease can have a successor beside it.
        return None if self._terms.stale is None else getattr(self._lock, "token", None)

    @contextlib.contextmanager
    def fence(self) -> Generator[None]:
        _sidecar.require_parent(self._generation, self._path)
        with guard(self._path, self._trust) if self._commits_under_guard else contextlib.nullcontext():
            if self._terms.stale is not None:
                self._refresh()
            self.check()
            yield

    def describe(self, label: str | None) -> None:
        _sidecar.write_record(self._fd, self._terms.name, label)

    def release(self) -> None:
        if self._generation != _forks.generation:
            return
        if self._fd < 0:
            msg = f"the hold on {self._path} was already released"
            raise RuntimeError(msg)
        try:
            with self._release_guard():
                # A sign of life first, as for a commit: filelock looks whether the marker at the path is ours, and
                # then removes what is there.
                with contextlib.suppress(OSError):
                    os.utime(self._own)
                self._lock.release()
        finally:
            self._close()

    def _release_guard(self) -> contextlib.AbstractContextManager[object]:
        # Against a contender that found this marker stale: it must not put down its own between filelock's look at
        # the path and the removal. Somebody who keeps the guard for long is not such a one, or is stopped in the
        # middle, and then nobody else can put a marker down either.
        if self._commits_under_guard:
            return guard_for(self._path, self._trust, _RELEASE)
        return contextlib.nullcontext()

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if self._trust is not Trust.NONE:
            # Explicitly, and not only by closing: a child between fork and exec has a copy of the descriptor.
            with contextlib.suppress(OSError):
                fcntl.flock(fd, fcntl.LOCK_UN)
        _sidecar.close(fd)
        _sidecar.close(self._own)

    def __del__(self) -> None:
        # An interrupt between the lock and its holder loses the hold, and nobody else can give it back. filelock's
        # lock removes its marker by itself.
        if self._fd >= 0 and self._generation == _forks.generation:
            self._close()

    def _refresh(self) -> None:
        """Show a sign of life, before looking whether it was in time.

        A contender that has found the lease stale looks at the marker's times once more when it takes it over. So
        either it did before this, and the next look shows it, or it cannot for another term.
        """
        try:
            os.utime(self._own)
        except OSError as error:
            self._loss.report(f"its marker could not be refreshed: {error.strerror}")

    def _is_at_its_path(self) -> bool:
        try:
            named = os.lstat(marker_file(self._path))
        except OSError:
            return False
        # Our descriptor keeps the inode: its number cannot come back.
        return os.path.samestat(named, os.fstat(self._own))

    def _lost(self) -> LockLost:
        successor = owner_at(self._path)
        return LockLost(
            f"the turn on {self._path} was lost before its commit ({self._loss.reason}); "
            f"the lock is now held by {successor or 'nobody'}. Nothing was written: do it again on fresh state.",
            path=self._path,
            owner=successor,
        )
