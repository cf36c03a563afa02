"""flock(2) on a lock file beside the document: filelock, portalocker, flock(1), uv, huggingface_hub.

Promise    A program that holds flock(2) on that file is excluded exactly, and excludes us; a dead holder's lock is
           free at once. The file is never written, and never removed.
How        Open, lock without waiting, and look whether the file still has the name: some programs remove it.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

import attrs
from filelock import lock_descriptor, unlock_descriptor

from storewriter._files.folders import make_folders
from storewriter._platform.owner import Owner
from storewriter._platform.system import CLOEXEC, NOFOLLOW, NONBLOCK, SYSTEM
from storewriter.locks._lock_file import LockFile
from storewriter.locks.neighbours._names import DEFAULT, check_template, lock_path
from storewriter.locks.neighbours._whose import kernel_holder, other_convention

__all__ = ["FlockFile"]

_OPEN: Final = NOFOLLOW | NONBLOCK | CLOEXEC
_NOT_WRITABLE: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


@attrs.frozen(repr=False)
class FlockFile:
    """See the module. `Flock(file=...)` is this inside the default strategy."""

    file: str = attrs.field(default=DEFAULT, validator=check_template)
    """Name of the lock file, `{name}` standing for the document's."""

    name = "flock"

    def __repr__(self) -> str:
        """As its users write it."""
        return f"Flock(file={self.file!r})"

    def lock_path(self, path: str) -> str:
        """See `Neighbour`."""
        return lock_path(self.file, path)

    def claim(self, path: str) -> FlockClaim:
        """See `Neighbour`."""
        return FlockClaim(path, self.lock_path(path))

    def owner(self, path: str) -> Owner | None:
        """See `Neighbour`."""
        return kernel_holder(self.lock_path(path))


class FlockClaim:
    """See `Claim`."""

    __slots__ = ("_file", "_found", "_lock", "_path")

    interval: float | None = None
    was_reclaimed = False

    def __init__(self, path: str, lock: str) -> None:
        self._path = path
        self._lock = lock
        self._file = LockFile()
        self._found: os.stat_result | None = None

    def take(self) -> bool:
        while True:
            found = os.fstat(self._open())
            if not stat.S_ISREG(found.st_mode):
                raise other_convention(self._path, self._lock, "flock", found)
            if not lock_descriptor(self._file.fd, blocking=False):
                self._file.close()
                return False
            self._found = found
            if self.is_ours():
                return True
            self._file.close()  # removed since it was opened: lock its successor

    def _open(self) -> int:
        try:
            return self._open_once()
        except FileNotFoundError:  # a strategy without a file of its own has not made the folder
            make_folders(self._path, SYSTEM)
            return self._open_once()
        except IsADirectoryError:
            raise other_convention(self._path, self._lock, "flock", os.lstat(self._lock)) from None

    def _open_once(self) -> int:
        try:
            return self._file.open(os.open, self._lock, os.O_RDWR | os.O_CREAT | _OPEN, 0o666)
        except OSError as error:
            if error.errno not in _NOT_WRITABLE:
                raise
            # Another user's: flock(2) needs no right to write.
            return self._file.open(os.open, self._lock, os.O_RDONLY | _OPEN)

    def is_ours(self) -> bool:
        if self._found is None or not self._file.is_open:
            return False
        try:
            named = os.lstat(self._lock)
        except FileNotFoundError:
            return False
        return os.path.samestat(named, self._found)

    def renew(self) -> bool:
        return self.is_ours()

    def release(self) -> None:
        if not self._file.is_open:
            return
        try:
            if self._found is not None:
                # Explicitly, and not only by closing: a child between fork and exec has a copy of the descriptor.
                unlock_descriptor(self._file.fd)
        finally:
            self._file.close()
