"""The last documents of a store, kept beside it: `.<name>.backup-1` is the newest, then `-2`, and so on.

Promise    Every commit that replaces a document keeps it first, up to the number asked for. Nothing is written twice:
           a backup is the replaced file itself, under a second name (link(2)). Where a file cannot have two names,
           and where the document is written in place, it is a copy.
Only       under the store's lock.
Does not   judge: whether a backup is good is found out when somebody wants it back (`recovery.py`).
Fails by   OSError; the commit then fails too, and the old document stands.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

from storewriter._system import NO_LINK, System

Copy = Callable[[str], None]
"""Writes a copy of the document under a name."""


def backup(path: str, number: int) -> str:
    """Name of a backup; 1 is the newest."""
    folder, name = path.rsplit(os.sep, 1)
    return f"{folder}{os.sep}.{name}.backup-{number}"


def backups_of(path: str, system: System) -> list[str]:
    """The backups that exist, the newest first."""
    folder, prefix = backup(path, 0)[:-1].rsplit(os.sep, 1)
    numbers: list[int] = []
    for name in system.names(folder or os.sep):
        rest = name[len(prefix) :]
        if name.startswith(prefix) and rest.isascii() and rest.isdigit() and not rest.startswith("0"):
            numbers.append(int(rest))
    return [backup(path, number) for number in sorted(numbers)]


def keep(path: str, old: os.stat_result, count: int, *, link: bool, copy: Copy, system: System) -> None:
    """Keep the document at `path`, which is `old`, as the newest of `count` backups. Raises OSError."""
    newest = backup(path, 1)
    if _is(newest, old, system):
        return  # an earlier commit got this far and no further
    for number in range(count - 1, 0, -1):
        with contextlib.suppress(FileNotFoundError):
            system.rename(backup(path, number), backup(path, number + 1))
    if count == 1:
        with contextlib.suppress(FileNotFoundError):
            system.unlink(newest)
    if not (link and linked(path, newest, system)):
        copy(newest)


def linked(path: str, name: str, system: System) -> bool:
    """Give a file a second name. False where it cannot have one."""
    try:
        system.link(path, name)
    except OSError as error:
        if error.errno in NO_LINK:
            return False
        raise
    return True


def _is(name: str, file: os.stat_result, system: System) -> bool:
    try:
        found = system.lstat(name)
    except FileNotFoundError:
        return False
    return (found.st_dev, found.st_ino) == (file.st_dev, file.st_ino)
