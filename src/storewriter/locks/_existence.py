"""How `marker` and `lease` take the lock: the steps that the two share.

Promise    Of two contenders that see the same stale marker at most one gets the lock, and no release removes a
           successor's marker: where kernel locks reach every contender, each of these happens with the presence held
           alone, or under the guard (`_guard.py`); elsewhere filelock's exchange of names decides, and the marker is
           read once more after it was put down.
           A store that is in use with another strategy is refused before anything is written (`StrategyMismatch`).
How        1. Look at the marker: a live owner's ends the attempt, with no lock touched.
           2. Take the presence: flock(2) on the sidecar, for the whole turn. It excludes holders of `flock`, and other
              holders of `marker`, which take it alone; leases share it.
           3. For a lease take the guard. Look again: nothing changes any more.
           4. Take a stale marker away; put ours down (filelock's `O_CREAT | O_EXCL`).
           5. Look whether the marker at the path is ours, write the record into the sidecar, leave the guard.
Does not   wait for another holder: if the lock is held, the attempt ends. Runs in a thread all the same, because any
           of these steps may wait for a disk or a server.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Final

import attrs
from filelock import LeaseSettingsMismatch, Timeout

from storewriter import events
from storewriter._files.keys import sidecar
from storewriter._files.replace import temporary
from storewriter._platform import forks, mounts
from storewriter._platform.interrupts import is_of_a_step, quietly
from storewriter._platform.liveness import Verdict, judge, myself
from storewriter._platform.mounts import Trust
from storewriter._platform.owner import Owner
from storewriter._platform.system import CLOEXEC, NOFOLLOW, NONBLOCK
from storewriter.errors import LockLost, NotARegularFile
from storewriter.locks import _rights, _sidecar
from storewriter.locks._guard import Guard
from storewriter.locks._marker_file import (
    GRACE,
    RELEASED,
    Seen,
    UnreadableMarker,
    Watch,
    look,
    marker_file,
    read_marker,
    why_stale,
)

if TYPE_CHECKING:
    from filelock import SoftFileLock

_KEEP: Final = 0.05
"""Seconds for which a hold is passed on inside a process at most: waiters in other processes cannot be detected."""

_RELEASE: Final = 1.0
"""Seconds for which a release waits for the guard at most."""


_OWN: Final = os.O_RDWR | NOFOLLOW | NONBLOCK | CLOEXEC
"""For writing too: a marker can be given back even if it cannot be removed."""

_TOKEN: Final = re.compile("[0-9a-f]{32}")
"""How filelock names the hold of a lease."""


@attrs.define(eq=False)
class Loss:
    """Whether a hold's heartbeat has failed, or its marker was taken over."""

    path: str
    reason: str | None = None

    def report(self, reason: str) -> None:
        """Record the reason, log it and emit `LeaseLost`, once. Called from the heartbeat's thread too."""
        if self.reason is not None:
            return
        self.reason = reason
        events.log.warning("the lock on %s was lost (%s); the commit will be refused", self.path, reason)
        if events.subscribers:
            events.emit(events.LeaseLost(path=self.path, reason=reason))


@attrs.frozen
class Terms:
    """The differences of the two strategies."""

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
    is_waiting: bool = False
    """Whether the last attempt, not long ago, found the lock held."""
    is_short: bool = False
    """Whether it has been logged that descriptors or memory have run out meanwhile."""
    unreadable_since: float | None = None
    """Since when the marker could not be read for want of rights."""


