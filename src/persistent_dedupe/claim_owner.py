"""The owner of a claim, and whether that process is provably gone.

Promise    Gone is proof: the same host and PID namespace, and there is no such process, or its pid now belongs to one
           that started at another time, or the machine has been booted since. Anything else is not gone.
How        kill(2) with signal 0; field 22 of /proc/<pid>/stat; where there is no /proc, a reused pid goes unnoticed.
"""

from __future__ import annotations

import functools
import os
import socket

from storewriter import Owner

__all__ = ["is_gone", "is_this_process", "this_process"]


def this_process() -> Owner:
    """This process, as its claims name it."""
    return _process(os.getpid())


def is_this_process(owner: Owner) -> bool:
    """Whether the owner is this process itself."""
    here = this_process()
    return owner.pid == here.pid and _is_near(owner, here) and owner.start_ticks == here.start_ticks


def is_gone(owner: Owner) -> bool:
    """Whether the owner's process is provably gone."""
    here = this_process()
    if owner.pid is None or not _is_near(owner, here):
        return False
    if owner.boot_id != here.boot_id:
        return owner.boot_id is not None and here.boot_id is not None
    fields = _stat_fields(owner.pid)
    if fields is None:
        return not _answers(owner.pid)
    # A zombie has stopped running, though its parent has yet to look.
    return fields[0] in ("Z", "X") or (owner.start_ticks is not None and owner.start_ticks != int(fields[19]))


def _is_near(owner: Owner, here: Owner) -> bool:
    """Whether the owner's pid means the same process to us: the same host, not another container on it."""
    return owner.host == here.host and owner.pid_namespace == here.pid_namespace


@functools.lru_cache(maxsize=1)  # keyed by pid, so that a forked child describes itself
def _process(pid: int) -> Owner:
    fields = _stat_fields(pid)
    return Owner(
        pid=pid,
        host=socket.gethostname(),
        start_ticks=int(fields[19]) if fields is not None else None,
        boot_id=_line("/proc/sys/kernel/random/boot_id"),
        pid_namespace=_inode("/proc/self/ns/pid"),
    )


def _stat_fields(pid: int) -> list[str] | None:
    """/proc/<pid>/stat from field 3 (state) on: the name before it may hold spaces and brackets."""
    line = _line(f"/proc/{pid}/stat")
    return line.rpartition(")")[2].split() if line else None


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _inode(path: str) -> int | None:
    try:
        return os.stat(path).st_ino
    except OSError:
        return None


def _line(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.readline().rstrip("\n")
    except OSError:
        return None
