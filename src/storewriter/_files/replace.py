"""Atomic durable replace: write, rename, and what is left to do until it is durable.

Promise    A reader sees the old document or the new one, whole, never none. If `replace` raises an OSError, the old
           document stays. Once it has returned, the new one has the name and survives the end of any process; with
           `power`, and once the returned `Commit` was flushed, it survives a power cut.
How        A temporary file in the same folder, created exclusively under one fixed name, renamed over the target. The
           content is on its way to the disk before the rename, always: the name may become durable at any moment after
           that, in a journal commit of any other process. Two ways:
           * the document existed, and the file system's journal orders renames (`journals.py`): the content is written
             out and waited for, then renamed; one flush of the new file afterwards makes content and name durable
           * elsewhere: the file is flushed, then renamed; a flush of the folder afterwards makes the name durable
           (before the lock is released where the next commit must not begin earlier: ext4 with `fast_commit`)
           Whatever can be refused is refused before the rename; after it, only the flush can fail.
           Before the first document takes its name, the names of the private folders above it are flushed as well.
Only       `replace` under the store's lock: a file under the fixed name was left by a killed writer and is removed, so
           none pile up. `Commit.flush` needs no lock.
Does not   reach files that programs hold open: they keep the document that they opened.
Fails by   OSError (the call's own kind, with the store's path), ReadOnlyStore, NotARegularFile, DocumentChanged; from
           the rename and the flush CommitUncertain.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from typing import Final, Literal, NoReturn

import attrs

from storewriter._files.folders import flush_folder, flush_folder_names, folder_of
from storewriter._platform.descriptors import Descriptor
from storewriter._platform.interrupts import quietly
from storewriter._platform.journals import Journal
from storewriter._platform.system import DIRECTORY, NO_FOLDER_FLUSH, NO_XATTR, NOFOLLOW, NONBLOCK, System
from storewriter.errors import CommitUncertain, DocumentChanged, ForeignFile, NotARegularFile, ReadOnlyStore

Durability = Literal["power", "process"]

_KINDS: Final = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFLNK: "a symbolic link",
}


def document_changed(path: str) -> DocumentChanged:
    """The error, with its text."""
    return DocumentChanged(
        f"{path} was changed by a program that does not take its lock, after it was loaded and before it was saved. "
        f"Nothing was written. Read it again and decide anew; let every program that writes it take the same lock.",
        path=path,
        expected="as it was loaded",
        found="changed",
    )


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


Keep = Callable[[os.stat_result], contextlib.AbstractContextManager[None]]
Fence = Callable[[], contextlib.AbstractContextManager[None]]


@attrs.frozen
class Target:
    """Where a document is, and how it gets there: the same for every save of a store."""

    path: str
    """Canonical path (`storewriter._files.keys.canonical`): a link's target, never the link."""
    power: bool
    """Whether it must survive a power cut."""
    mode: int
    """Of a document that does not exist yet."""
    system: System
    temp_path: str = attrs.field(init=False, default=attrs.Factory(lambda self: temporary(self.path), takes_self=True))
    folder: str = attrs.field(init=False, default=attrs.Factory(lambda self: folder_of(self.path), takes_self=True))


