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
from typing import Final

from storewriter._fcntl import HAS_BYTE_LOCKS, OFD_SETLK, OFD_SETLKW, byte_lock, fcntl
from storewriter._keys import sidecar
from storewriter._mounts import Trust
from storewriter.locks import _sidecar

_GUARD_BYTE: Final = (1 << 62) + 1
"""Behind the gate's byte (`flock.py`)."""
_TAKE: Final = byte_lock(_GUARD_BYTE)
_LEAVE: Final = byte_lock(_GUARD_BYTE, leave=True)


def guard_file(path: str, trust: Trust) -> str:
    """The file that carries the guard of a store."""
    if HAS_BYTE_LOCKS and trust is Trust.LOCAL:
        return sidecar(path)
    return sidecar(path).removesuffix("lock") + "guard"


class Guard:
    """The guard of one store: not held, until it is taken.

    Left in a `finally` by whoever took it. An interrupt that comes even there finds it still held: so it belongs to the
    hold, which leaves it before it takes it again, and in any case when it is given back.
    """

    __slots__ = ("_file", "_lent", "_path", "_trust")

    def __init__(self, path: str, trust: Trust) -> None:
        self._path = path
        self._trust = trust
        self._file = _sidecar.LockFile()
        self._lent: _sidecar.LockFile | None = None
        """Somebody else's open sidecar, on which the guard is taken, or may be."""

    def take(self, *, wait: bool) -> bool:
        """Take it, and say whether it is held: at once, or after waiting in the kernel for whoever has it.

        An attempt has it for a fraction of a millisecond, a commit for as long as the disk takes.
        """
        name = guard_file(self._path, self._trust)
        by_byte = name == sidecar(self._path)
        while True:
            self.leave()
            file = self._file = _sidecar.LockFile()
            fd = file.open_at(self._path, name)
            if not _lock(fd, by_byte=by_byte, wait=wait):
                file.close()
                return False
            if _is_file_at(fd, name):
                return True

    def take_for_release(self, file: _sidecar.LockFile, seconds: float) -> bool:
        """Take it, waiting for at most `seconds`; says whether it is held. Never fails, for want of a descriptor say.

        `file` is the sidecar, as its hold has it open: where that carries the guard nothing else has to be opened. It
        must stay open until the guard has been left.
        """
        deadline = time.monotonic() + seconds
        try:
            while True:  # with a condition, its jump back might have no handler (tests/turns/test_loops_in_handlers.py)
                if self._take_on(file):
                    return True
                if time.monotonic() >= deadline:
                    return False
                time.sleep(0.002)
        except OSError:
            return False

    def _take_on(self, file: _sidecar.LockFile) -> bool:
        name = guard_file(self._path, self._trust)
        if name == sidecar(self._path):
            self.leave()
            self._lent = file  # before it is locked: an interrupt may come right after that
            if not _lock(file.fd, by_byte=True, wait=False):
                return False
            if _is_file_at(file.fd, name):
                return True
        return self.take(wait=False)

    def leave(self) -> None:
        """Let go of it, if it is held. Can be repeated."""
        lent = self._lent
        if lent is not None:
            if lent.is_open:
                with contextlib.suppress(OSError):  # it ends with the file at the latest
                    fcntl.fcntl(lent.fd, OFD_SETLK, _LEAVE)
            self._lent = None
        self._file.close()


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
