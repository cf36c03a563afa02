"""Where the document lives: one file, its backups, and what lies beside it.

Promise    `load` returns the whole last document or None, and never waits for a writer. `replace` gives a new document
           the name, or leaves the old one in place and raises; what it returns makes that durable.
Only       `replace` and `save` need the store's turn.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from typing import Final

import attrs

from storewriter._files import in_place
from storewriter._files.backups import Backups
from storewriter._files.folders import make_folders
from storewriter._files.replace import (
    UNKNOWN,
    Commit,
    Durability,
    Fence,
    Target,
    confirm,
    document_changed,
    existing,
    flush_now,
    is_doubtful,
    refuse,
    replace,
    replace_now,
    require_regular,
    write_beside,
)
from storewriter._platform.descriptors import Descriptor
from storewriter._platform.system import NOCTTY, NOFOLLOW, NONBLOCK, SYSTEM, System

__all__ = ["FileStorage"]


Look = tuple[bytes | None, os.stat_result | None]
"""A file's content and what it is; None if there is none."""


@attrs.frozen
class FileStorage:
    """One file on a local or network file system."""

    path: str
    """Canonical path (`storewriter._files.keys.canonical`): a link's target, never the link."""
    durability: Durability = "power"
    mode: int = 0o600
    """Mode of a document that does not exist yet."""
    system: System = SYSTEM
    backups: int = attrs.field(default=0, kw_only=True)
    """How many replaced documents are kept, as `.<name>.backup-1` (the newest), `-2` and so on."""
    _target: Target = attrs.field(
        init=False,
        eq=False,
        repr=False,
        default=attrs.Factory(
            lambda self: Target(self.path, self.durability == "power", self.mode, self.system), takes_self=True
        ),
    )
    in_place: bool = attrs.field(default=False, kw_only=True)
    """Write into the file itself, with a journal beside it: for a single file that is mounted into a container. Every
    program that uses the store must set it (see `in_place.py`)."""

    def load(self) -> bytes | None:
        """The document, whole; None if there is none. Never waits, also not for a FIFO or a device.

        Raises NotARegularFile, OSError.
        """
        return self.look()[0]

    def look(self) -> Look:
        """Load, and return which file it is. With `in_place` the content may not be the file's: then None."""
        if self.in_place:
            return in_place.load(self.path, self.read, self.system), None
        return read_file(self.path, self.system)

    def read(self, name: str) -> bytes | None:
        """One file of this store, whole, and whatever it holds; None if there is none. Raises as `load` does."""
        return read_file(name, self.system)[0]

    def replace(
        self,
        data: bytes,
        commit: Commit,
        found: Look | None = None,
        *,
        check: Callable[[], None] = lambda: None,
        fence: Fence | None = None,
        suffix: str | None = None,
    ) -> None:
        """Give a new document the name; `commit` then holds what is left to do until it is durable.

        `found` is what the turn has loaded: DocumentChanged is raised if the document is another one by now. `check` is
        called right before the new document takes the name, or `fence` is entered around that instant; both may refuse
        it with LockLost. `suffix` names the hold if another one may exist at the same time (a lease).
        Raises ReadOnlyStore, NotARegularFile, OSError (the old document stands), CommitUncertain.
        """
        if self.in_place:
            with contextlib.nullcontext() if fence is None else fence():  # as a whole: it has no single instant
                check()
                old = self.load()
                if found is not None and old != found[0]:
                    raise document_changed(self.path)
                if old is not None:
                    self._save_in_place(data, old)
                    return
                found = (None, None)
        observed = UNKNOWN if found is None else found[1]
        keep = self._kept if self.backups else None
        try:
            replace(self._target, data, commit, observed=observed, keep=keep, check=check, fence=fence, suffix=suffix)
        except FileNotFoundError as error:
            if found is not None and found[1] is not None:
                raise document_changed(self.path) from error  # it was removed since it was loaded
            # The folder went away since the lock was taken, or there was no lock file to create it for.
            try:
                make_folders(self.path, self.system)
            except OSError as error:
                refuse(error, self.path, "creating its folder", "there is no document")
            replace(self._target, data, commit, keep=keep, check=check, fence=fence, suffix=suffix)

    def save(self, data: bytes) -> None:
        """Replace the document and flush it, whatever it was. Only in a turn. Raises as `replace` does."""
        commit = Commit()
        self.replace(data, commit)
        flush_now(self.path, commit)

    def restore(self, data: bytes, found: Look, *, like: str | None = None) -> None:
        """Put `data` in the place of a document that is of no use, and so is not kept as a backup. Only in a turn.

        `like`: the file whose owner and mode a document gets that does not exist (a backup). Otherwise raises as
        `replace` does: DocumentChanged if the document is not the one that was `found`.
        """
        if like is not None:
            replace_now(self._target, data, like=like)
            return
        commit = Commit()
        attrs.evolve(self, backups=0).replace(data, commit, found)
        flush_now(self.path, commit)

    def finish(self) -> None:
        """Repair what a writer that was killed has left in the file. Only in a turn. Raises OSError, CommitUncertain.

        There is something only with `in_place`, and `load` is right without it: this is for other programs.
        """
        if self.in_place:
            in_place.finish(self.path, self.read, durability=self.durability, system=self.system)

    def is_doubtful(self, found: Look) -> bool:
        """Whether a flush of this very document has failed, so that it must be written anew before it is relied on."""
        return self.durability == "power" and is_doubtful(self.path, found[1])

    def confirm(self) -> None:
        """Make sure that the document as it is survives a power cut, if that was asked for.

        An update that changes nothing is acknowledged without a write. But the document may be there without having
        been flushed: its writer has not come so far yet, its flush failed, it was killed, or it did not ask for one.
        Raises OSError, CommitUncertain.
        """
        if self.durability == "power":
            confirm(self._target, in_place=self.in_place)

    def _kept(self, old: os.stat_result) -> contextlib.AbstractContextManager[None]:
        return self._keeping(lambda: self.read(self.path), links=True).kept(old)

    def _keeping(self, document: Callable[[], bytes | None], *, links: bool) -> Backups:
        return Backups(self.path, self.backups, links, document, self.read, self.write_beside, self.system)

    def write_beside(self, name: str, data: bytes) -> None:
        """Write another file of this store, with the document's owner and rights. Only in a turn. Raises OSError."""
        write_beside(name, data, like=self.path, durability=self.durability, system=self.system)

    def _save_in_place(self, data: bytes, old: bytes) -> None:
        with contextlib.ExitStack() as stack:
            try:
                in_place.require_ours(self.path, self.read)
                found = existing(self.path, self.system)
                if found is None:
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.path)
                if self.backups:
                    # The document counts (`old`): its file may hold what a killed writer left.
                    stack.enter_context(self._keeping(lambda: old, links=False).kept(found))
            except OSError as error:
                refuse(error, self.path, "saving in place", "the old document is untouched")
            in_place.save(self.path, data, old, found, durability=self.durability, system=self.system)

    def size(self) -> int:
        """About how many bytes a load will bring; 0 if there is no document."""
        try:
            return self.system.lstat(self.path).st_size
        except OSError:
            return 0