@attrs.define(eq=False)
class Commit:
    """What is left to do for a new document until it is durable. Made by the caller, filled in by `replace`.

    So an interrupt between the rename and the caller's next step loses nothing.
    """

    descriptor: Descriptor | None = None
    """The new document's, or its folder's; None as long as there is nothing to flush."""
    is_file: bool = False
    """Whether it is the document's."""
    new: os.stat_result | None = None
    """The new file, as it was before the rename."""
    target: Target | None = None
    is_begun: bool = False
    """Whether the new document may have the name, or have had it."""
    error: OSError | None = None
    """What its flush has failed with."""
    number: int = 0
    """Its place among the commits of this process to this store (`_backends.files.Flushes`)."""
    is_unflushed: bool = False
    """Whether it was interrupted after the rename, and nothing is left open that could be flushed."""

    def flush(self) -> None:
        """Make it durable. Raises OSError, and does so again if it is tried again then.

        A kernel reports a failed write-back only once (Rebello et al., USENIX ATC 2020), so a second
        fsync that succeeds would prove nothing.
        """
        assert self.descriptor is not None
        assert self.target is not None
        assert self.new is not None
        if self.error is not None:
            raise self.error
        flush = self.target.system.flush if self.is_file else self.target.system.flush_folder
        try:
            flush(self.descriptor.fd)
        except OSError as error:
            if self.is_file or error.errno not in NO_FOLDER_FLUSH:
                if error.errno is not None:  # otherwise a signal handler's: the flush is made again
                    # Plain stores, so that an interrupt that comes now cannot have the flush made again.
                    new, self.error = self.new, error
                    _flushed[self.target.path] = (new.st_dev, new.st_ino, new.st_mtime_ns, False)
                raise
        if len(_flushed) >= _MOST_FLUSHED:  # as `note_flushed`, without the call
            _flushed.clear()
        _flushed[self.target.path] = (self.new.st_dev, self.new.st_ino, self.new.st_mtime_ns, True)

    def close(self) -> None:
        """Close the descriptor. Can be repeated."""
        self.error = None  # it refers to a frame that refers to this object
        if self.descriptor is not None and self.target is not None:
            self.descriptor.close(self.target.system.close, quietly=True)


@attrs.define
class _Save:
    """One save, decided before anything is touched."""

    target: Target
    temp_path: str
    old: os.stat_result | None
    """The document that is to be replaced."""
    is_observed: bool
    """Whether `old` is what the caller loaded, and must still be there."""
    template: str
    """The file that the new one is to be like, usually the old document."""
    template_stat: os.stat_result | None
    """What the template is; None: there is none, and the target's mode counts."""
    keep: Keep | None
    check: Callable[[], None]
    fence: Fence | None
    is_ordered: bool
    """Whether the journal orders renames, and the document existed."""
    file: Descriptor
    folder: Descriptor | None = None
    """Open if it is to be flushed."""


class Unknown:
    """What the document was when it was loaded is not known."""


UNKNOWN: Final = Unknown()


def replace(
    target: Target,
    data: bytes,
    commit: Commit,
    *,
    observed: os.stat_result | None | Unknown = UNKNOWN,
    like: str | None = None,
    keep: Keep | None = None,
    check: Callable[[], None] = lambda: None,
    fence: Fence | None = None,
    suffix: str | None = None,
) -> None:
    """Put `data` in place of the document, under the store's lock; `commit` then holds what is left to do with `power`.

    The target's mode is used for a document that does not exist yet; an existing one keeps its mode, owner where
    permitted, ACLs and extended attributes (or has those of the file `like`). `observed` is what the document was when
    it was loaded (None: there was none): if it is another one right before the rename, DocumentChanged is raised.
    `keep` is called with what the old document is, and entered around the instant in which the new one, which is ready,
    takes the name: it keeps the old one. `check` is called right before that, and may refuse it.

    Under a lease, which another process may have taken over meanwhile: `fence`, in place of `check`, is entered around
    the instant in which the new document takes the name, and may refuse it; `suffix` makes the temporary name our own,
    so that a successor and we cannot write into each other's file.
    """
    path, system = target.path, target.system
    old: os.stat_result | None = None
    is_observed = False
    try:
        if isinstance(observed, Unknown):
            old = existing(path, system)
        else:
            old, is_observed = _require_replaceable(observed, path, system), True
        save = _Save(
            target,
            target.temp_path if suffix is None else f"{target.temp_path}.{suffix}",
            old,
            is_observed,
            path if like is None else like,
            old if like is None else system.lstat(like),
            keep,
            check,
            fence,
            target.power and old is not None and like is None and system.journal(old.st_dev) is Journal.ORDERED,
            Descriptor(),
        )
        _perform(save, data, commit)
    except OSError as error:
        if old is not None and error.errno in _REFUSED and (system.forbidden(path) or not system.writable(path)):
            raise _read_only(path, old, system) from error
        refuse(error, path, "saving", "the old document is untouched")


