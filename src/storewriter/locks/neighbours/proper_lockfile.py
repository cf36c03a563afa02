"""proper-lockfile's lock (npm): a folder `<document>.lock`, kept alive by its modification time.

Promise    A program that uses proper-lockfile on the document is excluded, and excludes us. Of two contenders that see
           the same abandoned folder, at most one has it afterwards. Released is only the folder that is ours.
How        mkdir(2) takes it. One whose time is older than `stale` is not removed and made anew, but adopted: opened,
           given a new time through the descriptor, and looked at again. So nothing that a faster contender has made in
           its place can be taken from it. Ours is what has the inode and the time that we gave it.
Does not   keep proper-lockfile itself from removing the folder by its path, which it does without a look at its owner.
           That is noticed before each commit (`LockLost`).
"""

from __future__ import annotations

import os
import stat
import time
from threading import Lock

import attrs

from storewriter import events
from storewriter._files.folders import make_folders
from storewriter._platform.descriptors import Descriptor
from storewriter._platform.owner import Owner
from storewriter._platform.system import CLOEXEC, DIRECTORY, NOFOLLOW, SYSTEM
from storewriter.locks.neighbours._names import DEFAULT, check_stale, check_template, lock_path
from storewriter.locks.neighbours._whose import other_convention

__all__ = ["ProperLockfile"]


@attrs.frozen
class ProperLockfile:
    """The lock of proper-lockfile (npm), for `PerStoreWriterQueue(also=...)`: a folder that is kept fresh.

    Held for long, it is renewed by a thread of its own. A frozen value; its methods are those of `Neighbour`.

    Example:
        PerStoreWriterQueue(also=ProperLockfile(stale=30.0))

    `stale` and `file` must be what the other program uses; a value out of range is a ValueError or a TypeError.
    """

    stale: float = attrs.field(default=10.0, validator=check_stale(2.0))
    """Seconds without a sign of life after which a lock counts as abandoned; proper-lockfile's own default is 10, and
    it raises anything below 2 to 2."""
    file: str = attrs.field(default=DEFAULT, validator=check_template, kw_only=True)
    """Name of the folder, `{name}` standing for the document's (`lockfilePath` of the other program)."""

    name = "proper-lockfile"

    def lock_path(self, path: str) -> str:
        """The path of the lock of a store.

        Args:
            path: The canonical path of the store.
        """
        return lock_path(self.file, path)

    def claim(self, path: str) -> FolderClaim:
        """Prepare a claim on the lock of a store; nothing is taken yet.

        Args:
            path: The canonical path of the store.
        """
        return FolderClaim(path, self.lock_path(path), self.stale)

    def owner(self, path: str) -> Owner | None:
        """The holder of the lock now, as far as the folder, which names no process, shows.

        Args:
            path: The canonical path of the store.

        Returns:
            The owner, or None if the lock is free or abandoned.
        """
        try:
            found = os.lstat(self.lock_path(path))
        except OSError:
            return None
        if time.time() - found.st_mtime > self.stale:
            return None
        return Owner(label=f"proper-lockfile's {self.lock_path(path)}")


_UNKNOWN = (0, 0, 0)
_Identity = tuple[int, int, int]


def _identity(found: os.stat_result) -> _Identity:
    return found.st_dev, found.st_ino, found.st_mtime_ns


class FolderClaim:
    """See `Claim`."""

    __slots__ = ("_fresh", "_identity", "_is_unmade", "_lock", "_mutex", "_path", "interval", "was_reclaimed")

    def __init__(self, path: str, lock: str, stale: float) -> None:
        self._path = path
        self._lock = lock
        self._mutex = Lock()
        """Between the heartbeat and the holder."""
        self._is_unmade: object = True
        """None once the folder is ours."""
        self._identity: _Identity = _UNKNOWN
        self._fresh = 0.0
        """When it last showed a sign of life (time.monotonic())."""
        self.interval: float | None = stale / 4
        self.was_reclaimed = False

    def take(self) -> bool:
        try:
            # Unpacked into the attribute: between the call and a plain assignment an interrupt could come, and the
            # folder would stay behind.
            (self._is_unmade,) = map(os.mkdir, (self._lock,))
        except FileExistsError:
            return self._adopt()
        except FileNotFoundError:  # a strategy without a file of its own has not made the folder of the document
            make_folders(self._path, SYSTEM)
            return False
        self._fresh = time.monotonic()
        self._identity = _identity(os.lstat(self._lock))
        return True

    def _adopt(self) -> bool:
        """Take over a folder that was abandoned."""
        assert self.interval is not None
        try:
            found = os.lstat(self._lock)
        except FileNotFoundError:
            return False  # given back just now
        if not stat.S_ISDIR(found.st_mode):
            raise other_convention(self._path, self._lock, ProperLockfile.name, found)
        if time.time() - found.st_mtime <= self.interval * 4:
            return False
        age = time.time() - found.st_mtime
        if not self._touch(_identity(found)):
            return False
        self._is_unmade, self.was_reclaimed = None, True
        events.log.warning(
            "took over proper-lockfile's lock %s of %s: no sign of life for %.1f s", self._lock, self._path, age
        )
        if events.subscribers:
            why = f"no sign of life of proper-lockfile's lock for {age:.1f} s"
            events.emit(events.LockReclaimed(path=self._path, owner=None, reason=why))
        return True

    def _touch(self, expected: _Identity) -> bool:
        """Give the folder that has this identity a new time. False: another one is there, or none."""
        folder = Descriptor()
        try:
            fd = folder.open(os.open, self._lock, os.O_RDONLY | DIRECTORY | NOFOLLOW | CLOEXEC)
            found = os.fstat(fd)
            if _identity(found) != expected:
                return False
            if os.listdir(fd):
                raise other_convention(self._path, self._lock, ProperLockfile.name, found)
            now = time.time_ns()
            self._fresh = time.monotonic()
            os.utime(fd, ns=(now, now))
            # What the file system made of it: some keep whole seconds only.
            self._identity = _identity(os.fstat(fd))
        except FileNotFoundError:
            return False
        finally:
            folder.close(quietly=True)
        return self.is_ours()

    def is_ours(self) -> bool:
        try:
            return _identity(os.lstat(self._lock)) == self._identity
        except FileNotFoundError:
            return False

    def renew(self) -> bool:
        with self._mutex:
            if self._is_unmade is not None:
                return False
            return self._renew(self.interval)

    def _renew(self, age: float | None) -> bool:
        if age is None or time.monotonic() - self._fresh < age:
            return self.is_ours()
        return self._touch(self._identity)

    def release(self) -> None:
        with self._mutex:
            if self._is_unmade is not None:
                return
            # A sign of life first, if the last one is old: no contender may find it abandoned between the look and
            # the removal. Right after mkdir, interrupted, its identity is not known yet: then it is certainly fresh.
            if self._identity == _UNKNOWN or self._renew(self.interval):
                os.rmdir(self._lock)
            self._is_unmade = True
