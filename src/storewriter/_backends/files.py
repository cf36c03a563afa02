"""A document in a file, with its backups and what lies beside it: `FileBackend`.

Promise    `read` and `load` return the whole last document or None, and never wait for a writer. `commit` gives a new
           document the name, or leaves the old one in place and raises; `settle` makes it durable.
How        A stamp is the file's stat result: a program that writes without the lock is noticed right before the rename.
           Flushes are shared by the commits of this process that wait for one (`Flushes`). Where the path leads is
           looked up anew all the time (`FileAddress`), because it may become a symbolic link.
Fails by   OSError with the path, ReadOnlyStore, NotARegularFile, ForeignFile, LockLost, DocumentChanged,
           CommitUncertain; Moved if the path has become a link since it was resolved.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
import time
from collections.abc import Callable
from typing import Any, Final
from weakref import WeakValueDictionary

import attrs

from storewriter._backends.protocol import Backend, Loaded, Moved, News, Rescue
from storewriter._files import in_place, keys
from storewriter._files.backups import Backups
from storewriter._files.folders import make_folders
from storewriter._files.replace import (
    Commit,
    Durability,
    Target,
    confirm,
    document_changed,
    existing,
    is_doubtful,
    not_flushed,
    refuse,
    replace,
    require_regular,
    write_beside,
)
from storewriter._platform import forks, linux_calls
from storewriter._platform.descriptors import Descriptor
from storewriter._platform.system import NOCTTY, NOFOLLOW, NONBLOCK, SYSTEM, System
from storewriter.backoff import Backoff
from storewriter.errors import CommitUncertain, DocumentChanged
from storewriter.locks import Flock, Hold, Lease, OpenClawLock, ProperLockfile, Strategy, _rights
from storewriter.locks._adapter import FileLock
from storewriter.locks.neighbours._detection import changed
from storewriter.locks.neighbours._joined import Joined

__all__ = ["FileAddress", "FileBackend", "Flushes"]

_SMALL: Final = 1 << 16
"""Bytes up to which a document is read on an event loop: it is in the page cache, and a thread costs more."""


class Flushes:
    """The flushes that one process makes for one store, shared by the commits that wait for one. Needs no lock.

    A commit is settled once a flush that began after its rename has ended: its own, or that of a later document, which
    holds what this one holds. At most one flush is under way and one is due; the commits of all renames that come
    during a flush are settled by the next one together.
    """

    __slots__ = ("__weakref__", "_error", "_failed", "_flushed", "_mutex", "_newest", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self._mutex = threading.Lock()
        """Held while a flush is under way: the next one is due for the threads that wait for it."""
        self._newest: Commit | None = None
        self._flushed = 0
        """Number of the newest commit that was flushed."""
        self._failed = 0
        """Number of the newest commit whose flush failed, with this error."""
        self._error = OSError()

    def forget(self) -> None:
        """In a forked child: begin anew."""
        self._mutex = threading.Lock()
        self._newest = None
        self._flushed = self._failed = 0

    def note(self, commit: Commit) -> None:
        """A document has taken the name. Only in the store's turn, so in the order of the renames. Can be repeated."""
        newest = self._newest
        if newest is commit:
            return
        commit.number = 1 if newest is None else newest.number + 1
        self._newest = commit

    def settle(self, commit: Commit) -> None:
        """Return when the document is durable. Raises CommitUncertain. Can be repeated.

        A failed flush is not tried again, but a later document may be flushed, and holds this one's content.
        """
        with self._mutex:
            while True:  # with `break`, and not with a condition: see tests/turns/test_loops_in_handlers.py
                if commit.number <= self._flushed:
                    break
                newest = self._newest
                if newest is None or newest.number <= self._failed:
                    commit.close()
                    raise not_flushed(self.path, self._error) from self._error
                try:
                    newest.flush()
                except OSError as error:
                    if error.errno is None:
                        raise  # a signal handler's
                    self._failed, self._error = newest.number, error
                else:
                    self._flushed = newest.number
        commit.close()


_known: WeakValueDictionary[str, Flushes] = WeakValueDictionary()


def flushes_of(path: str) -> Flushes:
    """One object for all documents of this process at a path.

    Without a mutex, in which a signal handler that makes a store could be caught. If two threads make one at the same
    moment, their documents share no flushes, and nothing else changes.
    """
    return _known.get(path) or _known.setdefault(path, Flushes(path))