_REFUSED: Final = frozenset({errno.EROFS, errno.EPERM, errno.EACCES})
"""What a read-only file system or an immutable file answers (chattr(1))."""


def write_beside(name: str, data: bytes, *, like: str, durability: Durability, system: System) -> None:
    """Write a file that belongs to the store `like`, with the same owner and rights. Raises OSError.

    Never `CommitUncertain`: the document is untouched, whatever became of this file.
    """
    try:
        replace_now(Target(name, durability == "power", 0o600, system), data, like=like)
    except CommitUncertain as error:
        cause = error.__cause__
        code = cause.errno if isinstance(cause, OSError) and cause.errno else errno.EIO
        raise OSError(code, f"{os.strerror(code)}, flushing", name) from error


def replace_now(target: Target, data: bytes, *, like: str) -> None:
    """Replace a file and flush it. Raises as `replace` does, and CommitUncertain."""
    commit = Commit()
    replace(target, data, commit, like=like)
    flush_now(target.path, commit)


def flush_now(path: str, commit: Commit) -> None:
    """Flush a commit that shares its flush with no other one. Raises CommitUncertain."""
    try:
        if commit.descriptor is not None:
            commit.flush()
    except OSError as error:
        if error.errno is None:
            raise
        raise not_flushed(path, error) from error
    finally:
        commit.close()


def _perform(save: _Save, data: bytes, commit: Commit) -> None:
    target, system = save.target, save.target.system
    is_done = False
    try:
        if target.power and not save.is_ordered:
            if save.template_stat is None:
                flush_folder_names(target.folder, system)
            # Opened first of all, so that nothing but the flush itself can fail once the new document is in place.
            save.folder = Descriptor()
            save.folder.open(system.open, target.folder, os.O_RDONLY | DIRECTORY, 0)
        new = _write_temporary(save, data)
        is_fast = target.power and not save.is_ordered and system.journal(new.st_dev) is Journal.FAST
        if save.fence is None:
            save.check()
            _rename(save, new, commit)
        else:
            with save.fence():
                _rename(save, new, commit)
        if target.power:
            commit.target, commit.new, commit.is_file = target, new, save.is_ordered
            commit.descriptor = save.file if save.is_ordered else save.folder
        is_done = True
        if is_fast:
            flush_now(target.path, commit)
            commit.descriptor = None
    finally:
        if not is_done:
            quietly(system.unlink, save.temp_path)  # the first error is the one that matters; the name is fixed anyway
            save.file.close(system.close, quietly=True)
            if save.folder is not None:
                save.folder.close(system.close, quietly=True)


def _rename(save: _Save, new: os.stat_result, commit: Commit) -> None:
    """Step 2: the new document takes the name, unless the old one is not the one that was loaded.

    What a program that takes no lock writes between this look and the rename is lost; no call swaps a name only if it
    still is a certain file.
    """
    old = save.old
    if save.is_observed:
        try:
            now = save.target.system.lstat(save.target.path)
        except FileNotFoundError:
            is_unchanged = old is None
        else:
            is_unchanged = (
                old is not None
                and now.st_ino == old.st_ino
                and now.st_mtime_ns == old.st_mtime_ns
                and now.st_ctime_ns == old.st_ctime_ns
                and now.st_size == old.st_size
                and now.st_dev == old.st_dev
            )
        if not is_unchanged:
            raise document_changed(save.target.path)
    if save.keep is None or old is None:
        _take_name(save, new, commit)
    else:
        with save.keep(old):
            _take_name(save, new, commit)


_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | NOFOLLOW


