"""How `marker` and `lease` take the lock: the steps that the two share.

Promise    Of two contenders that see the same stale marker at most one gets the lock, and no release removes a
           successor's marker: where kernel locks reach every contender, each of these happens with the sidecar locked
           alone, or under the guard (`_guard.py`); elsewhere filelock's exchange of names decides, and the marker is
           read once more after it was put down.
           A store that is in use with another strategy is refused before anything is written (`StrategyMismatch`).
How        1. Look at the marker: a live owner's ends the attempt, with no lock touched.
           2. Lock the sidecar with flock(2), for the whole turn. It excludes holders of `flock`, and other
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
from _thread import start_new_thread
from typing import TYPE_CHECKING, Final

import attrs
from filelock import LeaseSettingsMismatch, Timeout

from storewriter import events
from storewriter._files.keys import is_named, sidecar
from storewriter._files.replace import temporary
from storewriter._platform import forks, mounts
from storewriter._platform.liveness import myself
from storewriter._platform.mounts import Trust
from storewriter._platform.owner import Owner
from storewriter._platform.system import CLOEXEC, NOFOLLOW, NONBLOCK
from storewriter.errors import NotARegularFile
from storewriter.locks import _rights
from storewriter.locks._guard import Guard
from storewriter.locks._holder import require_same_strategy
from storewriter.locks._lock_file import NO_LOCKS, has_open, look_over, require_own_file
from storewriter.locks._marker_file import (
    GRACE,
    MarkerAge,
    Seen,
    UnreadableMarker,
    look,
    marker_file,
    read_marker,
    why_stale,
)
from storewriter.locks._marker_hold import MarkerHold
from storewriter.locks._marker_owner import owner_at
from storewriter.locks._marker_policy import LeaseState, MarkerPolicy
from storewriter.locks._record import write_record
from storewriter.locks._refusals import mismatch

if TYPE_CHECKING:
    from filelock import SoftFileLock


_OWN: Final = os.O_RDWR | NOFOLLOW | NONBLOCK | CLOEXEC
"""For writing too: a marker can be given back even if it cannot be removed."""

_TOKEN: Final = re.compile("[0-9a-f]{32}")
"""How filelock names the hold of a lease."""


@attrs.define(eq=False)
class _Contender:
    """What this process remembers of a store between two attempts."""

    lock: SoftFileLock
    state: LeaseState
    age: MarkerAge = attrs.field(factory=MarkerAge)
    tried: float = 0.0
    is_guarded: bool = False
    is_waiting: bool = False
    """Whether the last attempt, not long ago, found the lock held."""
    is_short: bool = False
    """Whether it has been logged that descriptors or memory have run out meanwhile."""
    unreadable_since: float | None = None
    """Since when the marker could not be read for want of rights."""


_contenders: dict[tuple[str, MarkerPolicy], _Contender] = {}
_MOST_CONTENDERS: Final = 64
_GIVEN_UP: Final = 10.0
"""Seconds without an attempt after which the waiter has given up; the next attempt is that of another caller."""
_SHORTAGES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""What has run out may be there again in a moment."""
forks.in_child(_contenders.clear)


_settling: set[MarkerHold] = set()
"""Holds of this process whose marker is being put down, and may not be open yet."""
forks.in_child(_settling.clear)

_LEFT_BEHIND: Final = "left behind by this very process, in which it is not held any more"


def _contender(path: str, policy: MarkerPolicy) -> _Contender:
    key = (path, policy)
    known = _contenders.get(key)
    if known is None:
        if len(_contenders) >= _MOST_CONTENDERS:
            # The entry with the oldest attempt. If that caller still waits, its marker ages anew: it only waits longer.
            _contenders.pop(min(_contenders, key=lambda other: _contenders[other].tried), None)
        state = LeaseState(path)
        known = _contenders[key] = _Contender(policy.make(marker_file(path), state), state)
    now = time.monotonic()
    if now - known.tried > _GIVEN_UP:
        known.is_waiting = known.is_short = False
    known.tried = now
    return known


def attempt_marker(path: str, label: str | None, policy: MarkerPolicy) -> MarkerHold | None:
    """One try; see `Strategy.attempt`.

    If descriptors or memory have run out, a new caller gets the error; a caller that waits already tries again, until
    its deadline.
    """
    contender = _contender(path, policy)
    try:
        hold = _attempt(path, label, policy, contender)
        contender.unreadable_since = None
    except UnreadableMarker:
        if _is_unreadable_for_good(contender):
            raise
        hold = None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG and error.filename == marker_file(path):
            raise _too_long(path, policy, error) from error
        if not (contender.is_waiting and error.errno in _SHORTAGES):
            raise
        if not contender.is_short:
            events.log.warning("waiting for %s goes on, although %s", path, error)
        contender.is_short = True
        _contenders[path, policy] = contender  # the caller still waits, whichever step failed
        return None
    contender.is_waiting = hold is None
    return hold


def _is_unreadable_for_good(contender: _Contender) -> bool:
    """A marker gets its rights right after it was created: until then it counts as a living owner's."""
    now = time.monotonic()
    if contender.unreadable_since is None:
        contender.unreadable_since = now
    return now - contender.unreadable_since >= GRACE


def _too_long(path: str, policy: MarkerPolicy, error: OSError) -> OSError:
    return OSError(
        error.errno,
        f"{marker_file(path)}, the marker of {path}, is a longer name than its file system allows: "
        f"lock={policy.name!r} needs 8 bytes more than the store's own name. Give the store a shorter one, or use "
        f"lock='flock'.",
    )