def _reset_in_child() -> None:
    # A thread of the parent may have been inside; it does not exist here, and nothing of it is waited for.
    for flushes in list(_known.values()):
        flushes.forget()


forks.in_child(_reset_in_child)


@attrs.frozen
class FileBackend:
    """One file on a local or network file system. See `Backend` for what its methods promise."""

    path: str
    """Canonical path (`storewriter._files.keys.canonical`): a link's target, never the link."""
    durability: Durability = "power"
    mode: int = 0o600
    """Mode of a document that does not exist yet."""
    system: System = SYSTEM
    backups: int = attrs.field(default=0, kw_only=True)
    """How many replaced documents are kept, as `.<name>.backup-1` (the newest), `-2` and so on."""
    in_place: bool = attrs.field(default=False, kw_only=True)
    """Write into the file itself, with a journal beside it: for a single file that is mounted into a container. Every
    program that uses the store must set it (see `in_place.py`)."""
    strategy: Strategy = attrs.field(factory=Flock, kw_only=True)
    """The lock, and what other programs' locks are taken with it."""
    backoff: Backoff = attrs.field(default=Backoff(), kw_only=True)
    """Pace of a strategy that must poll."""
    lock: FileLock = attrs.field(
        init=False,
        eq=False,
        repr=False,
        default=attrs.Factory(lambda self: FileLock(self.strategy, self.backoff, self.path), takes_self=True),
    )
    _target: Target = attrs.field(
        init=False,
        eq=False,
        repr=False,
        default=attrs.Factory(
            lambda self: Target(self.path, self.durability == "power", self.mode, self.system), takes_self=True
        ),
    )
    flushes: Flushes = attrs.field(
        init=False, eq=False, repr=False, default=attrs.Factory(lambda self: flushes_of(self.path), takes_self=True)
    )

    new_commit = Commit

    @property
    def key(self) -> str:
        """See `Backend`: the canonical path."""
        return self.path

    # -- without a turn ------------------------------------------------------------------------------------------------

    def read(self) -> bytes | None:
        """See `Backend`."""
        return self.look().data

    def look(self) -> Loaded:
        """The document, and which file it is. With `in_place` the content may not be that file's: the stamp is None.

        Never waits, also not for a FIFO or a device. Raises NotARegularFile, OSError.
        """
        if self.in_place:
            return Loaded(in_place.load(self.path, self.read_file, self.system), None)
        return _read(self.path, self.system)

    def read_file(self, name: str) -> bytes | None:
        """One file of this store, whole, and whatever it holds; None if there is none. Raises as `look` does."""
        return _read(name, self.system).data

    def loads_quickly(self, hold: Hold | None = None) -> bool:
        """See `Backend`."""
        try:
            return self.system.lstat(self.path).st_size <= _SMALL
        except OSError:
            return True

    # -- in a turn -----------------------------------------------------------------------------------------------------

    def load(self, hold: object) -> Loaded:
        """See `Backend`. With `in_place` it puts back what a writer that was killed has left, for other programs."""
        if self.in_place:
            in_place.finish(self.path, self.read_file, durability=self.durability, system=self.system)
            return self.look()
        return _read(self.path, self.system)

    def commit(self, hold: Hold, data: bytes, found: Loaded, commit: Commit) -> None:
        """See `Backend`. Raises as `_files.replace.replace` does, and Moved."""
        check, fence, suffix = (
            (hold.check, None, None) if getattr(hold, "is_irrevocable", False) else (_no_check, hold.fence, hold.token)
        )
        target, keep = self._target, self._kept if self.backups else None
        observed: os.stat_result | None = found.stamp
        try:
            if self.in_place:
                with contextlib.nullcontext() if fence is None else fence():  # as a whole: it has no single instant
                    check()
                    if self._saved_in_place(data, found):
                        return
            try:
                replace(target, data, commit, observed=observed, keep=keep, check=check, fence=fence, suffix=suffix)
            except FileNotFoundError as error:
                if observed is not None:
                    raise document_changed(self.path) from error  # it was removed since it was loaded
                # The folder went away since the lock was taken, or there was no lock file to create it for.
                self._make_folders()
                replace(target, data, commit, observed=observed, keep=keep, check=check, fence=fence, suffix=suffix)
        except DocumentChanged as error:
            if commit.is_begun:
                raise _changed_after_that(self.path) from error
            raise self.changed() from error
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise _moved(error, self.path) from error
            raise
        if commit.descriptor is not None:
            self.flushes.note(commit)

    def landed(self, hold: Hold, data: bytes, commit: Commit) -> bool:
        """See `Backend`."""
        try:
            has_name = self.look().data == data
        except OSError as error:
            if error.errno is None:
                raise  # a signal handler's
            msg = f"whether {self.path} was saved is unknown, because it cannot be read ({error.strerror})"
            raise CommitUncertain(msg, path=self.path) from error
        if has_name:
            # The interrupted commit may have closed its descriptor again.
            commit.is_unflushed = commit.descriptor is None
            if commit.descriptor is not None:
                self.flushes.note(commit)
        return has_name

    def is_doubtful(self, found: Loaded) -> bool:
        """See `Backend`: a flush of this very file has failed."""
        return self.durability == "power" and is_doubtful(self.path, found.stamp)

    def changed(self) -> DocumentChanged:
        """See `Backend`. Reports a neighbour's lock that is there, and not configured."""
        changed(self.path, self.strategy)
        return document_changed(self.path)

    # -- after the turn ------------------------------------------------------------------------------------------------

    def settle(self, commit: Commit) -> None:
        """See `Backend`."""
        if commit.descriptor is not None:
            self.flushes.settle(commit)
        elif commit.is_unflushed and self.durability == "power":
            try:
                confirm(self._target, in_place=self.in_place)
            except OSError as error:
                if error.errno is None:
                    raise  # a signal handler's
                raise not_flushed(self.path, error) from error

    def confirm(self, found: Loaded) -> None:
        """See `Backend`.

        An update that changes nothing is acknowledged without a write. But the document may be there without having
        been flushed: its writer has not come so far yet, its flush failed, it was killed, or it did not ask for one.
        """
        if self.durability == "power":
            confirm(self._target, in_place=self.in_place)

    # -- the rest ------------------------------------------------------------------------------------------------------

    def news(self, *, events: bool) -> News:
        """See `Backend`."""
        from storewriter._backends.file_news import FileNews  # only programs that watch pay for the import

        return FileNews(self, events=events)

    def rescue(self) -> Rescue:
        """See `Backend`."""
        from storewriter._backends.file_rescue import FileRescue

        return FileRescue(self)

    def write_beside(self, name: str, data: bytes) -> None:
        """Write another file of this store, with the document's owner and rights. Only in a turn. Raises OSError."""
        write_beside(name, data, like=self.path, durability=self.durability, system=self.system)

    def _make_folders(self) -> None:
        try:
            make_folders(self.path, self.system)
        except OSError as error:
            refuse(error, self.path, "creating its folder", "there is no document")

    def _saved_in_place(self, data: bytes, found: Loaded) -> bool:
        """Write the document into its file; False if there is none yet, which a replace can make."""
        old = in_place.load(self.path, self.read_file, self.system)
        if old != found.data:
            raise document_changed(self.path)
        if old is None:
            return False
        with contextlib.ExitStack() as stack:
            try:
                in_place.require_ours(self.path, self.read_file)
                file = existing(self.path, self.system)
                if file is None:
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.path)
                if self.backups:
                    # The document counts (`old`): its file may hold what a killed writer left.
                    stack.enter_context(self._keeping(lambda: old, links=False).kept(file))
            except OSError as error:
                refuse(error, self.path, "saving in place", "the old document is untouched")
            in_place.save(self.path, data, old, file, durability=self.durability, system=self.system)
        return True

    def _kept(self, old: os.stat_result) -> contextlib.AbstractContextManager[None]:
        return self._keeping(lambda: self.read_file(self.path), links=True).kept(old)

    def _keeping(self, document: Callable[[], bytes | None], *, links: bool) -> Backups:
        return Backups(self.path, self.backups, links, document, self.read_file, self.write_beside, self.system)