def _write_temporary(save: _Save, data: bytes) -> os.stat_result:
    """Step 1: the whole new document under the temporary name. Returns which file that is."""
    target, system, file, template_stat = save.target, save.target.system, save.file, save.template_stat
    # The nearest mode that gives no user more than the final one: until the file's owner is set, its group is the one
    # that the system chose, so the group gets the bits of others only.
    mode = 0o600 if template_stat is None else template_stat.st_mode & (0o600 | (template_stat.st_mode & 0o007) * 0o11)
    try:
        # Exclusively, so that a planted link is never followed or written through.
        file.open(system.open, save.temp_path, _CREATE, mode)
    except FileExistsError:
        # We hold the lock, so the process that made it is dead (or was succeeded): its content was not acknowledged.
        system.unlink(save.temp_path)
        file.open(system.open, save.temp_path, _CREATE, mode)
    written = system.write(file.fd, data)
    if written != len(data):
        write_all(file.fd, memoryview(data)[written:], system)
    new = system.fstat(file.fd)
    if template_stat is not None:
        _copy_metadata(file.fd, new, template_stat, save.template, system)
    elif new.st_mode & 0o7777 != target.mode:
        system.fchmod(file.fd, target.mode)
    if target.power and not (save.is_ordered and system.write_out(file.fd)):
        # Before the rename: otherwise the name may reach the disk before the content does, and a power cut leaves an
        # empty or partial document under the right name (Pillai et al., OSDI 2014, section 4.4).
        system.flush(file.fd)
    if not (target.power and save.is_ordered):
        # Over a network, a write that was accepted may be refused only now.
        file.close(system.close)
    return new


# -- the new file is what the old one was ------------------------------------------------------------------------------

ACL: Final = "system.posix_acl_access"

_ABOUT_THE_CONTENT: Final = frozenset({"security.ima", "security.evm"})
"""Attributes that sign a file's content (evmctl(1)): those of the old document would be wrong on the new one."""


def _copy_metadata(fd: int, new: os.stat_result, template_stat: os.stat_result, template: str, system: System) -> None:
    """Give the open file `fd`, whose stat is `new`, the owner, mode, ACL and attributes of the template."""
    wanted, now = template_stat.st_mode & 0o7777, new.st_mode & 0o7777
    if new.st_uid != template_stat.st_uid or new.st_gid != template_stat.st_gid:
        wanted = _chown(fd, template_stat, wanted, system)
        now = -1  # chown clears set-id bits (chown(2))
    names = _attribute_names(template, system)
    if ACL not in names and ACL in _attribute_names(fd, system):
        # A folder's default ACL gives the new file entries that the old one did not have: more people could read it.
        system.remove_attribute(fd, ACL)
        now = -1
    if now != wanted:
        system.fchmod(fd, wanted)
    for name in names:
        # After the chmod: an access ACL carries the group bits, and chmod would write its mask.
        _copy_attribute(fd, name, template, system)


def _chown(fd: int, template_stat: os.stat_result, mode: int, system: System) -> int:
    """Keep the owner, or at least the group; returns the mode that is safe with what was permitted."""
    if _chown_permitted(fd, template_stat.st_uid, template_stat.st_gid, system):
        return mode
    if _chown_permitted(fd, -1, template_stat.st_gid, system):
        # Without the set-id bit of the owner: the file would run with this process's identity.
        return mode & 0o3777
    # Another group than the one that the group bits were meant for: it gets the bits of others.
    return mode & 0o707 | (mode & 0o007) << 3


def _chown_permitted(fd: int, uid: int, gid: int, system: System) -> bool:
    try:
        system.fchown(fd, uid, gid)
    except OSError as error:
        # EINVAL: an owner without a number in this user namespace (user_namespaces(7)).
        if error.errno in (errno.EPERM, errno.EACCES, errno.EINVAL):
            return False
        raise
    return True


def _copy_attribute(fd: int, name: str, template: str, system: System) -> None:
    if name in _ABOUT_THE_CONTENT:
        return
    try:
        system.set_attribute(fd, name, system.attribute(template, name))
    except OSError as error:
        # Labels of the security module and trusted.* need privileges; the system gives a new file its own.
        if error.errno in NO_XATTR or (
            error.errno in (errno.EPERM, errno.EACCES) and not name.startswith(("user.", "system."))
        ):
            return
        raise