_contenders: dict[tuple[str, Terms], _Contender] = {}
_MOST_CONTENDERS: Final = 64
_GIVEN_UP: Final = 10.0
"""Seconds without an attempt after which the waiter has given up; the next attempt is that of another caller."""
_SHORTAGES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""What has run out may be there again in a moment."""
forks.in_child(_contenders.clear)


_settling: set[ExistenceHold] = set()
"""Holds of this process whose marker is being put down, and may not be open yet."""
forks.in_child(_settling.clear)

_LEFT_BEHIND: Final = "left behind by this very process, in which nobody holds it any more"


def _contender(path: str, terms: Terms) -> _Contender:
    key = (path, terms)
    known = _contenders.get(key)
    if known is None:
        if len(_contenders) >= _MOST_CONTENDERS:
            # The entry with the oldest attempt. If that caller still waits, its marker ages anew: it only waits longer.
            _contenders.pop(min(_contenders, key=lambda other: _contenders[other].tried), None)
        loss = Loss(path)
        known = _contenders[key] = _Contender(terms.make(marker_file(path), loss), loss)
    now = time.monotonic()
    if now - known.tried > _GIVEN_UP:
        known.is_waiting = known.is_short = False
    known.tried = now
    return known


def attempt(path: str, label: str | None, terms: Terms) -> ExistenceHold | None:
    """One try; see `Strategy.attempt`.

    If descriptors or memory have run out, a new caller gets the error; a caller that waits already tries again, until
    its deadline.
    """
    contender = _contender(path, terms)
    try:
        hold = _attempt(path, label, terms, contender)
        contender.unreadable_since = None
    except UnreadableMarker:
        if _is_unreadable_for_good(contender):
            raise
        hold = None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG and error.filename == marker_file(path):
            raise _too_long(path, terms, error) from error
        if not (contender.is_waiting and error.errno in _SHORTAGES):
            raise
        if not contender.is_short:
            events.log.warning("waiting for %s goes on, although %s", path, error)
        contender.is_short = True
        _contenders[path, terms] = contender  # the caller still waits, whichever step failed
        return None
    contender.is_waiting = hold is None
    return hold


def _is_unreadable_for_good(contender: _Contender) -> bool:
    """A marker gets its rights right after it was created: until then it counts as a living owner's."""
    now = time.monotonic()
    if contender.unreadable_since is None:
        contender.unreadable_since = now
    return now - contender.unreadable_since >= GRACE


def _too_long(path: str, terms: Terms, error: OSError) -> OSError:
    return OSError(
        error.errno,
        f"{marker_file(path)}, the marker of {path}, is a longer name than its file system allows: lock={terms.name!r} "
        f"needs 8 bytes more than the store's own name. Give the store a shorter one, or use lock='flock'.",
    )


def _attempt(path: str, label: str | None, terms: Terms, contender: _Contender) -> ExistenceHold | None:
    seen = look(path)
    if seen is not None and contender.is_guarded and _why_not_held(seen, path, terms, contender) is None:
        return None
    hold = ExistenceHold(path, terms, contender.lock, contender.loss)
    is_ours = False
    try:
        trust = _take_presence(hold.presence.open_at(path, sidecar(path)), path, terms)
        if trust is not None:
            hold.trust = trust
            contender.is_guarded = trust in (Trust.LOCAL, Trust.SHARED)
            if contender.is_guarded and terms.stale is not None:
                hold.guard = Guard(path)
            is_ours = _attempt_beside(hold, contender)
        if is_ours:
            _sidecar.write_record(hold.presence.fd, terms.name, label)
    except BaseException:
        is_ours = False
        # Interrupted, perhaps, with the marker put down.
        hold.lock.release(force=True)
        raise
    finally:
        if not is_ours:
            hold.close()
    return hold if is_ours else None


def _take_presence(fd: int, path: str, terms: Terms) -> Trust | None:
    """Lock the sidecar for the turn; None if it is locked already, otherwise what the lock is worth.

    Raises StrategyMismatch.
    """
    found = os.fstat(fd)
    _sidecar.require_regular(found, path)
    try:
        fcntl.flock(fd, terms.presence | fcntl.LOCK_NB)
    except BlockingIOError:
        _sidecar.require_same_strategy(fd, path, terms.name)
        return None
    except OSError as error:
        if error.errno in _sidecar.NO_LOCKS:
            _sidecar.look_over(fd, found, path, sidecar(path))
            return Trust.NONE
        raise
    if not _sidecar.is_named(found.st_ino, found.st_dev, path):
        return None  # deleted since it was opened: the next attempt finds the new one
    _sidecar.look_over(fd, found, path, sidecar(path))
    return mounts.examine(fd, sidecar(path), found.st_dev)[0]


def _attempt_beside(hold: ExistenceHold, contender: _Contender) -> bool:
    """The rest of an attempt, beside the presence. The hold has the marker if it is true, and nothing otherwise."""
    guard = hold.guard
    if guard is None:
        return _step_in(hold, contender)
    try:
        return guard.take(wait=False) and _step_in(hold, contender)
    finally:
        guard.leave()


def _step_in(hold: ExistenceHold, contender: _Contender) -> bool:
    path, terms = hold.path, hold.terms
    seen = look(path)
    why = None if seen is None else _why_not_held(seen, path, terms, contender)
    if seen is not None and contender.is_guarded:
        if why is None:
            return False
        _remove(path, seen)
    elif seen is not None and why is _LEFT_BEHIND:
        _remove(path, seen)  # no other process takes it over: its owner, this process, is alive
    elif seen is not None and why is not None and seen.is_empty:
        _give_an_end(path)
    # From here on only the hold refers to filelock's lock object: collected, it removes its marker.
    _contenders.pop((path, terms), None)
    if not _settle(hold):
        _contenders[path, terms] = contender
        return False
    if seen is not None and why is not None:
        _disarm(path)
        _tell_reclaimed(path, seen.owner, why)
    return True


