"""What can be seen of a document in a file and of its locks: file, holder, waiters, marker, neighbours."""

from __future__ import annotations

import fcntl
import os
from typing import Final

import attrs

from storewriter._files.beside import Beside, beside
from storewriter._files.keys import canonical, sidecar
from storewriter._files.replace import require_regular
from storewriter._platform import mounts
from storewriter._platform.kernel_locks import processes_with
from storewriter._platform.liveness import Verdict, describe, judge
from storewriter._platform.mounts import Mount, Trust
from storewriter._platform.owner import Owner
from storewriter._platform.system import CLOEXEC, NOCTTY, NOFOLLOW, NONBLOCK
from storewriter.locks._marker_file import Seen, UnreadableMarker, look, marker_file
from storewriter.locks._marker_owner import owner_of_store
from storewriter.locks._record import read_record
from storewriter.locks.neighbours._detection import findings
from storewriter.locks.neighbours._whose import Foreign

__all__ = ["FileStatus", "file_status"]


@attrs.frozen(kw_only=True)
class FileStatus:
    """What can be seen of a document in a file and of its locks from outside, at one instant."""

    path: str
    """The store's canonical path."""
    size: int | None
    """Bytes of the document; None if there is none."""
    holder: Owner | None
    """The process that has the turn now; None if there is none, or if it is not known."""
    verdict: Verdict | None
    """What is known of the holder's process."""
    strategy: str | None
    """The strategy in use: `flock`, `marker` or `lease`; of a free store, the one that was used last."""
    waiters: tuple[Owner, ...]
    """Processes that have the lock file open beside the holder. Waiters for a marker or a lease do not show."""
    marker: Seen | None
    """The marker on disk, if there is one."""
    mount: Mount | None
    """Where the store is."""
    trust: Trust
    """Which processes a kernel lock excludes there, by the type of the file system."""
    refused: bool | None
    """Whether a second descriptor was refused the lock; None: it could not be tested."""
    unseen: str | None = None
    """Why nothing more is known about the holder; None: nothing prevents that."""
    neighbours: tuple[Foreign, ...] = ()
    """Locks of other programs, beside the document and on it."""
    committed: float | None = None
    """When the document was last written, in seconds since the epoch; None if there is none."""
    leftovers: tuple[Beside, ...] = ()
    """What killed writers, backups and recoveries have left beside the document."""


_PERMANENT: Final = ("the lock file", "the guard", "the marker")
"""Files that are no leftovers: they are there as long as the store, or are shown by themselves."""


def file_status(path: str) -> FileStatus:
    """Look at the store in a file.

    Takes its lock for an instant, shared and only if it is free, to see whether locks work.

    Raises ValueError for what cannot be the path of a store, NotARegularFile for a folder, a FIFO or a device at it,
    OSError for a document or a folder that cannot be read.
    """
    key = canonical(path)
    size, committed = _size(key)
    marker, unseen = _marker(key)
    unseen = unseen or _closed(sidecar(key))
    owner = owner_of_store(key)
    mount = mounts.mount_of(key)
    refused, is_held = _try_lock(sidecar(key))
    if owner is None and is_held:
        owner = owner_of_store(key) or Owner()  # one that /proc/locks does not show, of another container
    return FileStatus(
        path=key,
        size=size,
        holder=owner,
        verdict=None if owner is None else judge(owner),
        strategy=_strategy(key, owner),
        waiters=_waiters(key, owner),
        marker=marker,
        mount=mount,
        trust=Trust.NONE if refused is False else mounts.trust_in(mount),
        refused=refused,
        unseen=unseen,
        neighbours=tuple(findings(key, None)),
        committed=committed,
        leftovers=tuple(each for each in beside(key) if each.use not in _PERMANENT),
    )


def _marker(path: str) -> tuple[Seen | None, str | None]:
    """The marker, and why it cannot be read."""
    try:
        return look(path), None
    except UnreadableMarker:
        return None, _closed(marker_file(path)) or f"{marker_file(path)} could not be read"


def _closed(name: str) -> str | None:
    """Why a lock file that is there cannot be opened."""
    try:
        os.close(os.open(name, os.O_RDONLY | NOFOLLOW | NONBLOCK | CLOEXEC))
    except PermissionError:
        return f"uid {os.geteuid()} may not open {name}, only users who may write the store may"
    except OSError:
        pass
    return None


def _size(path: str) -> tuple[int | None, float | None]:
    """Bytes of the document, and when it was written; None if there is none. Raises what reading it would raise."""
    try:
        require_regular(path, os.lstat(path))  # before the open, which could have effects on a device
        fd = os.open(path, os.O_RDONLY | NOFOLLOW | NONBLOCK | CLOEXEC | NOCTTY)
    except FileNotFoundError:
        return None, None
    try:
        found = os.fstat(fd)
        return found.st_size, found.st_mtime
    finally:
        os.close(fd)


def _strategy(path: str, owner: Owner | None) -> str | None:
    if owner is not None:
        return owner.strategy
    try:
        fd = os.open(sidecar(path), os.O_RDONLY | NOFOLLOW | NONBLOCK | CLOEXEC)
    except OSError:
        return None
    try:
        record = read_record(fd)
    finally:
        os.close(fd)
    return None if record is None else record.strategy


def _waiters(path: str, owner: Owner | None) -> tuple[Owner, ...]:
    beside = {os.getpid(), None if owner is None else owner.pid}
    return tuple(describe(pid) for pid in processes_with(sidecar(path)) if pid not in beside)


def _try_lock(name: str) -> tuple[bool | None, bool]:
    """Whether locks on this file exclude another descriptor (None: there is no such file, or it cannot be opened).

    And whether a process has the lock for itself alone.
    """
    try:
        fd = os.open(name, os.O_RDWR | NOFOLLOW | NONBLOCK | CLOEXEC)
    except OSError:
        return None, False
    try:
        # Shared, so that users of leases do not notice. EWOULDBLOCK proves that locking works.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return mounts.is_refused_twice(fd, name), False
    except BlockingIOError:
        return True, True
    except OSError:
        return False, False
    finally:
        os.close(fd)
