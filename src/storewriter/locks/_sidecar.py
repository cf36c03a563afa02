"""The sidecar `.<name>.lock`: the file that carries every strategy's kernel lock and the record of its holder.

Promise    It is opened without following links, close-on-exec, and closed in a forked child. Users who may write the
           document may open it, others may not (`_rights.py`). The record names the strategy, the process and what
           the turn is for. A file of that name which holds something else is refused, and left as it is.
Does not   get deleted, ever: to delete it splits its waiters over two files. A holder of the deleted file notices
           (`is_named`) and does not commit.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import stat
import sys
import time
from typing import ClassVar, Final

import attrs

from storewriter._files.folders import make_folders
from storewriter._files.keys import is_named as is_named
from storewriter._files.keys import sidecar
from storewriter._platform import forks, mounts
from storewriter._platform.descriptors import Descriptor, all_open
from storewriter._platform.kernel_locks import all_that_locked, flock_holders, has_locked
from storewriter._platform.liveness import Verdict, describe, here, is_same, judge, myself
from storewriter._platform.owner import Owner
from storewriter._platform.system import CLOEXEC, NO_LINK, NOFOLLOW, NONBLOCK, SYSTEM, chmod
from storewriter.errors import ForeignFile, LockLost, NotARegularFile, StrategyMismatch, UnsupportedLock
from storewriter.locks import _rights

_FLAGS: Final = os.O_RDWR | NOFOLLOW | CLOEXEC | NONBLOCK
# O_NONBLOCK: a FIFO planted under the sidecar's name must not make the open wait for its other end.

_UNNAMED: Final[int] = getattr(os, "O_TMPFILE", 0)
"""Opens a new file in a folder that has no name there yet (open(2)); 0 where there is no such thing."""

_NO_UNNAMED: Final = NO_LINK | {errno.EISDIR, errno.EINVAL, errno.ENOENT}
"""What file systems, kernels and sandboxes answer that cannot make such a file, or cannot give it a name."""

NO_LOCKS: Final = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL})
"""What locking answers where a file system has no kernel locks."""


def open_lock_files() -> list[LockFile]:
    """The lock files that this process has open."""
    return [file for file in all_open() if isinstance(file, LockFile)]


def _close_in_child() -> None:
    # flock(2) belongs to the open file: the child's copies would keep the locks after the parent has ended.
    for file in open_lock_files():
        file.close(quietly=True)


forks.in_child(_close_in_child)


class LockFile(Descriptor):
    """An open lock file; in a forked child it is closed."""

    flags: ClassVar = _FLAGS
    """How it is opened."""

    def open_at(self, path: str, name: str) -> int:
        """Open a lock file of the store at `path`, creating it and the folders above it; returns the descriptor.

        Raises OSError, with the store and the outcome in its message.
        """
        try:
            return self.open(os.open, name, _FLAGS)
        except OSError as error:
            return self._open_after(error, path, name)

    def _open_after(self, error: OSError, path: str, name: str) -> int:
        """Open it once more: with the file made, or made accessible, if that was the error. Raises OSError likewise."""
        try:
            if isinstance(error, FileNotFoundError):
                return self._create(path, name)
            if isinstance(error, PermissionError) and _make_accessible(name):
                return self.open(os.open, name, _FLAGS)
        except OSError as problem:
            error = problem
        raise _refused(error, path, name) from error

    def _create(self, path: str, name: str) -> int:
        try:
            return self._create_in_folder(path, name)
        except FileNotFoundError:
            make_folders(path, SYSTEM)
            return self._create_in_folder(path, name)

    def _create_in_folder(self, path: str, name: str) -> int:
        """Create the file with its owner, group and mode, or open the one that another process was faster with."""
        try:
            if _UNNAMED:
                try:
                    return self._create_unnamed(path, name)
                except OSError as error:
                    if error.errno not in _NO_UNNAMED:
                        raise
                    self.close()
            return self._create_exclusively(path, name)
        except FileExistsError:
            self.close()
            return self.open(os.open, name, _FLAGS)

    def _create_unnamed(self, path: str, name: str) -> int:
        """No process can open it before it is as it should be: it gets its name last."""
        fd = self.open(os.open, os.path.dirname(name), os.O_RDWR | _UNNAMED | CLOEXEC | NONBLOCK)
        _rights.dress(fd, path)
        # With a descriptor of a folder os.link calls linkat(2), which follows the link in /proc. The path is absolute,
        # so which descriptor that is does not matter.
        os.link(f"/proc/self/fd/{fd}", name, src_dir_fd=fd, follow_symlinks=True)
        return fd

    def _create_exclusively(self, path: str, name: str) -> int:
        fd = self.open(os.open, name, _FLAGS | os.O_CREAT | os.O_EXCL)
        try:
            _rights.dress(fd, path)
        except BaseException:
            self.close()
            raise
        return fd


def _make_accessible(name: str) -> bool:
    """Give a new lock file of ours the rights that a umask has taken from its owner. False if that is not its trouble.

    Its creator may not have done so yet, or have been killed before. A file that was ever used is left as it is.
    """
    try:
        found = os.lstat(name)
    except OSError:
        return False
    is_new = stat.S_ISREG(found.st_mode) and found.st_size == 0 and found.st_uid == os.geteuid()
    if not is_new or found.st_mode & 0o600 == 0o600:
        return False
    chmod(name, 0o600)
    return True


_ADVICE: Final = {
    errno.ENAMETOOLONG: "Choose a shorter name: that of the lock file is longer than the store's",
    errno.EROFS: "The file system is mounted read-only; reading the store needs no lock file",
    errno.ENOTDIR: "What stands before the store's name is no folder: choose another path",
    errno.ELOOP: "It is a symbolic link, and must be a file of its own: remove the link",
    errno.EISDIR: "It is a folder, and must be a file. Another program's lock may be one (proper-lockfile, npm): leave "
    "it there and keep this store under another name, which gives it another lock file",
    errno.ENOSPC: "Make room on the disk",
    errno.EDQUOT: "Make room within the quota",
    errno.EMFILE: "This process has too many files open",
    errno.ENFILE: "This machine has too many files open",
}


def _refused(error: OSError, path: str, name: str) -> OSError:
    """The same kind of error, with the store and the outcome in its message."""
    if error.errno is None:
        return error
    culprit = error.filename
    where = f" at {culprit}" if isinstance(culprit, str) and culprit != name else ""
    is_denied = error.errno in (errno.EACCES, errno.EPERM)
    advice = _rights.advice(path, name) if is_denied else _ADVICE.get(error.errno)
    then = "" if advice is None else f". {advice}"
    text = f"{error.strerror}{where} (opening {name}, the store's lock file; nothing was written{then})"
    return OSError(error.errno, text, path)


def has_open(device: int, inode: int) -> bool:
    """Whether this process has that file open as a lock file."""
    for file in open_lock_files():
        with contextlib.suppress(OSError):  # closed meanwhile by another thread
            found = os.fstat(file.fd)
            if (found.st_dev, found.st_ino) == (device, inode):
                return True
    return False


def require_regular(found: os.stat_result, path: str, name: str | None = None) -> None:
    """Refuse a lock file (the sidecar, if no other is named) that is no regular file, or that has another name as well.

    The record would be written over the first bytes of whatever has a hard link there.
    """
    name = sidecar(path) if name is None else name
    if not stat.S_ISREG(found.st_mode):
        raise NotARegularFile(f"{name}, the lock file of {path}, is not a regular file", path=path, kind="special")
    if found.st_nlink > 1:
        msg = (
            f"{name} has another name too (a hard link); the lock file of {path} must be a file of its own. "
            f"Remove that name, or this one while no program uses the store."
        )
        raise OSError(errno.EMLINK, msg)


def look_over(fd: int, found: os.stat_result, path: str, name: str) -> None:
    """Before the record is written into the lock file `name`, which is open and is `found`.

    Refuses another program's file or another user's, and gives ours the rights that its document has now. At most once
    in a while (`_rights.is_due`). Raises ForeignFile.
    """
    if not _rights.is_due(name, found):
        return
    if found.st_size:
        _require_ours(fd, path, name)
    _rights.follow(fd, found, path, name)
    _rights.note_looked(name, found)


_RECORD: Final = re.compile(rb'\{"pid":\d+,"host":|[\0\s]*\Z')
"""How every record begins, whole or cut short; and what is no content: blanks, or the NUL bytes of a power cut."""


def _require_ours(fd: int, path: str, name: str) -> None:
    line = _record_line(fd)
    if _RECORD.match(line) or (Owner.from_record(line) is not None and b'"strategy"' in line):
        return
    start = line[:60].decode("utf-8", "replace")
    raise ForeignFile(
        f"{name}, which would be the lock file of {path}, was written by another program: it begins with {start!r}. It "
        f"was left as it is, and nothing was written to the store. Leave it there, and keep this store under another "
        f"name, in every program that writes it: its lock file then has another name, too.",
        path=path,
        file=name,
    )


def taken_away(path: str) -> LockLost:
    """The error for a sidecar that was taken away from under its holder: the next one locks another file."""
    return LockLost(
        f"the lock file {sidecar(path)} was deleted or replaced while the turn on {path} was held, so somebody "
        f"else may be in. Nothing was written; leave lock files alone while programs use the store.",
        path=path,
        owner=None,
    )


def is_parents(path: str) -> LockLost:
    """The error in a forked child: the turn is its parent's."""
    msg = f"the turn on {path} belongs to the parent process; this forked child holds nothing"
    return LockLost(msg, path=path, owner=None)


