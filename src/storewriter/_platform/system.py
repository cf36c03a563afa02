"""The system calls that a commit is made of, as one small record that tests can replace.

Promise    Everything that touches a store's files goes through here: a test that fails, counts or reorders calls
           needs no patching.
How        The calls that every commit makes are fields that hold the functions of `os` themselves, so that they cost
           no Python function. `flush` is the strongest flush the platform has. Calls that a signal interrupts are
           repeated by the interpreter where that is safe (PEP 475); an EINTR that still arrives is an error like any
           other. What Python opens is closed on exec (PEP 446).
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from collections.abc import Callable
from typing import Final

import attrs

from storewriter._platform.journals import Journal, journal, write_out
from storewriter._platform.linux_calls import born, exchange, forbidden

CLOEXEC: Final = os.O_CLOEXEC
NOFOLLOW: Final = os.O_NOFOLLOW
NONBLOCK: Final = os.O_NONBLOCK
DIRECTORY: Final = os.O_DIRECTORY
NOCTTY: Final = os.O_NOCTTY
_FULLFSYNC: Final[int | None] = getattr(fcntl, "F_FULLFSYNC", None) if sys.platform == "darwin" else None

NO_XATTR: Final = frozenset(
    getattr(errno, name) for name in ("ENOTSUP", "EOPNOTSUPP", "ENODATA", "ENOATTR", "ENOSYS") if hasattr(errno, name)
)
"""What a file system without extended attributes, or a file without this one, answers."""

NO_FOLDER_FLUSH: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOSYS})
"""What fsync(2) answers where folders cannot be flushed at all (some FUSE and network mounts): nothing is uncertain
there, the file system simply has no such operation."""

NO_LINK: Final = frozenset({errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
"""What link(2) answers where this file cannot have a second name: FAT, a file that is a mount point by itself, another
owner's file under `fs.protected_hardlinks` (proc_sys_fs(5)), a file with too many names."""

_HAS_PATH_DESCRIPTORS: Final = hasattr(os, "O_PATH") and os.path.isdir("/proc/self/fd")

_NO_FULL_FLUSH: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOTTY, errno.ENOSYS})


def _full_flush(fd: int) -> None:  # pragma: no cover - macOS
    assert _FULLFSYNC is not None
    try:
        fcntl.fcntl(fd, _FULLFSYNC)
    except OSError as error:
        if error.errno not in _NO_FULL_FLUSH:
            raise
        os.fsync(fd)


_flush: Final[Callable[[int], None]] = (os.fsync, _full_flush)[_FULLFSYNC is not None]


def _no_attributes(_: str | int) -> list[str]:  # pragma: no cover - not on Linux
    """Of a file on a system without extended attributes."""
    return []


_attribute_names: Callable[[str | int], list[str]] = getattr(os, "listxattr", _no_attributes)


def chmod(path: str, mode: int) -> None:
    """chmod(2) of what has this name, never of what a link there leads to. Its own mode does not matter."""
    if not _HAS_PATH_DESCRIPTORS:  # pragma: no cover - not on Linux
        os.chmod(path, mode, follow_symlinks=os.chmod not in os.supports_follow_symlinks)
        return
    # Linux has no chmod that does not follow links; a descriptor that opens nothing (O_PATH) refers to the file itself.
    fd = os.open(path, os.O_PATH | NOFOLLOW | CLOEXEC)
    try:
        os.chmod(f"/proc/self/fd/{fd}", mode)
    finally:
        os.close(fd)


@attrs.frozen
class System:
    """The real calls. Pass another object with the same names instead (`storewriter.testing`)."""

    open: Callable[..., int] = os.open
    """open(2): path, flags, mode."""
    close: Callable[[int], None] = os.close
    """close(2)."""
    write: Callable[[int, bytes | memoryview], int] = os.write
    """write(2); may be short."""
    read: Callable[[int, int], bytes] = os.read
    """read(2); may be short."""
    fstat: Callable[[int], os.stat_result] = os.fstat
    """fstat(2)."""
    lstat: Callable[[str], os.stat_result] = os.lstat
    """lstat(2)."""
    truncate: Callable[[int, int], None] = os.ftruncate
    """ftruncate(2)."""
    unlink: Callable[[str], None] = os.unlink
    """unlink(2)."""
    link: Callable[[str, str], None] = os.link
    """link(2): the new name second; it must be free."""
    mkdir: Callable[[str, int], None] = os.mkdir
    """mkdir(2)."""
    names: Callable[[str], list[str]] = os.listdir
    """Names in a folder, in no order."""
    chmod: Callable[[str, int], None] = chmod
    """chmod(2) of what has this name, never of what a link there leads to."""
    fchmod: Callable[[int, int], None] = os.fchmod
    """fchmod(2)."""
    fchown: Callable[[int, int, int], None] = os.fchown
    """fchown(2)."""
    born: Callable[[str], int | None] = born
    """When a file was made, in nanoseconds of its file system's clock; None where that is unknown. It never changes.
    Together with the inode number it identifies a file; that number alone is reused as soon as it is free.
    statx(2)."""
    forbidden: Callable[[str], str | None] = forbidden
    """The attribute of a file that forbids to replace it: `immutable`, `append-only` (chattr(1)), or None. statx(2)."""
    rename: Callable[[str, str], None] = os.replace
    """rename(2): over an existing file, atomically."""
    flush: Callable[[int], None] = _flush
    """Make a file's content and attributes survive a power cut. fsync(2); on macOS that only reaches the drive's cache,
    so fcntl(F_FULLFSYNC) is used, as fsync(2) there demands."""
    flush_folder: Callable[[int], None] = _flush
    """Make the names in a folder survive a power cut. The last flush of a commit, so it empties the cache too."""
    attribute_names: Callable[[str | int], list[str]] = _attribute_names
    """listxattr(2): POSIX ACLs are among them (`system.posix_acl_access`)."""
    journal: Callable[[int], Journal] = journal
    """What is known of the journal of the file system with this number (`st_dev`)."""

    write_out = staticmethod(write_out)
    """Write a file's content to its device and wait for that, without a flush of the device. sync_file_range(2).

    False where there is no such call.
    """

    def exchange(self, source: str, target: str) -> bool:
        """renameat2(RENAME_EXCHANGE): swap `source` and `target` atomically. False where that does not exist."""
        return exchange(source, target)

    def writable(self, path: str) -> bool:
        """access(2) with the effective ids: whether this process may write `path`."""
        effective = os.access in os.supports_effective_ids
        return os.access(path, os.W_OK, effective_ids=effective)

    def attribute(self, file: str | int, name: str) -> bytes:
        """getxattr(2): the attribute `name` of `file`, a path or a descriptor."""
        return os.getxattr(file, name)

    def set_attribute(self, fd: int, name: str, value: bytes) -> None:
        """fsetxattr(2): give the file of `fd` the attribute `name` with this `value`."""
        os.setxattr(fd, name, value)

    def remove_attribute(self, fd: int, name: str) -> None:
        """fremovexattr(2): take the attribute `name` from the file of `fd`."""
        os.removexattr(fd, name)


SYSTEM: Final = System()
