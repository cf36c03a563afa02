"""Atomic durable replace: write, flush, rename, flush the folder.

Promise    A reader sees the old document or the new one, whole, never none. After `replace` returns, the new one
           survives the death of any process, and with `power` a power cut. If it raises an OSError, the old document
           stands; if it raises `CommitUncertain`, the new one stands and only its durability is unknown.
How        A temporary file in the same folder, created exclusively under one fixed name, renamed over the target.
Only       under the store's lock: the fixed name makes a dead writer's leftover ours to remove, so none pile up.
Does not   reach files that programs hold open: they keep the document that they opened.
Fails by   OSError (the call's own kind, with the store's path), ReadOnlyStore, NotARegularFile, CommitUncertain.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import Literal

from storewriter._system import DIRECTORY, NO_FOLDER_FLUSH, NO_XATTR, NOFOLLOW, System
from storewriter.errors import CommitUncertain, NotARegularFile, ReadOnlyStore

Durability = Literal["power", "process"]

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFLNK: "a symbolic link",
}


def temporary(path: str) -> str:
    """The one temporary name of a store: `.<name>.tmp`, used only under its lock."""
    folder, name = path.rsplit(os.sep, 1)
    return f"{folder}{os.sep}.{name}.tmp"


def require_regular(path: str, found: os.stat_result) -> None:
    """Refuse what is not a regular file."""
    if stat.S_ISREG(found.st_mode):
        return
    kind = _KINDS.get(stat.S_IFMT(found.st_mode), "not a regular file")
    code = errno.EISDIR if stat.S_ISDIR(found.st_mode) else errno.EINVAL
    error = NotARegularFile(
        f"{path} is {kind}, so it cannot be a store. Choose another path, or move it away.", path=path, kind=kind
    )
    error.errno = code
    raise error


def replace(path: str, data: bytes, *, durability: Durability, mode: int, system: System) -> None:
    """Put `data` in place of the document at `path` (a canonical path), under the store's lock.

    `mode` is used for a document that does not exist yet; an existing one keeps its mode, owner where permitted,
    ACLs and extended attributes.
    """
    old = _existing(path, system)
    spare = temporary(path)
    try:
        fd = _create(spare, system)
        try:
            _write_all(fd, data, system)
            _dress(fd, path, old, mode, system)
            if durability == "power":
                # Before the rename: otherwise the name may reach the disk before the content does, and a power cut
                # leaves an empty or partial document under the right name (Pillai et al., OSDI 2014, section 4.4).
                system.flush(fd)
        finally:
            system.close(fd)
        _take_name(spare, path, old is not None and durability == "process", system)
    except OSError as error:
        with contextlib.suppress(OSError):  # the first error is the one that matters; the name is fixed anyway
            system.unlink(spare)
        raise _naming(error, path, "the old document is untouched") from error
    if durability == "power":
        _flush_folder(path, system)


def _existing(path: str, system: System) -> os.stat_result | None:
    try:
        found = system.lstat(path)
    except FileNotFoundError:
        return None
    require_regular(path, found)
    # The mode is looked at as well as access(2): for root everything is writable, but a file without any write bit
    # was made read-only by somebody.
    if not found.st_mode & 0o222 or not system.writable(path):
        error = ReadOnlyStore(
            f"{path} is read-only (mode {stat.S_IMODE(found.st_mode):04o}), so it was not replaced. "
            f"Make it writable if it should change.",
            path=path,
        )
        error.errno = errno.EACCES
        raise error
    return found


def _create(spare: str, system: System) -> int:
    """Create the temporary file exclusively, so that a planted link is never followed or written through."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | NOFOLLOW
    try:
        return system.open(spare, flags, 0o600)
    except FileExistsError:
        # We hold the lock, so whoever made it is dead (or was succeeded): its content was never acknowledged.
        system.unlink(spare)
        return system.open(spare, flags, 0o600)


def _write_all(fd: int, data: bytes, system: System) -> None:
    written = system.write(fd, data)
    if written == len(data):
        return
    rest = memoryview(data)[written:]
    while rest:
        written = system.write(fd, rest)
        if written == 0:
            raise OSError(errno.EIO, "the file system accepted no more bytes")
        rest = rest[written:]