def _attempt(path: str, label: str | None, policy: MarkerPolicy, contender: _Contender) -> MarkerHold | None:
    seen = look(path)
    if seen is not None and contender.is_guarded and _why_not_held(seen, path, policy, contender) is None:
        return None
    hold = MarkerHold(path, policy, contender.lock, contender.state)
    try:
        is_ours = False
        trust = _lock_sidecar(hold.sidecar_lock.open_at(path, sidecar(path)), path, policy)
        if trust is not None:
            hold.trust = trust
            contender.is_guarded = trust in (Trust.LOCAL, Trust.SHARED)
            if contender.is_guarded and policy.stale is not None:
                hold.guard = Guard(path)
            is_ours = _attempt_beside(hold, contender)
        if is_ours:
            write_record(hold.sidecar_lock.fd, policy.name, label)
        else:
            hold.close()
    except BaseException:
        try:
            _drop(hold)
        except BaseException:
            # Interrupted once more. As `ending.end_apart`: nothing can come before the thread has started.
            start_new_thread(_drop_apart, (hold,))
            raise
        raise
    return hold if is_ours else None


def _drop(hold: MarkerHold) -> None:
    """End an attempt that was interrupted, perhaps with the marker put down. Can be repeated."""
    try:
        hold.lock.release(force=True)
    finally:
        hold.close()


def _drop_apart(hold: MarkerHold) -> None:
    try:
        _drop(hold)
    except OSError:
        events.log.exception("could not give up an interrupted attempt to lock %s", hold.path)


def _lock_sidecar(fd: int, path: str, policy: MarkerPolicy) -> Trust | None:
    """Lock the sidecar for the turn; None if it is locked already, otherwise what the lock is worth.

    Raises StrategyMismatch.
    """
    found = os.fstat(fd)
    require_own_file(found, path)
    try:
        fcntl.flock(fd, policy.lock_kind | fcntl.LOCK_NB)
    except BlockingIOError:
        require_same_strategy(fd, path, policy.name)
        return None
    except OSError as error:
        if error.errno in NO_LOCKS:
            look_over(fd, found, path, sidecar(path))
            return Trust.NONE
        raise
    if not is_named(found.st_ino, found.st_dev, path):
        return None  # deleted since it was opened: the next attempt finds the new one
    look_over(fd, found, path, sidecar(path))
    return mounts.examine(fd, sidecar(path), found.st_dev)[0]


def _attempt_beside(hold: MarkerHold, contender: _Contender) -> bool:
    """The rest of an attempt, with the sidecar locked. The hold has the marker if it is true, and nothing otherwise."""
    guard = hold.guard
    if guard is None:
        return _step_in(hold, contender)
    try:
        return guard.take(wait=False) and _step_in(hold, contender)
    finally:
        guard.leave()


def _step_in(hold: MarkerHold, contender: _Contender) -> bool:
    path, policy = hold.path, hold.policy
    seen = look(path)
    why = None if seen is None else _why_not_held(seen, path, policy, contender)
    if seen is not None and contender.is_guarded:
        if why is None:
            return False
        _remove(path, seen)
    elif seen is not None and why is _LEFT_BEHIND:
        _remove(path, seen)  # no other process takes it over: its owner, this process, is alive
    elif seen is not None and why is not None and seen.is_empty:
        _give_an_end(path)
    # From here on only the hold refers to filelock's lock object: collected, it removes its marker.
    _contenders.pop((path, policy), None)
    if not _settle(hold):
        _contenders[path, policy] = contender
        return False
    if seen is not None and why is not None:
        _disarm(path)
        _tell_reclaimed(path, seen.owner, why)
    return True


def _settle(hold: MarkerHold) -> bool:
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


def _why_not_held(seen: Seen, path: str, policy: MarkerPolicy, contender: _Contender) -> str | None:
    """Why a marker does not count, in words; None: it does.

    Raises StrategyMismatch for another strategy's, NotARegularFile for a folder in its place: no process will release
    that, and it cannot be removed like a file.
    """
    if seen.is_folder:
        name = marker_file(path)
        raise NotARegularFile(
            f"{name}, where the marker of {path} belongs, is a folder: lock={policy.name!r} cannot work there. "
            f"Move it away.",
            path=path,
            kind="a folder",
        )
    why = why_stale(seen, contender.age.unchanged(seen), policy.stale)
    if why is None and _is_left_behind(seen):
        return _LEFT_BEHIND
    if why is None and seen.strategy is not None:
        theirs = seen.strategy if seen.stale is None else f"lease(stale={seen.stale:g})"
        if theirs != str(policy):
            raise mismatch(path, str(policy), theirs, owner_at(path))
    return why


def _is_left_behind(seen: Seen) -> bool:
    """Whether a marker is this process's own although no hold in it has it: a release failed, or was never called.

    Every hold has its marker open (`MarkerHold.marker`), so the marker is looked up by inode: a path may lead to it
    through a bind mount or a link. While another hold settles (`_settling`), this is False: it may be its marker.
    """
    owner = seen.owner
    if owner is None or owner.pid != os.getpid() or _settling or has_open(*seen.inode):
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


def _open_own(hold: MarkerHold) -> bool:
    """Open the marker that was put down, to know it again. False: the one at the path is not ours."""
    try:
        hold.marker.open(os.open, marker_file(hold.path), _OWN)
    except OSError as error:
        if error.errno is None:
            raise  # a signal handler's
        return False
    found = os.fstat(hold.marker.fd)
    if not _is_ours(read_marker(hold.marker.fd, found), hold.policy, hold.lock):
        return False
    _rights.share(hold.marker.fd, found, hold.path)
    return True


def _is_ours(seen: Seen, policy: MarkerPolicy, lock: SoftFileLock) -> bool:
    if policy.stale is not None:
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
