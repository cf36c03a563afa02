"""Where the document lives: the seam at which a database takes over when one machine is not enough.

Promise    `load` returns the whole last document or None, and waits for nobody. `save` replaces it as a whole, as
           durably as asked, or leaves the old one in place and raises.
Only       `save` needs the store's turn.
Later      PostgreSQL behind the same protocol.
"""

from __future__ import annotations

import os
import stat
from typing import Protocol

import attrs

from storewriter._replace import Durability, make_folders, replace, require_regular
from storewriter._system import NOFOLLOW, NONBLOCK, SYSTEM, System

__all__ = ["FileStorage", "Storage"]


def stamp_of(found: os.stat_result) -> tuple[int, ...]:
    """What stays the same as long as a file that is kept open is the same file with the same content."""
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class Storage(Protocol):
    """One document."""

    def load(self) -> bytes | None:
        """The document, whole; None if there is none yet. Never waits for a writer."""
        ...

    def save(self, data: bytes, *, keep_open: bool = False) -> int | None:
        """Put `data` in the place of the document. Raises OSError (the old one stands) or `CommitUncertain`.

        `keep_open` asks for a descriptor of the new document, for `is_still`; None if there is no such thing.
        """
        ...

    def is_still(self, fd: int, stamp: tuple[int, ...]) -> bool:
        """Whether the document is the file that is open, unchanged since its stamp was taken."""
        ...

    def size(self) -> int:
        """About how many bytes a load will bring; 0 if there is no document."""
        ...


@attrs.frozen
class FileStorage:
    """One file on a local or network file system."""

    path: str
    """Canonical path (`storewriter._keys.canonical`): a link's target, never the link."""
    durability: Durability = "power"
    mode: int = 0o600
    """Mode of a document that does not exist yet."""
    system: System = SYSTEM

    def load(self) -> bytes | None:
        """See `Storage`. Raises NotARegularFile for a folder, FIFO or device without waiting for it, or OSError."""
        system = self.system
        # O_NONBLOCK: a FIFO without a writer would make the open wait for ever (open(2)). O_NOFOLLOW: the path was
        # resolved; a link found here appeared since, and following it would read a file that our lock does not guard.
        try:
            fd = system.open(self.path, os.O_RDONLY | NONBLOCK | NOFOLLOW)
        except FileNotFoundError:
            return None
        except OSError:
            self._require_regular()
            raise
        try:
            found = system.fstat(fd)
            require_regular(self.path, found)
            return self._read(fd, found.st_size)
        finally:
            system.close(fd)

    def _read(self, fd: int, expected: int) -> bytes:
        # One byte more than expected: the end of the file shows in the same call.
        data = self.system.read(fd, expected + 1)
        if len(data) == expected:
            return data
        parts = [data]
        while parts[-1]:
            parts.append(self.system.read(fd, 1 << 20))
        return b"".join(parts)

    def _require_regular(self) -> None:
        try:
            found = self.system.lstat(self.path)
        except OSError:
            return
        if not stat.S_ISLNK(found.st_mode):
            require_regular(self.path, found)

    def save(self, data: bytes, *, keep_open: bool = False) -> int | None:
        """See `Storage`. Raises ReadOnlyStore for a read-only document."""
        try:
            return self._replace(data, keep_open)
        except FileNotFoundError:
            # The folder went away since the lock was taken, or there was no lock file to create it for.
            make_folders(self.path, self.system, durable=self.durability == "power")
            return self._replace(data, keep_open)

    def _replace(self, data: bytes, keep_open: bool) -> int | None:
        return replace(
            self.path,
            data,
            durability=self.durability,
            mode=self.mode,
            system=self.system,
            keep_open=keep_open,
        )

    def is_still(self, fd: int, stamp: tuple[int, ...]) -> bool:
        """See `Storage`. Both are looked at: the open file for a change, the path for another file."""
        try:
            return stamp_of(self.system.lstat(self.path)) == stamp == stamp_of(self.system.fstat(fd))
        except OSError:
            return False

    def size(self) -> int:
        """See `Storage`."""
        try:
            return self.system.lstat(self.path).st_size
        except OSError:
            return 0