def _attribute_names(file: str | int, system: System) -> list[str]:
    try:
        return system.attribute_names(file)
    except OSError as error:
        if error.errno in NO_XATTR:
            return []
        raise


# -- what may be replaced ----------------------------------------------------------------------------------------------


def existing(path: str, system: System) -> os.stat_result | None:
    """What the document at `path` is; None if there is none. Raises NotARegularFile, ReadOnlyStore."""
    return _require_replaceable(_stat(path, system), path, system)


def _stat(path: str, system: System) -> os.stat_result | None:
    try:
        return system.lstat(path)
    except FileNotFoundError:
        return None


def _require_replaceable(found: os.stat_result | None, path: str, system: System) -> os.stat_result | None:
    if found is None:
        return None
    if not stat.S_ISREG(found.st_mode):
        require_regular(path, found)
    # The mode is looked at as well as access(2): for root everything is writable, but a file without any write bit
    # was made read-only on purpose. For the owner the mode is enough; what refuses the owner nonetheless (a read-only
    # mount, say) refuses the replace too.
    mode = found.st_mode
    if not mode & 0o222 or not ((mode & 0o200 and found.st_uid == os.geteuid()) or system.writable(path)):
        raise _read_only(path, found, system)
    return found


def _read_only(path: str, found: os.stat_result, system: System) -> ReadOnlyStore:
    flag = system.forbidden(path)
    why = f"mode {stat.S_IMODE(found.st_mode):04o}" if flag is None else f"it has the attribute {flag}, see lsattr(1)"
    what = "Make it writable" if flag is None else f"Take the attribute from it (chattr -{flag[0]})"
    error = ReadOnlyStore(
        f"{path} is read-only ({why}), so it was not replaced. {what} if it should change.",
        path=path,
    )
    error.errno = errno.EACCES
    return error


def write_all(fd: int, data: bytes | memoryview, system: System) -> None:
    """write(2) until everything is written."""
    rest = memoryview(data)
    while rest:
        written = system.write(fd, rest)
        if written == 0:
            raise OSError(errno.EIO, "the file system accepted no more bytes")
        rest = rest[written:]


def _take_name(save: _Save, new: os.stat_result, commit: Commit) -> None:
    """Give the new document the store's name.

    Without a flush, ext4 makes up for careless programs by starting one inside rename-over-existing (the
    `auto_da_alloc` mount option, ext4(5)); swapping the names and removing the old document does not trigger it, and
    costs a quarter. A crash between the two leaves the old document under the temporary name: garbage like any other.
    """
    target = save.target
    path, system = target.path, target.system
    commit.is_begun = True
    try:
        if target.power or save.old is None or not system.exchange(save.temp_path, path):
            system.rename(save.temp_path, path)
            return
    except OSError as error:
        if error.errno is None:
            raise  # a signal handler's
        # Over a network a rename can happen and its answer be lost: what counts is which file has the name now.
        if _may_have_name(path, new, system):
            msg = (
                f"the new document of {path} is in place, or may be, although renaming it failed ({error.strerror}): "
                f"whether it stays is unknown. Read the store before repeating the update."
            )
            raise CommitUncertain(msg, path=path) from error
        commit.is_begun = False
        if error.errno == errno.EBUSY:
            raise _mount_point(path) from error
        raise
    quietly(system.unlink, save.temp_path)  # the new document stands; the next commit removes the leftover