# -- the record -------------------------------------------------------------------------------------------------------

_LABEL_LIMIT: Final = 160
"""Characters of a label that are written: with it and the command, a record is shorter than what is read of one."""

_prefixes: dict[tuple[str, int], bytes] = {}
"""By strategy and pid (a forked child has another one): this process as an owner's record. All but the time and the
label is the same every time."""


def _quoted(label: str) -> bytes:
    # What is no text does not get here: the queue refuses it. Should it all the same, the record is for people.
    text = label if isinstance(label, str) else type(label).__name__
    return json.dumps(text if len(text) <= _LABEL_LIMIT else text[: _LABEL_LIMIT - 1] + "…").encode()


def write_record(fd: int, strategy: str, label: str | None) -> None:
    """Name this process as the holder. Never fails: the record is for people."""
    key = (strategy, os.getpid())
    prefix = _prefixes.get(key)
    if prefix is None:
        prefix = _prefixes[key] = attrs.evolve(myself(), strategy=strategy).to_record()[:-2]
    what_for = b"" if label is None else b',"label":' + _quoted(label)
    try:
        os.pwrite(fd, b'%b,"since":%.3f%b}\n' % (prefix, time.time(), what_for), 0)
    except OSError:
        # On a full disk the lock still excludes; only the waiters' errors cannot name its holder.
        pass


