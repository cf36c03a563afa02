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
import os
import re
import stat
from typing import Final

from storewriter._files.folders import make_folders
from storewriter._files.keys import sidecar
from storewriter._platform import forks
from storewriter._platform.descriptors import Descriptor, all_open
from storewriter._platform.owner import Owner
from storewriter._platform.system import CLOEXEC, NO_LINK, NOFOLLOW, NONBLOCK, SYSTEM, chmod
from storewriter.errors import ForeignFile, NotARegularFile
from storewriter.locks import _rights
from storewriter.locks._record import record_line

FLAGS: Final = os.O_RDWR | NOFOLLOW | CLOEXEC | NONBLOCK
"""How a lock file is opened."""
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

    __slots__ = ()

    def open_at(self, path: str, name: str) -> int:
        """Open a lock file of the store at `path`, creating it and the folders above it; returns the descriptor.

        Raises OSError, with the store and the outcome in its message.
        """
        try:
            return self.open(os.open, name, FLAGS)
        except OSError as error:
            return self._open_after(error, path, name)

    def _open_after(self, error: OSError, path: str, name: str) -> int:
        """Open it once more: with the file made, or made accessible, if that was the error. Raises OSError likewise."""
        try:
            if isinstance(error, FileNotFoundError):
                return self._create(path, name)
            if isinstance(error, PermissionError) and _make_accessible(name):
                return self.open(os.open, name, FLAGS)
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
            return self.open(os.open, name, FLAGS)

    def _create_unnamed(self, path: str, name: str) -> int:
        """No process can open it before it is as it should be: it gets its name last."""
        fd = self.open(os.open, os.path.dirname(name), os.O_RDWR | _UNNAMED | CLOEXEC | NONBLOCK)
        _rights.dress(fd, path)
        # With a descriptor of a folder os.link calls linkat(2), which follows the link in /proc. The path is absolute,
        # so which descriptor that is does not matter.
        os.link(f"/proc/self/fd/{fd}", name, src_dir_fd=fd, follow_symlinks=True)
        return fd

    def _create_exclusively(self, path: str, name: str) -> int:
        fd = self.open(os.open, name, FLAGS | os.O_CREAT | os.O_EXCL)
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
    except OSError as error:
        if error.errno is None:
            raise  # a signal handler's
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


def require_own_file(found: os.stat_result, path: str, name: str | None = None) -> None:
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


_RECORD: Final = re.compile(rb'\{"pid":\d+,"host":|[\0\s]*\Z')
"""How every record begins, whole or cut short; and what is no content: blanks, or the NUL bytes of a power cut."""


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


def _require_ours(fd: int, path: str, name: str) -> None:
    line = record_line(fd)
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