def _may_have_name(path: str, new: os.stat_result, system: System) -> bool:
    try:
        found = system.lstat(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno is None:
            raise
        return True  # a server that loses one answer may refuse the next question, too
    return (found.st_dev, found.st_ino) == (new.st_dev, new.st_ino)


def _mount_point(path: str) -> OSError:
    return OSError(
        errno.EBUSY,
        "the file is a mount point by itself (a single file mounted into a container), so no new file can take its "
        "name. Mount the folder that it is in instead, or open the store with in_place=True",
        path,
    )


def not_flushed(path: str, error: OSError) -> CommitUncertain:
    """The error for a document that has the name and could not be flushed."""
    msg = (
        f"the new document of {path} is in place, but could not be flushed ({error.strerror}): whether it survives a "
        f"power cut is unknown. Read the store before repeating the update."
    )
    return CommitUncertain(msg, path=path)


_MOST_FLUSHED: Final = 512
_flushed: dict[str, tuple[int, int, int, bool]] = {}
"""By path: which file this process last flushed there, with its folder (device, inode, and the time of writing, because
an inode number comes back), and whether that succeeded. Bounded; a missing entry costs two flushes."""


def note_flushed(path: str, found: os.stat_result) -> None:
    """Remember that this document, and its name, were flushed."""
    if len(_flushed) >= _MOST_FLUSHED:
        _flushed.clear()
    _flushed[path] = (found.st_dev, found.st_ino, found.st_mtime_ns, True)


def is_doubtful(path: str, found: os.stat_result | None) -> bool:
    """Whether a flush of this very document has failed: a later one that succeeds would prove nothing."""
    return found is not None and _flushed.get(path) == (found.st_dev, found.st_ino, found.st_mtime_ns, False)


def confirm(target: Target, *, in_place: bool) -> None:
    """Flush the document that is there, and its name, unless this process has done so. Needs no lock.

    Not for a document whose flush has failed (`is_doubtful`): the update writes that one anew.
    Raises OSError, CommitUncertain.
    """
    path, system = target.path, target.system
    document = Descriptor()
    try:
        document.open(system.open, path, os.O_RDONLY | NOFOLLOW | NONBLOCK, 0)
        found = system.fstat(document.fd)
        known = None if in_place else _flushed.get(path)
        if known == (found.st_dev, found.st_ino, found.st_mtime_ns, True):
            return
        if known == (found.st_dev, found.st_ino, found.st_mtime_ns, False):
            raise _not_confirmed(path, OSError(errno.EIO, os.strerror(errno.EIO)))
        _flush_as_it_is(target, document.fd, found)
        note_flushed(path, found)
    except FileNotFoundError:
        return
    except OSError as error:
        refuse(error, path, "flushing", "the document is as it was")
    finally:
        document.close(system.close, quietly=True)


def _flush_as_it_is(target: Target, fd: int, found: os.stat_result) -> None:
    system = target.system
    folder = Descriptor()
    try:
        system.flush(fd)
        folder.open(system.open, target.folder, os.O_RDONLY | DIRECTORY, 0)
        flush_folder(folder.fd, system)
    except OSError as error:
        if error.errno is None:
            raise
        # A plain store, as in `Commit.flush`.
        _flushed[target.path] = (found.st_dev, found.st_ino, found.st_mtime_ns, False)
        raise _not_confirmed(target.path, error) from error
    finally:
        folder.close(system.close, quietly=True)


def _not_confirmed(path: str, error: OSError) -> CommitUncertain:
    msg = (
        f"the document of {path} already says what was asked for, but could not be flushed ({error.strerror}): whether "
        f"it survives a power cut is unknown. Read the store before repeating it."
    )
    return CommitUncertain(msg, path=path)


def refuse(error: OSError, path: str, doing: str, outcome: str) -> NoReturn:
    """Raise the same kind of error, with the store and the outcome in its message."""
    if isinstance(error, (ReadOnlyStore, NotARegularFile, ForeignFile)) or error.errno is None:
        try:
            raise error  # the second is not a system call's
        finally:
            del error  # it refers to this frame: a cycle
    culprit = error.filename
    where = f" at {culprit}" if isinstance(culprit, str) and culprit != path else ""
    raise OSError(error.errno, f"{error.strerror}{where} ({doing}; {outcome}{_shorter(error, path)})", path) from error


def _shorter(error: OSError, path: str) -> str:
    """What to do about a name that is too long, unless it is said already."""
    if error.errno != errno.ENAMETOOLONG or "shorter name" in (error.strerror or ""):
        return ""
    more = len(os.fsencode(error.filename)) - len(os.fsencode(path)) if isinstance(error.filename, str) else 0
    return "; choose a shorter name" + (f": that of a file beside it has {more} bytes more" if more > 0 else "")
