"""A journalled write into the document itself, for a file whose name cannot be given to another file.

That is a single file which is mounted into a container: rename(2) answers EBUSY there. By explicit choice only.

Promise    As for a replace: after a crash at any instant, and for every reader of this library at any instant, the
           document is the old one or the new one, whole. What `save` has acknowledged stays.
How        1. the old document is put into the journal `.<name>.journal`, marked *unfinished*, by an atomic replace
           2. the new document is written over the old one in the document's own file, and flushed
           3. the journal is replaced by a short one, marked *finished*: this is the commit
           While the journal is unfinished, the document in it counts, and no reader uses the file's content. The next
           save starts from there; `finish` puts it back into the file. The finished journal holds a number that is
           never used again, so a reader that saw the same journal before and after has not read across a write.
           The unfinished one names its file by inode number and time of birth: it does not apply to any other file.
Only       `save` and `finish` under the store's lock; and every program that uses the store must open it this way.
Does not   protect programs that read the file without this library: between 1 and 3, and after a crash there until
           the next writer comes, they find a mixture. Nor does it survive the loss of the journal: in a container the
           folder of the mounted file must live as long as the file, or a crash in step 2 cannot be undone.
Costs      five flushes where a replace needs two.
Fails by   as `_files/replace.py`. A write that fails is undone in the file too, if the file system still lets us.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
from collections.abc import Callable

from storewriter._files.replace import Durability, Target, existing, refuse, replace_now, write_all, write_beside
from storewriter._platform.descriptors import Descriptor
from storewriter._platform.system import NOFOLLOW, NONBLOCK, System
from storewriter.errors import CommitUncertain, ForeignFile, NotARegularFile

Read = Callable[[str], bytes | None]
"""A whole file; None if there is none."""

_MAGIC = b"storewriter journal 1 "


def journal(path: str) -> str:
    """The journal of a store: `.<name>.journal` in the same folder."""
    folder, name = path.rsplit(os.sep, 1)
    return f"{folder}{os.sep}.{name}.journal"


def _read_journal(path: str, read: Read) -> bytes | None:
    """The content of the journal; None if there is none. Raises ForeignFile for what is no file, OSError."""
    try:
        return read(journal(path))
    except NotARegularFile as error:
        raise _no_journal(path, error.kind) from error
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise _no_journal(path, "a symbolic link") from error


def _no_journal(path: str, kind: str) -> ForeignFile:
    return ForeignFile(
        f"{journal(path)}, where the journal of {path} belongs (in_place=True), is {kind}. It was left as it is, and "
        f"nothing was written to the store. Move it away if no program needs it there.",
        path=path,
        file=journal(path),
    )


def load(path: str, read: Read, system: System) -> bytes | None:
    """The document, whole. Takes no lock: reads again if a write came in between."""
    while True:
        before = _read_journal(path, read)
        kept = _unfinished(before, path, system)
        if kept is not None:
            return kept
        data = read(path)
        if _read_journal(path, read) == before:
            return data


def require_ours(path: str, read: Read) -> None:
    """Refuse to replace a file that is no journal, whatever else it is. Raises ForeignFile.

    A beginning that was cut short, or is NUL bytes, is what a power cut may leave of one.
    """
    content = _read_journal(path, read)
    if content is None or _MAGIC.startswith(content[: len(_MAGIC)].rstrip(b"\0")):
        return
    raise ForeignFile(
        f"{journal(path)}, which would be the journal of {path} (in_place=True), was written by another program, or by "
        f"a newer version. It was left as it is, and nothing was written to the store. Move it away if no program "
        f"needs it there.",
        path=path,
        file=journal(path),
    )


def save(path: str, data: bytes, old: bytes, found: os.stat_result, *, durability: Durability, system: System) -> None:
    """Write `data` over the document, which is the file `found` and was loaded as `old`. Raises as `replace` does."""
    _begin(path, old, found, durability, system)
    try:
        _overwrite(path, data, found, durability, system)
        _end(path, durability, system)
    except OSError as error:
        if error.errno is None:
            raise  # a signal handler's: the journal holds the document until the next save
        outcome = _undo(path, old, found, durability, system)
        refuse(error, path, "saving in place", outcome)


def finish(path: str, read: Read, *, durability: Durability, system: System) -> bool:
    """Put the document back into its file after a writer was killed in step 2. Returns whether that was needed."""
    kept = _unfinished(_read_journal(path, read), path, system)
    if kept is None:
        return False
    try:
        found = existing(path, system)
        if found is None:
            return False
        _overwrite(path, kept, found, durability, system)
        _end(path, durability, system)
    except OSError as error:
        refuse(error, path, "finishing an interrupted write", f"the document counts and is safe in {journal(path)}")
    return True


def _begin(path: str, old: bytes, found: os.stat_result, durability: Durability, system: System) -> None:
    """Step 1."""
    try:
        # Which file: the journal does not apply to another file that got the name since. Its inode number alone would
        # not do, because that may be used again for the next file at once.
        head = b"unfinished %s %d %s\n" % (_file(found, path, system), len(old), _digest(old))
        write_beside(journal(path), _MAGIC + head + old, like=path, durability=durability, system=system)
    except OSError as error:
        # Nothing of the new document is anywhere yet. If the journal is, it holds what the file holds.
        with contextlib.suppress(OSError, CommitUncertain):
            _end(path, durability, system)
        refuse(error, path, "saving in place", f"the old document is untouched{_advice(error)}")


def _advice(error: OSError) -> str:
    if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
        return ""
    return "; with in_place=True a journal is kept beside the document, so its folder must be writable, too"


def _overwrite(path: str, data: bytes, found: os.stat_result, durability: Durability, system: System) -> None:
    """Step 2."""
    file = Descriptor()
    fd = file.open(system.open, path, os.O_WRONLY | NOFOLLOW | NONBLOCK)
    try:
        now = system.fstat(fd)
        if (now.st_dev, now.st_ino) != (found.st_dev, found.st_ino):
            raise OSError(errno.ESTALE, "another file took its place meanwhile", path)
        write_all(fd, data, system)
        system.truncate(fd, len(data))
        if durability == "power":
            system.flush(fd)
    finally:
        file.close(system.close)


def _end(path: str, durability: Durability, system: System) -> None:
    """Step 3."""
    content = b"%sfinished %s\n" % (_MAGIC, secrets.token_hex(16).encode())
    try:
        replace_now(Target(journal(path), durability == "power", 0o600, system), content, like=path)
    except CommitUncertain as error:
        msg = (
            f"the new document of {path} is in place, but the end of its journal could not be flushed: a power cut "
            f"may bring the old document back. Read the store before repeating the update."
        )
        raise CommitUncertain(msg, path=path) from error


def _undo(path: str, old: bytes, found: os.stat_result, durability: Durability, system: System) -> str:
    """After a failure in step 2 or 3; returns what became of the old document, in words."""
    try:
        _overwrite(path, old, found, durability, system)
        _end(path, durability, system)
    except (OSError, CommitUncertain):
        return (
            f"the old document counts and is safe in {journal(path)}, but the file itself is a mixture for other "
            f"programs until the next save succeeds"
        )
    return "the old document was put back"


def _unfinished(content: bytes | None, path: str, system: System) -> bytes | None:
    """The document that an unfinished journal holds; None if the file itself counts."""
    if content is None or not content.startswith(_MAGIC):
        return None
    head, _, old = content[len(_MAGIC) :].partition(b"\n")
    match head.split(b" "):
        case [b"unfinished", file, size, digest] if size.isdigit():
            pass
        case _:
            return None
    if len(old) != int(size) or _digest(old) != digest:
        return None
    try:
        now = _file(system.lstat(path), path, system)
    except FileNotFoundError:
        return None
    except OSError as error:
        refuse(error, path, "reading", "the document is untouched")
    return old if _is_same(file, now) else None


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()


def _file(found: os.stat_result, path: str, system: System) -> bytes:
    """The identity of a file: its inode number, and when it was made, where that is known."""
    born = system.born(path)
    return b"%d" % found.st_ino if born is None else b"%d:%d" % (found.st_ino, born)


def _is_same(one: bytes, other: bytes) -> bool:
    """Whether two files may be the same one. Where the time of birth is not known for both, it does not count."""
    if b":" in one and b":" in other:
        return one == other
    return one.partition(b":")[0] == other.partition(b":")[0]