def _dress(fd: int, path: str, old: os.stat_result | None, mode: int, system: System) -> None:
    """Give the new file what the old one was: mode, owner, ACLs, extended attributes."""
    if old is None:
        if mode != 0o600:
            system.fchmod(fd, mode)
        return
    mine = system.fstat(fd)
    wanted = stat.S_IMODE(old.st_mode)
    if (mine.st_uid, mine.st_gid) != (old.st_uid, old.st_gid):
        wanted = _chown(fd, old, wanted, system)
    if stat.S_IMODE(mine.st_mode) != wanted:
        # After the chown, which clears set-id bits (chown(2)).
        system.fchmod(fd, wanted)
    for name, value in system.attributes(path).items():
        # After the chmod: an access ACL carries the group bits, and chmod would write its mask.
        _copy_attribute(fd, name, value, system)


def _chown(fd: int, old: os.stat_result, mode: int, system: System) -> int:
    """Keep the owner, or at least the group; returns the mode that is safe with what was permitted."""
    try:
        system.fchown(fd, old.st_uid, old.st_gid)
    except PermissionError:
        pass
    else:
        return mode
    try:
        system.fchown(fd, -1, old.st_gid)
    except PermissionError:
        # Neither: never hand our own identity to whoever runs the file.
        return mode & 0o777
    return mode & 0o3777


def _copy_attribute(fd: int, name: str, value: bytes, system: System) -> None:
    try:
        system.set_attribute(fd, name, value)
    except OSError as error:
        # Labels of the security module and trusted.* need privileges; the system gives a new file its own.
        if error.errno in NO_XATTR or (
            error.errno in (errno.EPERM, errno.EACCES) and not name.startswith(("user.", "system."))
        ):
            return
        raise


def _take_name(spare: str, path: str, may_exchange: bool, system: System) -> None:
    """Give the new document the store's name.

    Without a flush, ext4 makes up for careless programs by starting one inside rename-over-existing (the
    `auto_da_alloc` mount option, ext4(5)); swapping the names and removing the old document does not trigger it, and
    costs a quarter. A crash between the two leaves the old document under the temporary name: garbage like any other.
    """
    if may_exchange and system.exchange(spare, path):
        with contextlib.suppress(OSError):  # the new document stands; the next commit removes the leftover
            system.unlink(spare)
        return
    system.rename(spare, path)


def _flush_folder(path: str, system: System) -> None:
    folder = path.rsplit(os.sep, 1)[0] or os.sep
    try:
        fd = system.open(folder, os.O_RDONLY | DIRECTORY)
        try:
            system.flush_folder(fd)
        finally:
            system.close(fd)
    except OSError as error:
        if error.errno in NO_FOLDER_FLUSH:
            return
        # Never tried again as if it had succeeded: a kernel reports a failed write-back once and then forgets it
        # (Rebello et al., USENIX ATC 2020), so a second fsync that succeeds would prove nothing.
        msg = (
            f"the new document of {path} is in place, but its folder could not be flushed ({error.strerror}): "
            f"whether it survives a power cut is unknown. Read the store before repeating the update."
        )
        raise CommitUncertain(msg, path=path) from error


def make_folders(path: str, system: System, *, durable: bool) -> None:
    """Create the folders above `path` that are missing, every one of them 0700.

    `os.makedirs(mode=)` gives the mode to the last level only, the others get the umask's.
    """
    folder = path.rsplit(os.sep, 1)[0] or os.sep
    missing: list[str] = []
    while folder and not os.path.isdir(folder):
        missing.append(folder)
        folder = folder.rsplit(os.sep, 1)[0]
    for level in reversed(missing):
        with contextlib.suppress(FileExistsError):  # somebody else was faster
            system.mkdir(level, 0o700)
        if durable:
            _flush_folder(level, system)


def _naming(error: OSError, path: str, outcome: str) -> OSError:
    """The same kind of error, telling which store it was and what became of it."""
    if isinstance(error, (ReadOnlyStore, NotARegularFile)):
        return error
    if error.errno is None:
        error.add_note(f"store: {path}; {outcome}")
        return error
    return OSError(error.errno, f"{error.strerror} (saving; {outcome})", path)