def _settle(hold: ExistenceHold) -> bool:
    """Put the marker down and open it. False: another owner's is there."""
    try:
        _settling.add(hold)
        if not _put_down(hold.lock):
            return False
        if _open_own(hold):
            return True
        # Taken for a dead owner's marker, and replaced, before the record was in it. The hold had not begun.
        hold.lock.release()
        return False
    finally:
        _settling.discard(hold)  # one call in C: no interrupt can come before it


def _why_not_held(seen: Seen, path: str, terms: Terms, contender: _Contender) -> str | None:
    """Why a marker does not count, in words; None: it does.

    Raises StrategyMismatch for another strategy's, NotARegularFile for a folder in its place: no process will release
    that, and it cannot be removed like a file.
    """
    if seen.is_folder:
        name = marker_file(path)
        raise NotARegularFile(
            f"{name}, where the marker of {path} belongs, is a folder: lock={terms.name!r} cannot work there. "
            f"Move it away.",
            path=path,
            kind="a folder",
        )
    why = why_stale(seen, contender.watch.unchanged(seen), terms.stale)
    if why is None and _is_left_behind(seen):
        return _LEFT_BEHIND
    if why is None and seen.strategy is not None:
        theirs = seen.strategy if seen.stale is None else f"lease(stale={seen.stale:g})"
        if theirs != str(terms):
            raise _sidecar.mismatch(path, str(terms), theirs, owner_at(path))
    return why


def _is_left_behind(seen: Seen) -> bool:
    """Whether a marker is this process's own although no hold in it has it: a release failed, or was never called.

    Every hold has its marker open (`ExistenceHold.own`), so the marker is looked up by inode: a path may lead to it
    through a bind mount or a link. While another hold settles (`_settling`), this is False: it may be its marker.
    """
    owner = seen.owner
    if owner is None or owner.pid != os.getpid() or _settling or _sidecar.has_open(*seen.inode):
        return False
    me = myself()
    return all(
        getattr(owner, fact) == getattr(me, fact) for fact in ("host", "pid_namespace", "boot_id", "start_ticks")
    )


def _remove(path: str, seen: Seen) -> None:
    """Take a stale marker away, where no other contender can have put another one in its place."""
    name = marker_file(path)
    with contextlib.suppress(FileNotFoundError):  # its owner woke up and released it
        found = os.lstat(name)
        if (found.st_dev, found.st_ino) == seen.inode:
            os.unlink(name)


def _give_an_end(path: str) -> None:
    """Turn an empty marker into a damaged one, where there is no guard: filelock never takes an empty one over.

    A newline at its end makes it a record that was cut short. If its writer is alive after all and writes now, its
    record begins at the start of the file: it overwrites the newline, or is followed by an empty line, which does
    no harm.
    """
    with contextlib.suppress(OSError):  # not ours to write: its owner's own contenders will
        fd = os.open(marker_file(path), os.O_WRONLY | os.O_APPEND | NOFOLLOW | NONBLOCK | CLOEXEC)
        try:
            found = os.fstat(fd)
            if found.st_size == 0 and found.st_nlink == 1:
                os.write(fd, b"\n")
        finally:
            os.close(fd)


def _put_down(lock: SoftFileLock) -> bool:
    """Create the marker with its record; where there is no guard, filelock takes a stale one over."""
    try:
        lock.acquire(timeout=0, blocking=False)
    except (Timeout, LeaseSettingsMismatch):  # the next attempt's look says what it is
        return False
    if lock.lock_counter > 1:
        # Another thread with the same lock object was faster: filelock counts a second acquisition by one holder.
        lock.release()
        return False
    return True


def _open_own(hold: ExistenceHold) -> bool:
    """Open the marker that was put down, to know it again. False: the one at the path is not ours."""
    try:
        hold.own.open(os.open, marker_file(hold.path), _OWN)
    except OSError:
        return False
    found = os.fstat(hold.own.fd)
    if not _is_ours(read_marker(hold.own.fd, found), hold.terms, hold.lock):
        return False
    _rights.share(hold.own.fd, found, hold.path)
    return True


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


