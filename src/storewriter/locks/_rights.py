"""The owner and the rights of a lock file: the users who may write the document may open it, and no others.

Promise    A lock file (sidecar, marker, guard) has the document's owner and group, and `rw` for every class of users
           (owner, group, others, entries of an access list) that may write the document. The other classes have no
           right to it at all, not even to read it: flock(2) needs no more than an open descriptor, so a user who can
           open the file can hold the lock. The umask takes nothing away.
           A document that does not exist yet has the mode of the store that would create it.
How        A new lock file gets all of that before it has a name (O_TMPFILE, then linkat(2)); where that does not exist,
           right after it was created exclusively. An existing one is compared with the document once in `_INTERVAL`
           seconds at most, and changed if this process may do that: by its descriptor, and only a regular file with
           one name, so that a planted link leads to no other file.
Does not   change a lock file that belongs to another user (that takes root, or its owner). Where that matters it is
           logged, once a lock file; where the file cannot even be opened, the error has the command that repairs it.
           NFSv4 access lists are not read.
Fails by   ForeignFile for a lock file that another user has planted in a sticky folder (/tmp); OSError.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
import time
from collections.abc import Callable
from typing import Final, Protocol
from weakref import WeakValueDictionary

from storewriter import events
from storewriter._files.replace import ACL
from storewriter._platform.system import NO_XATTR, SYSTEM
from storewriter.errors import ForeignFile
from storewriter.locks._access_lists import Rights, allowed, entries_of

_INTERVAL: Final = 0.1
"""Seconds between two looks at the document: a turn that follows another one soon costs no system call more."""

_NOT_PERMITTED: Final = frozenset({errno.EPERM, errno.EACCES, errno.EINVAL, errno.EROFS})
"""What changing an owner or a mode answers; EINVAL: an owner without a number in this user namespace."""


class NewDocument(Protocol):
    """What a store defines for a document that does not exist yet."""

    @property
    def mode(self) -> int:
        """The mode that the document will have."""
        ...


expected: WeakValueDictionary[str, NewDocument] = WeakValueDictionary()
"""By path: the store of this process that would create the document. As long as that store lives."""


def lock_mode(mode: int) -> int:
    """The mode of a lock file, from the mode of its document.

    The owner can always lock: a document's owner may make it writable at any time.
    """
    return 0o600 | (0o060 if mode & 0o020 else 0) | (0o006 if mode & 0o002 else 0)


def wanted(path: str) -> Rights | None:
    """What a lock file of the store at `path` should be; None if nothing speaks for one mode or another."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        store = expected.get(path)
        return None if store is None else Rights(None, tuple(allowed(entries_of(None, store.mode))))
    except OSError as error:
        if error.errno is None:
            raise  # a signal handler's
        return None
    if not stat.S_ISREG(found.st_mode):
        return None  # refused when it is loaded
    # Without the bit, the mask of an access list lets no entry of it write.
    acl = _acl(path) if found.st_mode & 0o020 else None
    return Rights(found, tuple(allowed(entries_of(acl, found.st_mode))))


def _acl(file: str | int) -> bytes | None:
    try:
        return SYSTEM.attribute(file, ACL) if ACL in SYSTEM.attribute_names(file) else None
    except OSError as error:
        if error.errno is None:
            raise
        return None


_PRIVATE: Final = Rights(None, tuple(allowed(entries_of(None, 0o600))))

_looked: dict[str, tuple[float, int]] = {}
"""By lock file: when it was last compared with its document, and its inode number then."""

_known: dict[str, tuple[float, Rights]] = {}
"""By store: what its markers should be, and when that was found out."""

_reported: set[str] = set()
"""Lock files whose wrong rights have been logged."""


def is_due(name: str, found: os.stat_result) -> bool:
    """Whether the lock file `found` was not looked at a moment ago."""
    known = _looked.get(name)
    return known is None or known[1] != found.st_ino or time.monotonic() - known[0] >= _INTERVAL


def note_looked(name: str, found: os.stat_result) -> None:
    """The lock file was looked at, and is all right."""
    if len(_looked) >= 512:
        _looked.clear()
    _looked[name] = time.monotonic(), found.st_ino


def forget() -> None:
    """Compare every lock file at its next turn, and log again."""
    _looked.clear()
    _known.clear()
    _reported.clear()


def follow(fd: int, found: os.stat_result, path: str, name: str) -> None:
    """Give the open lock file `name`, which is `found`, the rights that its document has now, if that is permitted.

    Raises ForeignFile.
    """
    rights = wanted(path)
    _require_trusted(found, rights, path, name)
    if rights is not None and not adapt(fd, found, rights):
        _report(os.fstat(fd), rights, name)


def dress(fd: int, path: str) -> None:
    """Give a new lock file its rights. What is not permitted is left out: it is never open to more users then."""
    adapt(fd, os.fstat(fd), wanted(path) or _PRIVATE)


def share(fd: int, found: os.stat_result, path: str) -> None:
    """The same for a marker, which is new at every turn: the document is looked at once in `_INTERVAL` seconds."""
    now = time.monotonic()
    known = _known.get(path)
    if known is None or now - known[0] >= _INTERVAL:
        if len(_known) >= 512:
            _known.clear()
        known = _known[path] = now, wanted(path) or _PRIVATE
    adapt(fd, found, known[1])