def _no_check() -> None:
    """Inside a fence there is nothing left to check."""


class Unguarded:
    """The hold of code that has the turn, and its fence, already."""

    is_irrevocable = True
    token: str | None = None

    def may_pass(self) -> bool:
        """See `Hold`."""
        return False

    def check(self) -> None:
        """See `Hold`: nothing to check."""

    def fence(self) -> contextlib.AbstractContextManager[None]:
        """See `storewriter.locks.Hold`."""
        return contextlib.nullcontext()

    def describe(self, label: str | None) -> None:
        """See `Hold`: nothing."""

    def release(self) -> None:
        """See `Hold`: nothing."""


def _changed_after_that(path: str) -> CommitUncertain:
    """The error if an interrupt came right after the rename, and a program without the lock has written since then."""
    msg = (
        f"{path} was changed by a program that does not take its lock, right after it was saved: whether the update is "
        f"in the document is unknown. Read the store before repeating it."
    )
    return CommitUncertain(msg, path=path)


# -- reading ---------------------------------------------------------------------------------------------------------

_READ_FLAGS: Final = os.O_RDONLY | NONBLOCK | NOFOLLOW | NOCTTY
# O_NONBLOCK: a FIFO without a writer would make the open wait for ever (open(2)). O_NOFOLLOW: the path was resolved; a
# link found here appeared since, and following it would read a file that our lock does not guard. O_NOCTTY: a terminal
# would become ours.


