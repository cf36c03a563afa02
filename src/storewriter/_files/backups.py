"""The last documents of a store, kept beside it: `.<name>.backup-1` is the newest, then `-2`, and so on.

Promise    Every commit that replaces a document keeps it, up to the number asked for. Nothing is written twice: a
           backup is the replaced file itself, under a second name (link(2)). Where a file cannot have two names, and
           where the document is written in place, it is a copy. A commit that fails leaves every backup as it was.
How        1. before the commit the document gets the name `.<name>.backup-new`
           2. the commit
           3. the older backups move up, as far as there is no gap, and that one becomes the newest
           A process that is killed after 2 leaves the replaced document under the name of step 1: it counts as the
           newest backup, and the next commit does step 3. If it is killed before, the document itself, or a copy of
           it, has that name: it counts as no backup, and the next commit removes it. So at every instant all backups
           but the one that is due to go are there, in order, and none of them is the document itself.
Only       under the store's lock.
Does not   check a backup: whether it is good is found out when it is restored (`recovery.py`).
Fails by   OSError before the commit, which then fails too, and the old document stays. Never after it: what is left
           to do then the next commit does.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType

import attrs

from storewriter._platform.interrupts import is_of_a_step, quietly
from storewriter._platform.system import NO_LINK, System
from storewriter.errors import CommitUncertain

Read = Callable[[str], bytes | None]
"""A whole file; None if there is none."""

Write = Callable[[str, bytes], None]
"""Writes a whole file, or nothing."""


def backup(path: str, number: int) -> str:
    """Name of a backup; 1 is the newest."""
    return f"{_prefix(path)}{number}"


def backups_of(path: str, system: System) -> list[str]:
    """The backups that exist, the newest first."""
    folder, prefix = _prefix(path).rsplit(os.sep, 1)
    numbers: list[int] = []
    for name in system.names(folder or os.sep):
        rest = name[len(prefix) :]
        if name.startswith(prefix) and rest.isascii() and rest.isdigit() and not rest.startswith("0"):
            numbers.append(int(rest))
    found = [backup(path, number) for number in sorted(numbers)]
    fresh = _fresh(path)
    if _stat(fresh, system) is not None and not _is_one_file(fresh, path, system):
        found.insert(0, fresh)
    return found


@attrs.frozen
class Backups:
    """How the documents of one store are kept."""

    path: str
    count: int
    """How many, from 1."""
    links: bool
    """Whether a second name will do; otherwise every backup is a copy, because the file itself will be written to."""
    document: Callable[[], bytes | None]
    """Reads the document."""
    read: Read
    write: Write
    system: System

    def kept(self, old: os.stat_result) -> AbstractContextManager[None]:
        """Around a commit: keep the document, which is the file `old`. Raises OSError before it, and what it raises."""
        return _Keeping(self, old)

    def begin(self, old: os.stat_result) -> bool:
        """Before a commit. False: there is nothing to keep."""
        try:
            self._settle(old)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            raise self._too_long(error) from error
        try:
            return self._prepare(old)
        except BaseException as error:
            self.give_up(error)
            raise

    def give_up(self, error: BaseException) -> None:
        """The commit has ended with this.

        After the rename it may also be a signal handler's. If it is not known which document stands, the next commit
        finds out what this backup is.
        """
        if is_of_a_step(error) and not isinstance(error, CommitUncertain):
            quietly(self.system.unlink, _fresh(self.path))  # the first error is the one that matters

    def _too_long(self, error: OSError) -> OSError:
        fresh = _fresh(self.path)
        more = len(fresh) - len(self.path)
        reason = f"{error.strerror}: the name of a backup has {more} bytes more than the store's. Choose a shorter name"
        return OSError(error.errno, f"{reason}, or backups=0", fresh)

    def _prepare(self, old: os.stat_result) -> bool:
        """Step 1. False: the newest backup is this document already."""
        newest = _stat(backup(self.path, 1), self.system)
        is_document = newest is not None and _is_file(newest, old)  # a user linked it, too
        if is_document and self.links:
            return False  # the replace parts them
        fresh = _fresh(self.path)
        if not (self.links and linked(self.path, fresh, self.system)):
            data = self.document()
            if data is None:
                return False
            self.write(fresh, data)
        if is_document:
            self.system.unlink(backup(self.path, 1))  # it would be written over with the document
        return True

    def _settle(self, old: os.stat_result) -> None:
        """Find out how far an earlier commit got, and do the rest of it."""
        fresh = _fresh(self.path)
        left = _stat(fresh, self.system)
        if left is None:
            return
        if _is_file(left, old) or self.read(fresh) == self.document():
            self.system.unlink(fresh)  # it got no further than step 1
        else:
            self.move_up()

    def move_up(self) -> None:
        """Step 3, also after it was interrupted at any point: a gap is filled, and nothing beyond it moves."""
        number = 1
        while number < self.count and _stat(backup(self.path, number), self.system) is not None:
            number += 1
        for target in range(number, 1, -1):
            self.system.rename(backup(self.path, target - 1), backup(self.path, target))
        self.system.rename(_fresh(self.path), backup(self.path, 1))


def linked(path: str, name: str, system: System) -> bool:
    """Give a file a second name. False where it cannot have one."""
    try:
        system.link(path, name)
    except OSError as error:
        if error.errno in NO_LINK:
            return False
        raise
    return True


def _prefix(path: str) -> str:
    folder, name = path.rsplit(os.sep, 1)
    return f"{folder}{os.sep}.{name}.backup-"


def _fresh(path: str) -> str:
    """The name of a backup whose commit is under way."""
    return f"{_prefix(path)}new"


def _stat(name: str, system: System) -> os.stat_result | None:
    try:
        return system.lstat(name)
    except FileNotFoundError:
        return None


def _is_one_file(name: str, path: str, system: System) -> bool:
    found, document = _stat(name, system), _stat(path, system)
    return found is not None and document is not None and _is_file(found, document)


def _is_file(found: os.stat_result, file: os.stat_result) -> bool:
    return (found.st_dev, found.st_ino) == (file.st_dev, file.st_ino)


class _Keeping:
    """See `Backups.kept`. No generator: in one, a StopIteration of a signal handler becomes a RuntimeError."""

    __slots__ = ("_backups", "_is_kept", "_old")

    def __init__(self, backups: Backups, old: os.stat_result) -> None:
        self._backups = backups
        self._old = old
        self._is_kept = False

    def __enter__(self) -> None:
        self._is_kept = self._backups.begin(self._old)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._backups.give_up(error)
        elif self._is_kept:
            quietly(self._backups.move_up)  # the commit stands, and the backup too: the next one moves it up