_READ_FLAGS: Final = os.O_RDONLY | NONBLOCK | NOFOLLOW | NOCTTY
# O_NONBLOCK: a FIFO without a writer would make the open wait for ever (open(2)). O_NOFOLLOW: the path was resolved; a
# link found here appeared since, and following it would read a file that our lock does not guard. O_NOCTTY: a terminal
# would become ours.


def read_file(path: str, system: System, *, tries: int = 2) -> Look:
    """A file, whole, and what it is; (None, None) if there is none. Raises NotARegularFile, OSError."""
    file = Descriptor()
    try:
        fd = file.open(system.open, path, _READ_FLAGS)
        # Before the content: a program that writes into the file meanwhile is noticed at the next look.
        found = system.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            require_regular(path, found)
        # One byte more than expected: the end of the file shows in the same call.
        data = system.read(fd, found.st_size + 1)
        return (data if len(data) == found.st_size else _read_on(fd, data, system)), found
    except FileNotFoundError:
        return None, None
    except OSError as error:
        if error.errno == errno.ESTALE and tries > 1:
            # A file server drops a file that was replaced while it was being read; its successor is whole.
            return read_file(path, system, tries=1)
        if not file.is_open:
            _require_regular(path, system)
        refuse(error, path, "reading", "the document is untouched")
    finally:
        file.close(system.close, quietly=True)


def _read_on(fd: int, data: bytes, system: System) -> bytes:
    parts = [data]
    while parts[-1]:
        parts.append(system.read(fd, 1 << 20))
    return b"".join(parts)


def _require_regular(path: str, system: System) -> None:
    try:
        found = system.lstat(path)
    except OSError:
        return
    if not stat.S_ISLNK(found.st_mode):
        require_regular(path, found)
