"""The process that has the sidecar of a store locked: what the kernel shows, with what the record adds."""

from __future__ import annotations

import fcntl
import os
import sys

import attrs

from storewriter._files.keys import sidecar
from storewriter._platform.kernel_locks import all_that_locked, flock_holders, has_locked
from storewriter._platform.liveness import Verdict, describe, here, is_same, judge
from storewriter._platform.owner import Owner
from storewriter._platform.system import CLOEXEC, NOFOLLOW, NONBLOCK
from storewriter.locks._record import read_record, record_line
from storewriter.locks._refusals import mismatch


def sidecar_holder(path: str) -> Owner | None:
    """The holder of the kernel lock on a store's sidecar; None: it is free, as far as can be seen from here.

    A sidecar that this process may not open is looked up in /proc/locks all the same, which needs no right to it.
    """
    fd = open_to_read(path)
    if fd is None:
        return _owner_from_outside(path)
    try:
        return owner_of(fd)
    finally:
        os.close(fd)


def _owner_from_outside(path: str) -> Owner | None:
    try:
        found = os.lstat(sidecar(path))
    except OSError:
        return None
    holders = flock_holders(found)
    return _named(holders, found, None) if holders else None


def open_to_read(path: str) -> int | None:
    """Open a store's sidecar for looking only; None if there is none."""
    try:
        return os.open(sidecar(path), os.O_RDONLY | NOFOLLOW | NONBLOCK | CLOEXEC)
    except OSError:
        return None


def owner_of(fd: int) -> Owner | None:
    """The holder of the kernel lock. The kernel decides who that is; the record adds `since` and `label`.

    The kernel names the processes that can be seen from here, by their pids here. In its record a process of another
    container has the pid of its own namespace.
    """
    record = read_record(fd)
    found = os.fstat(fd)
    holders = flock_holders(found)
    if holders:
        return _named(holders, found, record)
    if not (sys.platform == "linux" and os.path.exists("/proc/locks")):
        return record
    # /proc/locks leaves out the processes of other containers.
    is_foreign = record is not None and judge(record) is Verdict.UNKNOWN
    return record if is_foreign and _is_locked(fd) else None


def _named(holders: list[int], found: os.stat_result, record: Owner | None) -> Owner:
    """The holder, with what its record adds, if that is its own."""
    is_foreign = record is not None and judge(record) is Verdict.UNKNOWN
    if record is not None and is_foreign:
        seen = next((pid for pid in holders if pid > 0 and is_same(pid, record)), None)
        if seen is not None:
            return attrs.evolve(describe(seen), since=record.since, label=record.label, strategy=record.strategy)
    is_recorded = record is not None and not is_foreign and record.pid in holders
    taker = record.pid if record is not None and is_recorded else holders[0]
    if taker is None or taker <= 0:
        return record if record is not None and is_foreign else Owner()
    own = record if is_recorded else None
    has_it = has_locked(taker, found)
    has_ended = not here().is_running(taker) or (own is not None and judge(own) is Verdict.GONE)
    if has_it is not False and not has_ended:
        # A process that keeps no record (flock(1), filelock, another language): the kernel reports its pid only.
        return describe(taker) if own is None else own
    return _heir(taker, has_ended, found, own)


def _heir(taker: int, has_ended: bool, found: os.stat_result, record: Owner | None) -> Owner:
    """The holder of a lock whose taker has it no more: flock(2) belongs to the open file, which children inherit.

    `flock 9` in a shell script is another such case: flock(1) takes the lock, and ends; the shell has the file open.
    """
    heirs = [pid for pid in all_that_locked(found) if pid != taker]
    if not heirs and flock_holders(found) == []:
        return Owner() if record is None else record  # it has been given back meanwhile
    heir = describe(heirs[0]) if heirs else Owner()
    return attrs.evolve(
        heir,
        since=None if record is None else record.since,
        label=None if record is None else record.label,
        strategy=None if record is None else record.strategy,
        inherited_from=taker,
        inherited_from_ended=has_ended,
        shared_with=tuple(heirs[1:]) or None,
    )


def _is_locked(fd: int) -> bool:
    """Whether the lock is held, by a holder that the kernel does not show. Takes a free lock for an instant."""
    # Alone, because leases share it; a network file system wants a descriptor for writing for that (flock(2)).
    for kind in (fcntl.LOCK_EX, fcntl.LOCK_SH):
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
            fcntl.flock(fd, fcntl.LOCK_UN)
        except BlockingIOError:
            return True
        except OSError:
            continue
        return False
    return False


def require_same_strategy(fd: int, path: str, ours: str) -> None:
    """Refuse to wait for a holder of the sidecar whose strategy is another one.

    An old record does not count: only if the kernel confirms that the process it names holds the file now.
    """
    # What is nearly always found is not parsed. (In a label the quotation marks would stand behind backslashes.)
    line = record_line(fd)
    if f'"strategy":"{ours}"'.encode() in line:
        return
    record = Owner.from_record(line)
    if record is None or record.strategy is None:
        return
    holder = owner_of(fd)
    if holder is not None and holder.strategy == record.strategy:
        raise mismatch(path, ours, str(record.strategy), holder)
