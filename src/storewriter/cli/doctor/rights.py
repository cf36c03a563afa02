"""Whose the document, its folder and its lock file are, and what this process may do with them."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Callable, Iterator

from storewriter._files.keys import sidecar
from storewriter._files.replace import require_regular
from storewriter._platform.system import CLOEXEC, NOFOLLOW, NONBLOCK
from storewriter.cli.doctor.findings import Finding, Mend, good, note, problem
from storewriter.errors import NotARegularFile
from storewriter.locks import _rights
from storewriter.locks._access_lists import Rights

__all__ = ["check_rights"]


def check_rights(path: str) -> Iterator[Finding]:
    """The rights of the document, the folder and the lock file."""
    yield good("user", f"{_user(os.geteuid())}, group {_group(os.getegid())}")
    yield _document(path)
    yield from _folder(path)
    yield from _lock_file(path)


def _document(path: str) -> Finding:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return note("document", f"{path}: there is none yet; a store begins with its default")
    except OSError as error:
        return problem("document", f"{path} cannot be looked at: {error.strerror}")
    try:
        require_regular(path, found)
    except NotARegularFile as error:
        return problem("document", str(error))
    text = f"{path}: {found.st_size} bytes, {_whose(found)}"
    if not os.access(path, os.R_OK, effective_ids=True):
        return problem("document", f"{text}; this user may not read it")
    if not found.st_mode & 0o222:
        return note("document", f"{text}; it is read-only: every update is refused")
    if not os.access(path, os.W_OK, effective_ids=True):
        return note("document", f"{text}; this user may read it, and not update it")
    return good("document", text)


def _folder(path: str) -> Iterator[Finding]:
    folder = os.path.dirname(path)
    try:
        found = os.stat(folder)
    except OSError as error:
        yield note("folder", f"{folder}: {error.strerror}; the first update makes it")
        return
    text = f"{folder}: {_whose(found)}"
    if os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        yield good("folder", text)
    else:
        yield problem("folder", f"{text}; this user may not make files in it, which every update needs")
    if found.st_mode & 0o002 and not found.st_mode & stat.S_ISVTX:
        yield problem("folder", f"{folder}: any user may replace the document: chmod o-w or chmod +t mends that")


def _lock_file(path: str) -> Iterator[Finding]:
    name = sidecar(path)
    try:
        found = os.lstat(name)
    except FileNotFoundError:
        yield good("lock file", f"{name}: there is none yet; the first turn makes it")
        return
    except OSError as error:
        yield problem("lock file", f"{name} cannot be looked at: {error.strerror}")
        return
    text = f"{name}: {_whose(found)}"
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        kind = "it is no regular file" if not stat.S_ISREG(found.st_mode) else "it has another name, too"
        yield problem("lock file", f"{text}; {kind}, so every turn is refused. Find out which program made it")
        return
    rights = _rights.wanted(path)
    if rights is None or _is_as_it_should_be(found, rights):
        yield good("lock file", text)
    else:
        mend = Mend(f"give {name} the rights of its document ({_rights.repair(rights, name)})", _adapts(name, path))
        yield problem("lock file", f"{text}, which does not fit its document", mend)
    if not os.access(name, os.R_OK | os.W_OK, effective_ids=True):
        yield problem("lock file", f"{name}: this user may not open it. {_rights.advice(path, name)}")


def _is_as_it_should_be(found: os.stat_result, rights: Rights) -> bool:
    document = rights.document
    if document is not None and found.st_uid != document.st_uid and not rights.is_shared:
        return False
    return stat.S_IMODE(found.st_mode) == rights.mode_for(found)[0]


def _adapts(name: str, path: str) -> Callable[[], str | None]:
    def adapt() -> str | None:
        rights = _rights.wanted(path)
        fd = os.open(name, os.O_RDWR | NOFOLLOW | NONBLOCK | CLOEXEC)
        try:
            if rights is not None and not _rights.adapt(fd, os.fstat(fd), rights):
                return "this user may not change it; its owner or root can"
        finally:
            os.close(fd)
        return None

    return adapt


def _whose(found: os.stat_result) -> str:
    return f"{_user(found.st_uid)}, group {_group(found.st_gid)}, mode {stat.S_IMODE(found.st_mode):04o}"


def _user(uid: int) -> str:
    try:
        return f"user {pwd.getpwuid(uid).pw_name} ({uid})"
    except KeyError:
        return f"user {uid}"


def _group(gid: int) -> str:
    try:
        return f"{grp.getgrgid(gid).gr_name} ({gid})"
    except KeyError:
        return str(gid)