def _read(path: str, system: System, *, tries: int = 2) -> Loaded:
    """A file, whole, and what it is; (None, None) if there is none. Raises NotARegularFile, OSError, Moved."""
    file = Descriptor()
    try:
        fd = file.open(system.open, path, _READ_FLAGS)
        # Before the content: a program that writes into the file meanwhile is noticed at the next look.
        found = system.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            require_regular(path, found)
        # One byte more than expected: the end of the file shows in the same call.
        data = system.read(fd, found.st_size + 1)
        return Loaded(data if len(data) == found.st_size else _read_on(fd, data, system), found)
    except FileNotFoundError:
        return Loaded(None, None)
    except OSError as error:
        if error.errno == errno.ESTALE and tries > 1:
            # A file server drops a file that was replaced while it was being read; its successor is whole.
            return _read(path, system, tries=1)
        if not file.is_open:
            _require_regular(path, system)
        if error.errno == errno.ELOOP:
            raise _moved(error, path) from error
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


# -- where the path leads --------------------------------------------------------------------------------------------


def _moved(error: OSError, path: str) -> OSError:
    """The document has become a link since its path was resolved: resolve it anew at the next try.

    A link that is its own real path leads to itself: there is no file, and no next try finds one.
    """
    keys.forget()
    if os.path.realpath(path) != path:
        return Moved(error.errno, error.strerror, path)
    msg = f"{error.strerror}: these links lead in a circle, so there is no document. Remove one, or name a file"
    return OSError(error.errno, msg, path)


_backends: WeakValueDictionary[tuple[Any, ...], FileBackend] = WeakValueDictionary()
"""By settings: the backend of all stores of this process that write one file in the same way."""


class FileAddress:
    """A path that was given for a store. It leads to another file once it, or a folder above, has become a link."""

    __slots__ = ("_backend", "_given", "_looked", "_settings")

    def __init__(self, path: str | bytes | os.PathLike[str] | os.PathLike[bytes], **settings: Any) -> None:
        """`settings`: those of `FileBackend`."""
        if settings.get("in_place"):
            _require_instant(settings["strategy"])
        linux_calls.load()
        # Absolute now: the working folder may change under a long-lived store.
        self._given = keys.absolute(path)
        self._settings = settings
        self._backend = self._at(keys.canonical(self._given))
        self._looked = 0.0

    def locate(self, *, exactly: bool) -> Backend[Any, Any]:
        """See `Address`."""
        if not exactly:
            now = time.monotonic()
            if now - self._looked < keys.FOLDER_CACHE_SECONDS and self._backend.path == self._given:
                return self._backend
            self._looked = now
        path = keys.canonical(self._given)
        if path != self._backend.path:
            self._backend = self._at(path)
        return self._backend

    def _at(self, path: str) -> FileBackend:
        backend = FileBackend(path, **self._settings)
        try:
            backend = _backends.setdefault((path, *self._settings.values()), backend)
        except TypeError:  # a strategy, say, that cannot be hashed
            pass
        _rights.expected[path] = backend  # what the lock file of a new document should be
        return backend


def _require_instant(lock: Strategy) -> None:
    """Writing in place has no single instant in which a holder that was succeeded could be refused."""
    own, neighbours = (lock.own, lock.neighbours) if isinstance(lock, Joined) else (lock, ())
    for one, instead in ((own, "Use lock='flock' or 'marker', or mount"), *((one, "Mount") for one in neighbours)):
        if isinstance(one, (Lease, ProperLockfile, OpenClawLock)):
            given = "lock='lease'" if one is own else f"also={type(one).__name__}()"
            msg = (
                f"in_place=True does not go with {given}: writing in place has no single instant in which a holder "
                f"that was succeeded could be refused. {instead} the folder"
            )
            raise ValueError(msg)  # noqa: TRY004 - the type is fine, and the setting is not