def read_record(fd: int) -> Owner | None:
    """The owner that the record names; its process may have ended long ago."""
    return Owner.from_record(_record_line(fd))


def _record_line(fd: int) -> bytes:
    try:
        return os.pread(fd, 4096, 0).partition(b"\n")[0]
    except OSError:
        return b""


def holder(path: str) -> Owner | None:
    """The holder of the kernel lock on a store's sidecar; None: it is free, as far as can be seen from here.

    A sidecar that this process may not open is looked up in /proc/locks all the same, which needs no right to it.
    """
    fd = open_to_read(path)
    if fd is None:
        return _owner_from_outside(path)
    try:
        return owner_of(fd)
    finally:
        os.close(fd)


def _owner_from_outside(path: str) -> Owner | None:
    try:
        found = os.lstat(sidecar(path))
    except OSError:
        return None
    holders = flock_holders(found)
    return _named(holders, found, None) if holders else None


def open_to_read(path: str) -> int | None:
    """Open a store's sidecar for looking only; None if there is none."""
    try:
        return os.open(sidecar(path), os.O_RDONLY | NOFOLLOW | NONBLOCK | CLOEXEC)
    except OSError:
        return None


def owner_of(fd: int) -> Owner | None:
    """The holder of the kernel lock. The kernel decides who that is; the record adds `since` and `label`.

    The kernel names the processes that can be seen from here, by their pids here. In its record a process of another
    container has the pid of its own namespace.
    """
    record = read_record(fd)
    found = os.fstat(fd)
    holders = flock_holders(found)
    if holders:
        return _named(holders, found, record)
    if not (sys.platform == "linux" and os.path.exists("/proc/locks")):
        return record
    # /proc/locks leaves out the processes of other containers.
    is_foreign = record is not None and judge(record) is Verdict.UNKNOWN
    return record if is_foreign and _is_locked(fd) else None