def adapt(fd: int, found: os.stat_result, rights: Rights) -> bool:
    """Make it so. False: it is not so afterwards, and that matters."""
    if found.st_nlink > 1 or not stat.S_ISREG(found.st_mode):
        return False  # never another user's file by another name
    document = rights.document
    if document is not None and (found.st_uid, found.st_gid) != (document.st_uid, document.st_gid):
        found = _give(fd, found, document)
    mode, acl = rights.mode_for(found)
    try:
        _set(fd, found.st_mode & 0o7777, mode, acl)
    except OSError as error:
        if error.errno not in _NOT_PERMITTED:
            raise
        return False
    # The document's owner, if it is another user, can open the file by the group's rights only, as a member.
    return document is None or found.st_uid == document.st_uid or rights.is_shared


def _give(fd: int, found: os.stat_result, document: os.stat_result) -> os.stat_result:
    """Give it to the document's owner and group, or at least to the group; returns its stat result then."""
    if found.st_gid != document.st_gid and found.st_mode & 0o070:
        # The rights of one group are not for the other one, not for a moment.
        _permitted(os.fchmod, fd, found.st_mode & 0o707)
    if not _permitted(os.fchown, fd, document.st_uid, document.st_gid) and found.st_gid != document.st_gid:
        _permitted(os.fchown, fd, -1, document.st_gid)
    return os.fstat(fd)


def _permitted(call: Callable[..., None], *arguments: int) -> bool:
    try:
        call(*arguments)
    except OSError as error:
        if error.errno not in _NOT_PERMITTED:
            raise
        return False
    return True


def _set(fd: int, now: int, mode: int, acl: bytes | None) -> None:
    if (now | mode) & 0o070:  # otherwise the mask of an access list, if there is one, disables its entries
        there = _acl(fd)
        if there is not None and there != acl:
            SYSTEM.remove_attribute(fd, ACL)
            now = -1
        if acl is not None and there != acl:
            if _set_acl(fd, acl):
                now = mode
            else:
                mode &= 0o707  # no access lists here: its mask is no mode
    if now != mode:
        os.fchmod(fd, mode)


def _set_acl(fd: int, acl: bytes) -> bool:
    try:
        SYSTEM.set_attribute(fd, ACL, acl)
    except OSError as error:
        if error.errno in NO_XATTR:
            return False
        raise
    return True


def _require_trusted(found: os.stat_result, rights: Rights | None, path: str, name: str) -> None:
    """Refuse a lock file of a user who may not write the document, in a folder in which every user may make files.

    In a folder that is not sticky, a user who can make a file can replace the document as well. Raises OSError if the
    folder cannot be looked at.
    """
    document = None if rights is None else rights.document
    if found.st_uid in (0, os.geteuid()) or (document is not None and found.st_uid == document.st_uid):
        return
    if document is not None and rights is not None and rights.is_shared:
        return
    folder = os.lstat(os.path.dirname(name))
    if not folder.st_mode & stat.S_ISVTX or found.st_uid == folder.st_uid:
        return
    whose = "there is no document yet" if document is None else f"the document belongs to uid {document.st_uid}"
    raise ForeignFile(
        f"{name}, the lock file of {path}, belongs to uid {found.st_uid}, {whose}, and any user may make files in this "
        f"folder (it is sticky). The lock file was not used, changed or removed, and nothing was written. Let "
        f"uid {found.st_uid} or root remove it while no program uses the store, or keep the store in another folder.",
        path=path,
        file=name,
    )


def _report(lock: os.stat_result, rights: Rights, name: str) -> None:
    if name in _reported or rights.document is None:
        return
    _reported.add(name)
    events.log.warning(
        "the lock file %s is %s, and its document is %s: users who may write the document may be shut out, or others "
        "may hold its lock. Its owner or root repairs it with: %s",
        name,
        described(lock),
        described(rights.document),
        repair(rights, name),
    )


def described(found: os.stat_result) -> str:
    """The owner and group of a file, in numbers: to look up a name may need a server."""
    return f"uid {found.st_uid}'s, gid {found.st_gid}, mode {stat.S_IMODE(found.st_mode):04o}"


def repair(rights: Rights, name: str) -> str:
    """The command that gives a lock file its rights."""
    quoted = shlex.quote(name)
    document = rights.document
    if document is None:
        return f"chmod {lock_mode(_mode_of(rights)):04o} {quoted}"
    return f"chown {document.st_uid}:{document.st_gid} {quoted} && chmod {lock_mode(document.st_mode):04o} {quoted}"


def _mode_of(rights: Rights) -> int:
    return rights.mode_for(os.stat_result((0,) * 10))[0]


def advice(path: str, name: str) -> str:
    """What to do about a lock file that this process may not open, or not create. Two sentences at most."""
    try:
        lock = os.lstat(name)
    except OSError:
        return _about_the_folder(os.path.dirname(name))
    rights = wanted(path)
    is_whose = f"It is {described(lock)}"
    if rights is None or rights.document is None:
        open_up = "" if rights is None else f" Its owner or root opens it to them with: {repair(rights, name)}"
        return f"{is_whose}, and every user who writes the store needs the right to read and to write it.{open_up}"
    if not SYSTEM.writable(path):
        return (
            f"{is_whose}; the document is {described(rights.document)}, and this process (uid {os.geteuid()}) may not "
            f"write it. Only users who may write a document can hold its lock; reading it needs no lock"
        )
    return (
        f"{is_whose}; the document is {described(rights.document)}, and this process (uid {os.geteuid()}) may write "
        f"it. Its owner or root repairs the lock file with: {repair(rights, name)}"
    )


def _about_the_folder(folder: str) -> str:
    text = "Every user who writes the store needs the right to make files in its folder; reading needs none"
    try:
        return f"{text}. {folder} is {described(os.stat(folder))}"
    except OSError:
        return text
