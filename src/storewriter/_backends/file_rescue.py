"""The recovery of a corrupt file, as far as it concerns files: `FileRescue`.

Promise    What was there is kept, byte for byte, under a name that nothing had: `<name>.corrupt-1`, `-2`, and so on. A
           reader finds the corrupt document or the restored one, never none.
"""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING, Final

import attrs

from storewriter._backends.files import Unguarded
from storewriter._backends.protocol import Loaded
from storewriter._files import backups
from storewriter._files.replace import document_changed, existing, flush_now, replace_now
from storewriter._platform.interrupts import quietly
from storewriter.errors import DocumentChanged, NotARegularFile
from storewriter.locks import Hold

if TYPE_CHECKING:
    from storewriter._backends.files import FileBackend

__all__ = ["FileRescue"]

_QUIET_SECONDS: Final = 1.0
"""Seconds for which nothing must have written a document before it is restored unasked: it may be half written."""


@attrs.frozen
class FileRescue:
    """See `Rescue`."""

    backend: FileBackend

    def backups(self) -> list[str]:
        """See `Rescue`."""
        return backups.backups_of(self.backend.path, self.backend.system)

    def read(self, name: str) -> bytes | None:
        """See `Rescue`. None also for what is no file, and so was never a backup."""
        try:
            return self.backend.read_file(name)
        except NotARegularFile:
            return None
        except OSError as error:
            code = error.errno or errno.EIO
            msg = (
                f"{os.strerror(code)}: whether the backup {name} is good cannot be told now, so nothing was done. Try "
                f"again, or move it away if it should not count (recovering the store)"
            )
            raise OSError(code, msg, self.backend.path) from error

    def saved_at(self, name: str) -> float:
        """See `Rescue`. A backup is the former document itself, so its time is when it was saved."""
        return self.backend.system.lstat(name).st_mtime

    def name_aside(self) -> str:
        """See `Rescue`."""
        number = 1
        while True:
            aside = self._aside(number)
            try:
                self.backend.system.lstat(aside)
            except FileNotFoundError:
                return aside
            number += 1

    def is_quiet(self, found: Loaded) -> bool:
        """See `Rescue`. Judged by the file's time of change and its content."""
        try:
            age = time.time() - self.backend.system.lstat(self.backend.path).st_mtime
        except FileNotFoundError:
            return False
        if not age > _QUIET_SECONDS:  # or a clock was set back
            time.sleep(_QUIET_SECONDS)  # a program without the lock does not show when it has finished writing
        return self.backend.read() == found.data

    def replace(self, hold: Hold, found: Loaded, data: bytes, *, like: str | None) -> str | None:
        """See `Rescue`. Where no document is, its owner and its mode are known from the backup `like`."""
        backend = self.backend
        with hold.fence():
            existing(backend.path, backend.system)  # refuses a read-only one before anything is done
            aside = None if found.data is None else self._set_aside(found.data)
            try:
                now = backend.look()  # a second name has changed the file's times
                if now.data != found.data:
                    raise document_changed(backend.path)
                self._put(data, now, like if found.data is None else None)
            except (OSError, DocumentChanged):
                if aside is not None:
                    self._remove(aside)
                raise
            return aside

    def _put(self, data: bytes, found: Loaded, like: str | None) -> None:
        """Put `data` in the place of a document that is of no use, and so is not kept as a backup."""
        if like is not None:
            replace_now(self.backend._target, data, like=like)
            return
        backend = attrs.evolve(self.backend, backups=0)
        commit = backend.new_commit()
        backend.commit(Unguarded(), data, found, commit)
        flush_now(backend.path, commit)

    def _set_aside(self, corrupt: bytes) -> str:
        """Give the corrupt document a second name that nothing has; where that cannot be, a copy of it."""
        backend = self.backend
        number = 1
        while True:
            aside = self._aside(number)
            try:
                if not backend.in_place and backups.linked(backend.path, aside, backend.system):
                    return aside
                # Exclusively: link(2) never takes a name that exists, and neither may a copy.
                fd = backend.system.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                number += 1
                continue
            except OSError as error:
                if error.errno is None:
                    raise  # a signal handler's
                raise OSError(error.errno, f"{error.strerror} (setting the corrupt document aside)", aside) from error
            try:
                backend.system.close(fd)
                backend.write_beside(aside, corrupt)
            except OSError:
                self._remove(aside)
                raise
            return aside

    def _aside(self, number: int) -> str:
        return f"{self.backend.path}.corrupt-{number}"

    def _remove(self, name: str) -> None:
        quietly(self.backend.system.unlink, name)  # the error that led here is the one that matters