def _named(holders: list[int], found: os.stat_result, record: Owner | None) -> Owner:
    """The holder, with what its record adds, if that is its own."""
    is_foreign = record is not None and judge(record) is Verdict.UNKNOWN
    if record is not None and is_foreign:
        seen = next((pid for pid in holders if pid > 0 and is_same(pid, record)), None)
        if seen is not None:
            return attrs.evolve(describe(seen), since=record.since, label=record.label, strategy=record.strategy)
    is_recorded = record is not None and not is_foreign and record.pid in holders
    taker = record.pid if record is not None and is_recorded else holders[0]
    if taker is None or taker <= 0:
        return record if record is not None and is_foreign else Owner()
    own = record if is_recorded else None
    has_it = has_locked(taker, found)
    has_ended = not here().is_running(taker) or (own is not None and judge(own) is Verdict.GONE)
    if has_it is not False and not has_ended:
        # A process that keeps no record (flock(1), filelock, another language): the kernel reports its pid only.
        return describe(taker) if own is None else own
    return _heir(taker, has_ended, found, own)


def _heir(taker: int, has_ended: bool, found: os.stat_result, record: Owner | None) -> Owner:
    """The holder of a lock whose taker has it no more: flock(2) belongs to the open file, which children inherit.

    `flock 9` in a shell script is another such case: flock(1) takes the lock, and ends; the shell has the file open.
    """
    heirs = [pid for pid in all_that_locked(found) if pid != taker]
    if not heirs and flock_holders(found) == []:
        return Owner() if record is None else record  # it has been given back meanwhile
    heir = describe(heirs[0]) if heirs else Owner()
    return attrs.evolve(
        heir,
        since=None if record is None else record.since,
        label=None if record is None else record.label,
        strategy=None if record is None else record.strategy,
        inherited_from=taker,
        inherited_from_ended=has_ended,
        shared_with=tuple(heirs[1:]) or None,
    )


def _is_locked(fd: int) -> bool:
    """Whether the lock is held, by a holder that the kernel does not show. Takes a free lock for an instant."""
    # Alone, because leases share it; a network file system wants a descriptor for writing for that (flock(2)).
    for kind in (fcntl.LOCK_EX, fcntl.LOCK_SH):
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
            fcntl.flock(fd, fcntl.LOCK_UN)
        except BlockingIOError:
            return True
        except OSError:
            continue
        return False
    return False


def require_same_strategy(fd: int, path: str, ours: str) -> None:
    """Refuse to wait for a holder of the sidecar whose strategy is another one.

    An old record does not count: only if the kernel confirms that the process it names holds the file now.
    """
    # What is nearly always found is not parsed. (In a label the quotation marks would stand behind backslashes.)
    line = _record_line(fd)
    if f'"strategy":"{ours}"'.encode() in line:
        return
    record = Owner.from_record(line)
    if record is None or record.strategy is None:
        return
    holder = owner_of(fd)
    if holder is not None and holder.strategy == record.strategy:
        raise mismatch(path, ours, str(record.strategy), holder)


def mismatch(path: str, ours: str, theirs: str, owner: Owner | None) -> StrategyMismatch:
    """The error for a store that is in use with another strategy."""
    return StrategyMismatch(
        f"{path} is guarded with lock={theirs!r} by {owner or 'an unknown process'}, and lock={ours!r} was asked for: "
        f"the two would not exclude each other. Use the same strategy in every program, or let that one end first.",
        path=path,
        ours=ours,
        theirs=theirs,
        owner=owner,
    )


def unsupported(path: str, strategy: str, error: OSError | None) -> UnsupportedLock:
    """The error for a file system on which a kernel lock does not exclude."""
    mount = mounts.mount_of(path)
    where = "the file system" if mount is None else f"the file system ({mount.kind}, mounted at {mount.point})"
    why = (
        f"has no kernel locks ({error.strerror})"
        if error is not None
        else "grants a kernel lock to everybody: a second descriptor was not refused"
    )
    problem = UnsupportedLock(
        f"{where} of {path} {why}, so lock={strategy!r} cannot exclude anybody there. "
        f"Use lock='lease' in every program that writes this store.",
        path=path,
        strategy=strategy,
        filesystem=None if mount is None else mount.kind,
    )
    problem.errno = errno.ENOLCK if error is None else error.errno
    return problem
