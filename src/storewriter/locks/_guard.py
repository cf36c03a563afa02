"""The guard: one kernel lock under which markers are put down, taken over and taken away, and leases commit.

Promise    While it is held nobody else creates, replaces or removes the store's marker, so what was read under it is
           still true when it is acted upon. It ends with its process.
How        A byte lock (fcntl(2), open file description) on the sidecar, behind the gate's byte, where byte locks and
           flock(2) are different things: on local file systems of Linux. Elsewhere flock(2) on a file of its own,
           `.<name>.guard`, because a network file system turns flock(2) into a byte lock on the whole file.
Only       where kernel locks exclude everybody who can reach the file system (`Trust.LOCAL`, `Trust.SHARED`).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Generator
from typing import Final

from storewriter._fcntl import HAS_BYTE_LOCKS, OFD_SETLK, OFD_SETLKW, byte_lock, fcntl
from storewriter._keys import sidecar
from storewriter._mounts import Trust
from storewriter.locks import _sidecar

_GUARD_BYTE: Final = (1 << 62) + 1
"""Behind the gate's byte (`flock.py`)."""
_TAKE: Final = byte_lock(_GUARD_BYTE)


def guard_file(path: str, trust: Trust) -> str:
    """The file that carries the guard of a store."""
    if HAS_BYTE_LOCKS and trust is Trust.LOCAL:
        return sidecar(path)
    return sidecar(path).removesuffix("lock") + "guard"


@contextlib.contextmanager
def try_guard(path: str, trust: Trust) -> Generator[bool]:
    """Hold the guard if it is free; yields whether it is held. Never waits."""
    fd = _open_locked(path, trust, wait=False)
    if fd is None:
        yield False
        return
    try:
        yield True
    finally:
        _sidecar.close(fd)


@contextlib.contextmanager
def guard(path: str, trust: Trust) -> Generator[None]:
    """Hold the guard, waiting in the kernel for whoever has it.

    An attempt has it for a fraction of a millisecond, a commit for as long as the disk takes.
    """
    fd = _open_locked(path, trust, wait=True)
    assert fd is not None
    try:
        yield
    finally:
        _sidecar.close(fd)


@contextlib.contextmanager
def guard_for(path: str, trust: Trust, seconds: float) -> Generator[bool]:
    """Hold the guard, waiting for at most `seconds`; yields whether it is held."""
    deadline = time.monotonic() + seconds
    while True:
        with try_guard(path, trust) as held:
            if held or time.monotonic() >= deadline:
                yield held
                return
        time.sleep(0.002)


def _open_locked(path: str, trust: Trust, *, wait: bool) -> int | None:
    """Open and lock the file that carries the guard, and make sure that it still is that file."""
    name = guard_file(path, trust)
    by_byte = name == sidecar(path)
    while True:
        fd = _sidecar.open_lock_file(path, name)
        keep = False
        try:
            if not _lock(fd, by_byte=by_byte, wait=wait):
                return None
            keep = _is_file_at(fd, name)
            if keep:
                return fd
        finally:
            if not keep:
                _sidecar.close(fd)


def _lock(fd: int, *, by_byte: bool, wait: bool) -> bool:
    try:
        if by_byte:
            fcntl.fcntl(fd, OFD_SETLKW if wait else OFD_SETLK, _TAKE)
        else:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except (BlockingIOError, PermissionError):  # EAGAIN or EACCES, as the file system likes (fcntl(2))
        return False
    return True


def _is_file_at(fd: int, name: str) -> bool:
    found = os.fstat(fd)
    try:
        return os.path.samestat(os.stat(name, follow_symlinks=False), found)
    except OSError:
        return False
