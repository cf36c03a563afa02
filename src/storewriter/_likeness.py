"""Make a new file like another one: mode, owner, ACLs, extended attributes.

Promise    What the old document *was* its successor is, as far as the system permits; where it does not, the new one is
           never open to more people than the old one was.
Only       before the new file has the store's name, so that nobody has opened it yet.
Fails by   OSError; EPERM for an owner or a security label is no failure (see the functions).
"""

from __future__ import annotations

import errno
import os
from typing import Final

from storewriter._system import NO_XATTR, System

ACL: Final = "system.posix_acl_access"

_ABOUT_THE_CONTENT: Final = frozenset({"security.ima", "security.evm"})
"""Attributes that sign a file's content (evmctl(1)): those of the old document would be wrong on the new one."""


def first_mode(look: os.stat_result | None, mode: int) -> int:
    """With which mode to create the file: as near to the right one as lets nobody in who should not be.

    Until its owner is set, the group is whichever the system chose, so it gets no more than everybody gets.
    """
    if look is None:
        return 0o600
    return look.st_mode & (0o600 | (look.st_mode & 0o007) * 0o11)


def dress(fd: int, born: os.stat_result, look: os.stat_result, model: str, system: System) -> None:
    """Give the open file `fd`, which is `born`, what `look` says of the file `model`."""
    wanted, now = look.st_mode & 0o7777, born.st_mode & 0o7777
    if born.st_uid != look.st_uid or born.st_gid != look.st_gid:
        wanted = _chown(fd, look, wanted, system)
        now = -1  # chown clears set-id bits (chown(2))
    attributes = system.attributes(model)
    if ACL not in attributes and ACL in system.attributes(fd):
        # A folder's default ACL gives the new file entries that the old one did not have: more people could read it.
        system.remove_attribute(fd, ACL)
        now = -1
    if now != wanted:
        system.fchmod(fd, wanted)
    for name, value in attributes.items():
        # After the chmod: an access ACL carries the group bits, and chmod would write its mask.
        _copy_attribute(fd, name, value, system)


def _chown(fd: int, look: os.stat_result, mode: int, system: System) -> int:
    """Keep the owner, or at least the group; returns the mode that is safe with what was permitted."""
    if _chown_permitted(fd, look.st_uid, look.st_gid, system):
        return mode
    if _chown_permitted(fd, -1, look.st_gid, system):
        # Never hand our own identity to whoever runs the file.
        return mode & 0o3777
    # Another group than the one that the group bits were meant for: it gets what everybody gets.
    return mode & 0o707 | (mode & 0o007) << 3


def _chown_permitted(fd: int, uid: int, gid: int, system: System) -> bool:
    try:
        system.fchown(fd, uid, gid)
    except OSError as error:
        # EINVAL: an owner who has no number in this user namespace (user_namespaces(7)).
        if error.errno in (errno.EPERM, errno.EACCES, errno.EINVAL):
            return False
        raise
    return True


def _copy_attribute(fd: int, name: str, value: bytes, system: System) -> None:
    if name in _ABOUT_THE_CONTENT:
        return
    try:
        system.set_attribute(fd, name, value)
    except OSError as error:
        # Labels of the security module and trusted.* need privileges; the system gives a new file its own.
        if error.errno in NO_XATTR or (
            error.errno in (errno.EPERM, errno.EACCES) and not name.startswith(("user.", "system."))
        ):
            return
        raise
