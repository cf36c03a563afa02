"""One name for a store, however its path is spelled: the key of its lane and of its locks.

Promise    Every spelling that reaches the same file through links has the same key; a link is never the store itself.
           Where a folder above has become a link, that is so after `FOLDER_CACHE_SECONDS` at the latest. A name that
           another store would use for a file of its own is refused.
How        The real path of the target. Resolving costs a look at every folder on the way, so the answer is remembered
           for a moment; the locks beside the store notice when a folder has moved (see `locks/flock.py`), and a
           caller that finds the lock of one name taken checks whether this process holds it by another name.
Does not   resolve hard links (a second name of a file is a second store: a replace parts them), nor bind mounts.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Iterable
from typing import Final

from storewriter.errors import ReservedName

_STAT_CACHE_SECONDS = 0.000_25
"""Seconds for which a resolved path is used without a check. Long enough to spare a tight loop the check; short enough
that a path which has become a link is noticed at once on the scale of people and of commands."""

FOLDER_CACHE_SECONDS: Final = 0.05
"""Seconds for which the folders above are taken for real folders, without a check of each of them."""

_MOST_PATHS = 512
"""Paths whose resolution is kept at most; the table is emptied when full, which costs one resolution each."""

_resolved: dict[str, tuple[str, float, float]] = {}
"""By given path: the real one, when it was last looked at, and when every folder of it was."""
sidecars: dict[str, str] = {}
"""By key: what `sidecar` has returned."""


def canonical(path: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> str:
    """The real, absolute path of a store. It need not exist yet.

    Raises what `absolute` raises, and ReservedName.
    """
    name = path if type(path) is str else os.fspath(path)
    if type(name) is not str:
        name = _text(name)
    known = _resolved.get(name)
    now = time.monotonic()
    if known is not None:
        key, looked, resolved = known
        if now - looked < _STAT_CACHE_SECONDS:
            return key
        # A relative path depends on the working folder; an absolute one may have become a link since.
        if name == key and now - resolved < FOLDER_CACHE_SECONDS:
            try:
                is_link = stat.S_ISLNK(os.lstat(name).st_mode)
            except OSError as error:
                if error.errno is None:
                    raise  # a signal handler's
                is_link = False
            if not is_link:
                _resolved[name] = (key, now, resolved)
                return key
    key = _resolve(name)
    if name[0] == os.sep or os.path.isabs(name):
        if len(_resolved) >= _MOST_PATHS:
            _resolved.clear()
        _resolved[name] = (key, now, now)
    return key


def absolute(path: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> str:
    """The path as it was given, but from the root: a relative one begins in the working folder of this moment.

    Raises TypeError for what is not a path, ValueError for an empty path or one with a NUL, and FileNotFoundError for a
    relative path if the working folder has been removed.
    """
    name = _text(path)
    if not name:
        msg = f"a store needs a path, got {path!r}"
        raise ValueError(msg)
    if "\0" in name:
        msg = f"a store's path cannot contain a NUL character: {name!r}"
        raise ValueError(msg)
    if os.path.isabs(name):
        return name  # without asking for the working folder, which may be gone
    try:
        return os.path.join(os.getcwd(), name)
    except FileNotFoundError as error:
        msg = "the working folder has been removed, and a relative path begins in it"
        raise FileNotFoundError(errno.ENOENT, msg, name) from error


def sidecar(key: str) -> str:
    """Path of the lock file beside the store with this key: `.<name>.lock` in the same folder."""
    known = sidecars.get(key)
    if known is not None:
        return known
    if len(sidecars) >= _MOST_PATHS:
        sidecars.clear()
    folder, name = key.rsplit(os.sep, 1)
    path = sidecars[key] = f"{folder}{os.sep}.{name}.lock"
    return path


def is_named(inode: int, device: int, path: str) -> bool:
    """Whether the file that was locked still is the lock file of the store at that path.

    1. A opens the lock file.  2. It is deleted, or its folder.  3. B creates a new one and locks it.  4. A locks the
    old one. Both would hold a lock; A finds here that its file has no name any more, or another one, and starts over.
    The file must be open meanwhile, or its inode number could come back.
    """
    try:
        named = os.lstat(sidecars.get(path) or sidecar(path))
    except OSError as error:
        if error.errno is None:
            raise  # a signal handler's
        return False
    return named.st_ino == inode and named.st_dev == device


def same_lock_file(key: str, others: Iterable[str]) -> str | None:
    """The first of the other keys whose lock file is this key's: a folder above was renamed, and a link put there."""
    name = key[key.rindex(os.sep) :]
    ours: os.stat_result | None = None
    for other in others:
        if other == key or not other.endswith(name):
            continue
        try:
            ours = ours or os.stat(sidecar(key))
            if os.path.samestat(ours, os.stat(sidecar(other))):
                return other
        except OSError as error:
            if error.errno is None:
                raise  # a signal handler's
    return None


def _text(path: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> str:
    # fsdecode refuses what is no path with a TypeError.
    return str(os.fsdecode(path))


def _resolve(name: str) -> str:
    if "://" in name:
        msg = f"{name!r} is a URL, not a path; the path of a file with such a name is given as a pathlib.Path"
        raise ValueError(msg)
    key = os.path.realpath(absolute(name))
    if not os.path.basename(key):
        msg = f"a store's path must name a file, got {name!r}"
        raise ValueError(msg)
    _require_free(key)
    return key


_USES: Final = {
    r"lock": "the lock file",
    r"tmp(\.[0-9a-f]{32})?": "the temporary file",
    r"marker(\.break\..+)?": "the marker",
    r"guard": "the guard",
    r"journal": "the journal",
    r"backup-(new|[1-9][0-9]*)": "a backup",
}
"""What a store keeps as `.<name>.<ending>` beside its document, and what for."""

_BESIDE: Final = re.compile(rf"\.(.+)\.(?:{'|'.join(f'({ending})' for ending in _USES)})", re.DOTALL)
_SET_ASIDE: Final = re.compile(r"(.+)\.corrupt-[1-9][0-9]*", re.DOTALL)


def auxiliary(key: str) -> tuple[str, str] | None:
    """The store to which a file with this path belongs, and what for; None if no store would use that name."""
    folder, name = key.rsplit(os.sep, 1)
    beside = _BESIDE.fullmatch(name)
    if beside is not None:
        use = next(use for ending, use in _USES.items() if re.fullmatch(ending, name[len(beside[1]) + 2 :]))
        return f"{folder}{os.sep}{beside[1]}", use
    aside = _SET_ASIDE.fullmatch(name)
    return None if aside is None else (f"{folder}{os.sep}{aside[1]}", "the corrupt document that was set aside")


def _require_free(key: str) -> None:
    """Refuse a store that the first update of another one would overwrite, or remove."""
    found = auxiliary(key)
    if found is None:
        return
    store, use = found
    raise ReservedName(
        f"{key} cannot be a store: a file of this name is {use} of the store {store}, which overwrites and removes it. "
        f"Give this store another name, or name {store} if that is the one that you mean",
        path=key,
        store=store,
        use=use,
    )


def forget() -> None:
    """Forget every remembered resolution."""
    _resolved.clear()