def owner_of_store(path: str) -> Owner | None:
    """The holder: the owner of the marker, or the process that has the sidecar locked.

    A dead owner's marker excludes no process; a child that has inherited the lock on the sidecar may.
    """
    owner = owner_at(path)
    if owner is not None and judge(owner) is not Verdict.GONE:
        return owner
    return _sidecar.holder(path) or owner


def owner_at(path: str) -> Owner | None:
    """The owner that the marker names; the sidecar's record adds `since` and `label`, if it is by the same process."""
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


class ExistenceHold:
    """A marker that is ours, and the presence beside it."""

    __slots__ = (
        "_generation",
        "_is_repeated",
        "_loss",
        "_taken",
        "guard",
        "lock",
        "own",
        "path",
        "presence",
        "terms",
        "trust",
    )

    def __init__(self, path: str, terms: Terms, lock: SoftFileLock, loss: Loss) -> None:
        self.path = path
        self.terms = terms
        self.lock = lock
        """filelock's. Lost with the hold, it removes its marker by itself."""
        self.presence = _sidecar.LockFile()
        """The sidecar."""
        self.own = _sidecar.LockFile()
        """The marker: open, so that its inode's number cannot come back, and this process knows that it is held."""
        self.trust = Trust.NONE
        self.guard: Guard | None = None
        """What commits and releases of a lease happen under; None where they need none, or there is none."""
        self._loss = loss
        self._generation = forks.generation
        self._is_repeated = False
        self._taken = time.monotonic()

    def may_pass(self) -> bool:
        return time.monotonic() - self._taken < _KEEP and self._loss.reason is None

    def check(self) -> None:
        if self._generation != forks.generation:
            raise _sidecar.is_parents(self.path)
        if self._loss.reason is None and not self._is_at_its_path():
            self._loss.report("another marker is in its place, or none")
        if self._loss.reason is not None:
            raise self._lost()
        if self.trust is not Trust.NONE:
            locked = os.fstat(self.presence.fd)
            if not _sidecar.is_named(locked.st_ino, locked.st_dev, self.path):
                raise _sidecar.taken_away(self.path)

    @property
    def token(self) -> str | None:
        # Only a lease can have a successor beside it.
        return None if self.terms.stale is None else getattr(self.lock, "token", None)

    @contextlib.contextmanager
    def fence(self) -> Generator[None]:
        if self._generation != forks.generation:
            raise _sidecar.is_parents(self.path)
        guard = self.guard
        try:
            if guard is not None:
                guard.take(wait=True)
            if self.terms.stale is not None:
                self._refresh()
            self.check()
            yield
        finally:
            if guard is not None:
                guard.leave()

    def describe(self, label: str | None) -> None:
        _sidecar.write_record(self.presence.fd, self.terms.name, label)

    def release(self) -> None:
        if self._generation != forks.generation:
            return
        if not self.presence.is_open:
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
            # An interrupted release is repeated (`_turns/line.py`): the presence goes after the marker.
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
        quietly(os.utime, self.own.fd)
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
        os.pwrite(self.own.fd, RELEASED, 0)  # before the rest goes: it is never empty
        os.ftruncate(self.own.fd, len(RELEASED))
        events.log.warning("the marker of %s could not be removed; it stays, as one that was given back", self.path)
        return True

    def close(self) -> None:
        """Let go of the guard and of all files. Can be repeated."""
        if self.guard is not None:
            self.guard.close()
        self.own.close()
        if self.presence.is_open and self.trust is not Trust.NONE:
            # Explicitly, and not only by closing: a child between fork and exec has a copy of the descriptor.
            quietly(fcntl.flock, self.presence.fd, fcntl.LOCK_UN)
        self.presence.close()

    def _refresh(self) -> None:
        """Show a sign of life, before looking whether it was in time.

        A contender that has found the lease stale looks at the marker's times once more when it takes it over. So
        either it did before this, and the next look shows it, or it cannot for another term.
        """
        try:
            os.utime(self.own.fd)
        except OSError as error:
            self._loss.report(f"its marker could not be refreshed: {error.strerror}")

    def _is_at_its_path(self) -> bool:
        try:
            named = os.lstat(marker_file(self.path))
        except OSError as error:
            if error.errno is None:
                raise  # a signal handler's
            return False
        # Our descriptor keeps the inode: its number cannot come back.
        return os.path.samestat(named, os.fstat(self.own.fd))

    def _lost(self) -> LockLost:
        successor = owner_at(self.path)
        return LockLost(
            f"the turn on {self.path} was lost before its commit ({self._loss.reason}); "
            f"the lock is now held by {successor or 'nobody'}. Nothing was written: do it again on fresh state.",
            path=self.path,
            owner=successor,
        )
