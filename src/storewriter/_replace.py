"""Atomic durable replace: write, flush, rename, flush the folder.

Promise    A reader sees the old document or the new one, whole, never none. After `replace` returns, the new one
           survives the death of any process, and with `power` a power cut. If it raises an OSError, the old document
           stands; if it raises `CommitUncertain`, the new one stands and only its durability is unknown.
How        A temporary file in the same folder, created exclusively under one fixed name, renamed over the target.
           Whatever can be refused is refused before the rename; after it, only the flush of the folder can fail.
           Before the first document takes its name, the names of the private folders above it are flushed as well.
Only       under the store's lock: the fixed name makes a dead writer's leftover ours to remove, so none pile up.
Does not   reach files that programs hold open: they keep the document that they opened.
Fails by   OSError (the call's own kind, with the store's path), ReadOnlyStore, NotARegularFile, CommitUncertain.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from typing import Final, Literal, NoReturn

import attrs

from storewriter._likeness import dress, first_mode
from storewriter._system import DIRECTORY, NO_FOLDER_FLUSH, NOFOLLOW, NONBLOCK, System
from storewriter.errors import CommitUncertain, NotARegularFile, ReadOnlyStore

Durability = Literal["power", "process"]

_KINDS: Final = {
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


Keep = Callable[[os.stat_result], contextlib.AbstractContextManager[None]]
Fence = Callable[[], contextlib.AbstractContextManager[None]]


@attrs.frozen
class Place:
    """Where a document is, and how it gets there: the same for every save of a store."""

    path: str
    """Canonical path (`storewriter._keys.canonical`): a link's target, never the link."""
    power: bool
    """Whether it must survive a power cut."""
    mode: int
    """Of a document that does not exist yet."""
    system: System
    spare: str = attrs.field(init=False, default=attrs.Factory(lambda place: temporary(place.path), takes_self=True))
    folder: str = attrs.field(init=False, default=attrs.Factory(lambda place: _folder_of(place.path), takes_self=True))


@attrs.define
class _Save:
    """One save, decided before anything is touched."""

    place: Place
    spare: str
    old: os.stat_result | None
    """The document that is there now."""
    model: str
    """The file that the new one is to be like, usually the old document."""
    look: os.stat_result | None
    """What the model is; None: there is none, and the place's mode counts."""
    keep_open: bool
    keep: Keep | None
    fence: Fence
    meanwhile: Callable[[], None] | None


