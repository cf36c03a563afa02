"""The guard: one kernel lock under which a lease's markers are put down, taken over and taken away, and leases commit.

Promise    While it is held no other process creates, replaces or removes the store's marker, so what was read under
           it is still true when it is acted upon. It ends with its process.
How        flock(2) on a file of its own, `.<name>.guard`: on the sidecar every holder of a lease has a shared lock, and
           a network file system turns flock(2) into a byte lock on the whole file.
Only       for leases, where kernel locks exclude every process that can reach the file system (`Trust.LOCAL`,
           `Trust.SHARED`). A `marker` holds the sidecar alone, which excludes all others from its marker, too.
"""

from __future__ import annotations

import fcntl
import os

from storewriter._files.keys import sidecar
from storewriter._platform.interrupts import quietly
from storewriter.locks._lock_file import LockFile, look_over, require_own_file


def guard_file(path: str) -> str:
    """The file that carries the guard of a store."""
    return sidecar(path).removesuffix("lock") + "guard"


class Guard:
    """The guard of one store: not held, until it is taken.

    Left in a `finally` by the function that took it. An interrupt that comes even there finds it still held: so it
    belongs to the hold, which can take it again, and closes it when it is given back. Until then its file stays open,
    so that a release needs no descriptor.
    """

    __slots__ = ("_file", "_path")

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = LockFile()

    def take(self, *, wait: bool) -> bool:
        """Take it, and return whether it is held: at once, or after waiting in the kernel for its holder.

        An attempt has it for a fraction of a millisecond, a commit for as long as the disk takes. Raises OSError if its
        file cannot be opened, ForeignFile if it is another user's or another program's.
        """
        name = guard_file(self._path)
        while True:
            is_new = not self._file.is_open
            if is_new:
                self._file.open_at(self._path, name)
            try:
                fcntl.flock(self._file.fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                return False
            found = os.fstat(self._file.fd)
            if _is_at(found, name):
                if is_new:
                    require_own_file(found, self._path, name)
                    look_over(self._file.fd, found, self._path, name)
                return True
            self._file.close()  # it was deleted: the next one opens the new file

    def leave(self) -> None:
        """Let go of it, if it is held. Can be repeated."""
        if self._file.is_open:
            quietly(fcntl.flock, self._file.fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of it and of its file. Can be repeated."""
        self.leave()
        self._file.close()


def _is_at(found: os.stat_result, name: str) -> bool:
    try:
        return os.path.samestat(os.stat(name, follow_symlinks=False), found)
    except OSError as error:
        if error.errno is None:
            raise  # a signal handler's
        return False
