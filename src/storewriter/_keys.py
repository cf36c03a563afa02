"""One name for a store, however its path is spelled: the key of its lane and of its locks.

Promise    Every spelling that reaches the same file through links has the same key; a link is never the store itself.
How        The real path of the target. Resolving costs a look at every folder on the way, so the answer is remembered
           for a moment; the locks beside the store notice when a folder has moved (see `locks/flock.py`).
Does not   know hard links (a second name of a file is a second store: a replace parts them), nor bind mounts.
"""

from __future__ import annotations

import os
import stat
import time

_FRESH = 0.000_25
"""Seconds for which a resolved path is believed without a look. Long enough to spare a tight loop the look, short
enough that a path which has become a link is noticed by the next turn that a person or a program could care about."""

_REMEMBERED = 512
"""Paths whose resolution is kept at most; the table is emptied when full, which costs one resolution each."""

_resolved: dict[str, tuple[str, float]] = {}
_sidecars: dict[str, str] = {}


def canonical(path: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> str:
    """The real, absolute path of a store. It need not exist yet.

    Raises TypeError for what is not a path of text, ValueError for an empty path or one with a NUL.
    """
    name = path if type(path) is str else _text(path)
    known = _resolved.get(name)
    now = time.monotonic()
    if known is not None:
        key, looked = known
        if now - looked < _FRESH:
            return key
        # A relative path depends on the working folder; an absolute one may have become a link since.
        if name == key and not _is_link(name):
            _resolved[name] = (key, now)
            return key
    key = _resolve(name)
    if name[0] == os.sep or os.path.isabs(name):
        if len(_resolved) >= _REMEMBERED:
            _resolved.clear()
        _resolved[name] = (key, now)
    return key


def sidecar(key: str) -> str:
    """Path of the lock file beside the store with this key: `.<name>.lock` in the same folder."""
    known = _sidecars.get(key)
    if known is not None:
        return known
    if len(_sidecars) >= _REMEMBERED:
        _sidecars.clear()
    folder, name = key.rsplit(os.sep, 1)
    path = _sidecars[key] = f"{folder}{os.sep}.{name}.lock"
    return path


def _text(path: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> str:
    # fsdecode refuses what is no path with a TypeError.
    return str(os.fsdecode(path))


def _resolve(name: str) -> str:
    if not name:
        msg = f"a store needs a path, got {name!r}"
        raise ValueError(msg)
    if "\0" in name:
        msg = f"a store's path cannot contain a NUL character: {name!r}"
        raise ValueError(msg)
    key = os.path.realpath(name)
    if not os.path.basename(key):
        msg = f"a store's path must name a file, got {name!r}"
        raise ValueError(msg)
    return key


def _is_link(name: str) -> bool:
    try:
        return stat.S_ISLNK(os.lstat(name).st_mode)
    except OSError:
        return False


def forget() -> None:
    """Forget every remembered resolution."""
    _resolved.clear()