def replace(
    place: Place,
    data: bytes,
    *,
    seen: os.stat_result | None = None,
    keep_open: bool = False,
    like: str | None = None,
    keep: Keep | None = None,
    fence: Fence = contextlib.nullcontext,
    rival: str | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> int | None:
    """Put `data` in place of the document, under the store's lock.

    The place's mode is used for a document that does not exist yet; an existing one keeps its mode, owner where
    permitted, ACLs and extended attributes (or has those of the file `like`). `seen` is what the document was just
    now, if the caller has looked. With `keep_open`, returns a read-only descriptor of the new document, which the
    caller must close: while it is open, no other file can have its inode number.
    `keep` is called with what the old document is, and entered around the instant in which the new one, which is ready,
    takes the name: it keeps the old one. `meanwhile` is called when a long wait for the disk is about to begin: it may
    set off what others can do during that.

    Under a lease, which somebody else may have taken over meanwhile: `fence` is entered around the instant in which
    the new document takes the name, and may refuse it; `rival` makes the temporary name our own, so that a successor
    and we cannot write into each other's file.
    """
    path, system = place.path, place.system
    old: os.stat_result | None = None
    try:
        old = existing(path, system) if seen is None else _require_replaceable(seen, path, system)
        model, look = (path, old) if like is None else (like, system.lstat(like))
        spare = place.spare if rival is None else f"{place.spare}.{rival}"
        save = _Save(place, spare, old, model, look, keep_open, keep, fence, meanwhile)
        if not place.power:
            return _commit(save, data, -1)
        if look is None:
            _flush_folder_names(place.folder, system)
        # Opened first of all, so that nothing but the flush itself can fail once the new document is in place.
        folder = system.open(place.folder, os.O_RDONLY | DIRECTORY)
        try:
            return _commit(save, data, folder)
        finally:
            close_quietly(folder, system)
    except OSError as error:
        if old is not None and error.errno in _REFUSED and not system.writable(path):
            raise _read_only(path, old) from error
        refuse(error, path, "saving", "the old document is untouched")


_REFUSED: Final = frozenset({errno.EROFS, errno.EPERM, errno.EACCES})
"""What a read-only file system or an immutable file answers (chattr(1))."""


def write_beside(name: str, data: bytes, *, like: str, durability: Durability, system: System) -> None:
    """Write a file that belongs to the store `like` and may be read by whoever may read that. Raises OSError.

    Never `CommitUncertain`: the document is untouched, whatever became of this file.
    """
    try:
        replace(Place(name, durability == "power", 0o600, system), data, like=like)
    except CommitUncertain as error:
        cause = error.__cause__
        code = cause.errno if isinstance(cause, OSError) and cause.errno else errno.EIO
        raise OSError(code, f"{os.strerror(code)}, flushing", name) from error


def _commit(save: _Save, data: bytes, folder: int) -> int | None:
    system = save.place.system
    kept: int | None = None
    try:
        born, kept = _write_spare(save, data)
        with save.fence():
            if save.keep is None or save.old is None:
                _take_name(save, born)
            else:
                with save.keep(save.old):
                    _take_name(save, born)
        if folder >= 0:
            _flush_commit(folder, save.place.path, system)
            _note_flushed(save.place.path, born)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one that matters; the name is fixed anyway
            system.unlink(save.spare)
        if kept is not None:
            close_quietly(kept, system)
        raise
    return kept


def _write_spare(save: _Save, data: bytes) -> tuple[os.stat_result, int | None]:
    """Step 1: the whole new document under the temporary name. Returns which file that is."""
    place, look = save.place, save.look
    system = place.system
    kept: int | None = None
    fd = _create(save.spare, first_mode(look, place.mode), system)
    try:
        if save.meanwhile is not None and not place.power:
            save.meanwhile()
        written = system.write(fd, data)
        if written != len(data):
            write_all(fd, memoryview(data)[written:], system)
        born = system.fstat(fd)
        if look is not None:
            dress(fd, born, look, save.model, system)
        elif born.st_mode & 0o7777 != place.mode:
            system.fchmod(fd, place.mode)
        if place.power:
            if save.meanwhile is not None:
                # Not before the write, which is short: when it is done, the other thread has the interpreter, and the
                # flush would have to wait for that.
                save.meanwhile()
            # Before the rename: otherwise the name may reach the disk before the content does, and a power cut
            # leaves an empty or partial document under the right name (Pillai et al., OSDI 2014, section 4.4).
            system.flush(fd)
        if save.keep_open:
            kept = system.open(save.spare, os.O_RDONLY | NOFOLLOW)
    except BaseException:
        close_quietly(fd, system)
        raise
    try:
        # Over a network, a write that was accepted may be refused only now.
        system.close(fd)
    except BaseException:
        if kept is not None:
            close_quietly(kept, system)
        raise
    return born, kept


def _folder_of(path: str) -> str:
    return path.rsplit(os.sep, 1)[0] or os.sep


def close_quietly(fd: int, system: System) -> None:
    """Close what was only read: there is nothing that an error could mean."""
    try:
        system.close(fd)
    except OSError:
        pass  # `suppress` costs three times as much, and this runs twice a commit


def existing(path: str, system: System) -> os.stat_result | None:
    """What the document at `path` is; None if there is none. Raises NotARegularFile, ReadOnlyStore."""
    try:
        found = system.lstat(path)
    except FileNotFoundError:
        return None
    return _require_replaceable(found, path, system)


def _require_replaceable(found: os.stat_result, path: str, system: System) -> os.stat_result:
    if not stat.S_ISREG(found.st_mode):
        require_regular(path, found)
    # The mode is looked at as well as access(2): for root everything is writable, but a file without any write bit
    # was made read-only by somebody. To the owner the mode says it all; what refuses him nonetheless (a read-only
    # mount, say) refuses the replace too.
    mode = found.st_mode
    if not mode & 0o222 or not ((mode & 0o200 and found.st_uid == os.geteuid()) or system.writable(path)):
        raise _read_only(path, found)
    return found


def _read_only(path: str, found: os.stat_result) -> ReadOnlyStore:
    error = ReadOnlyStore(
        f"{path} is read-only (mode {stat.S_IMODE(found.st_mode):04o}), so it was not replaced. "
        f"Make it writable if it should change.",
        path=path,
    )
    error.errno = errno.EACCES
    return error


_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | NOFOLLOW


def _create(spare: str, mode: int, system: System) -> int:
    """Create the temporary file exclusively, so that a planted link is never followed or written through."""
    try:
        return system.open(spare, _CREATE, mode)
    except FileExistsError:
        # We hold the lock, so whoever made it is dead (or was succeeded): its content was never acknowledged.
        system.unlink(spare)
        return system.open(spare, _CREATE, mode)


def write_all(fd: int, data: bytes | memoryview, system: System) -> None:
    """write(2) until everything is written."""
    rest = memoryview(data)
    while rest:
        written = system.write(fd, rest)
        if written == 0:
            raise OSError(errno.EIO, "the file system accepted no more bytes")
        rest = rest[written:]


def _take_name(save: _Save, born: os.stat_result) -> None:
    """Give the new document the store's name.

    Without a flush, ext4 makes up for careless programs by starting one inside rename-over-existing (the
    `auto_da_alloc` mount option, ext4(5)); swapping the names and removing the old document does not trigger it, and
    costs a quarter. A crash between the two leaves the old document under the temporary name: garbage like any other.
    """
    place = save.place
    path, system = place.path, place.system
    try:
        if place.power or save.old is None or not system.exchange(save.spare, path):
            system.rename(save.spare, path)
            return
    except OSError as error:
        # Over a network a rename can happen and its answer be lost: what counts is whose file has the name now.
        if _has_name(path, born, system):
            msg = (
                f"the new document of {path} is in place, although renaming it failed ({error.strerror}): whether it "
                f"stays is unknown. Read the store before repeating the update."
            )
            raise CommitUncertain(msg, path=path) from error
        if error.errno == errno.EBUSY:
            raise _mount_point(path) from error
        raise
    with contextlib.suppress(OSError):  # the new document stands; the next commit removes the leftover
        system.unlink(save.spare)


def _has_name(path: str, born: os.stat_result, system: System) -> bool:
    try:
        found = system.lstat(path)
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == (born.st_dev, born.st_ino)


def _mount_point(path: str) -> OSError:
    return OSError(
        errno.EBUSY,
        "the file is a mount point by itself (a single file mounted into a container), so no new file can take its "
        "name. Mount the folder that it is in instead, or open the store with in_place=True",
        path,
    )


def _flush_commit(folder: int, path: str, system: System) -> None:
    try:
        flush_folder(folder, system)
    except OSError as error:
        # Never tried again as if it had succeeded: a kernel reports a failed write-back once and then forgets it
        # (Rebello et al., USENIX ATC 2020), so a second fsync that succeeds would prove nothing.
        msg = (
            f"the new document of {path} is in place, but its folder could not be flushed ({error.strerror}): "
            f"whether it survives a power cut is unknown. Read the store before repeating the update."
        )
        raise CommitUncertain(msg, path=path) from error


_flushed: dict[str, tuple[int, int, int]] = {}
"""By path: which file this process last flushed there, with its folder. Bounded; a missing entry costs two flushes."""


def _identity(found: os.stat_result) -> tuple[int, int, int]:
    # The time of writing, because an inode number comes back.
    return (found.st_dev, found.st_ino, found.st_mtime_ns)


def _note_flushed(path: str, found: os.stat_result) -> None:
    if len(_flushed) >= 512:
        _flushed.clear()
    _flushed[path] = _identity(found)


def confirm(place: Place, *, in_place: bool) -> None:
    """Flush the document that is there, and its name, unless this process has done so. Raises OSError, CommitUncertain.

    A kernel that could not write a page reports that once and then takes the page for clean (Rebello et al., USENIX ATC
    2020): after a failed flush of ours the file that counts is a later one, or the old one, which was flushed.
    """
    path, system = place.path, place.system
    try:
        fd = system.open(path, os.O_RDONLY | NOFOLLOW | NONBLOCK)
    except FileNotFoundError:
        return
    except OSError as error:
        refuse(error, path, "flushing", "the document is as it was")
    try:
        found = system.fstat(fd)
        if not in_place and _flushed.get(path) == _identity(found):
            return
        _flush_as_it_is(place, fd)
        _note_flushed(path, found)
    finally:
        close_quietly(fd, system)


def _flush_as_it_is(place: Place, fd: int) -> None:
    system = place.system
    try:
        system.flush(fd)
        folder = system.open(place.folder, os.O_RDONLY | DIRECTORY)
        try:
            flush_folder(folder, system)
        finally:
            close_quietly(folder, system)
    except OSError as error:
        msg = (
            f"the document of {place.path} already says what was asked for, but could not be flushed "
            f"({error.strerror}): whether it survives a power cut is unknown. Read the store before repeating it."
        )
        raise CommitUncertain(msg, path=place.path) from error


def flush_folder(folder: int, system: System) -> None:
    """Flush an open folder, where there is such a thing."""
    try:
        system.flush_folder(folder)
    except OSError as error:
        if error.errno not in NO_FOLDER_FLUSH:
            raise


def make_folders(path: str, system: System) -> None:
    """Create the folders above `path` that are missing, every one of them 0700, whatever the umask. Raises OSError.

    `os.makedirs(mode=)` gives the mode to the last level only, the others get the umask's. Their names are flushed by
    the first commit that relies on them (`_flush_folder_names`), whoever made them.
    """
    folder = _folder_of(path)
    missing: list[str] = []
    while folder and not os.path.isdir(folder):
        missing.append(folder)
        folder = folder.rsplit(os.sep, 1)[0]
    for level in reversed(missing):
        with contextlib.suppress(FileExistsError):  # somebody else was faster
            system.mkdir(level, 0o700)
        if system.lstat(level).st_mode & 0o700 != 0o700:
            system.chmod(level, 0o700)  # a umask that takes rights from the owner


def _flush_folder_names(folder: str, system: System) -> None:
    """Before the first document in a folder: make the names of the folders above it survive a power cut, too.

    Whoever made them may have died, or be about to flush them: that they are there proves nothing. All folders that
    `make_folders` makes are private (0700), and it makes them below one that was there. So: as long as a folder is
    private, flush the one that it has its name in, and go on from there.
    """
    while True:
        found = system.lstat(folder)
        above = _folder_of(folder)
        if found.st_mode & 0o777 != 0o700 or above == folder:
            return
        try:
            fd = system.open(above, os.O_RDONLY | DIRECTORY)
        except PermissionError:
            if system.writable(above):
                raise
            return  # nobody who is not let in there can have made a folder in it
        try:
            if system.fstat(fd).st_dev != found.st_dev:
                return  # a mount point: nobody made it by making a folder
            flush_folder(fd, system)
        finally:
            close_quietly(fd, system)
        folder = above


def refuse(error: OSError, path: str, doing: str, outcome: str) -> NoReturn:
    """Raise the same kind of error, telling which store it was and what became of it."""
    if isinstance(error, (ReadOnlyStore, NotARegularFile)):
        raise error
    if error.errno is None:
        error.add_note(f"store: {path}; {outcome}")
        raise error
    culprit = error.filename
    where = f" at {culprit}" if isinstance(culprit, str) and culprit != path else ""
    raise OSError(error.errno, f"{error.strerror}{where} ({doing}; {outcome})", path) from error
