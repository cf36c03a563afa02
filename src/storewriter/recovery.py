"""Recovery of a corrupt document: moved aside, then the newest good backup or the default in its place.

Promise    Only when asked for, only in a turn, and only if the document cannot be read. What was there is kept, byte
           for byte, under a name that nothing had: `<name>.corrupt-1`, `-2`, and so on. Only what decodes whole may
           take its place. A reader finds the corrupt document or the restored one, never none.
Does not   repair, merge or guess.
Fails by   OSError, ReadOnlyStore, NotARegularFile, CommitUncertain; unless it is the last, the document is untouched.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any, Literal

import attrs

from storewriter import _backups
from storewriter._interrupts import quietly
from storewriter._replace import existing
from storewriter.codecs import Codec, DecodeError, UnknownVersion
from storewriter.errors import NotARegularFile, StoreCorrupt
from storewriter.storage import FileStorage

__all__ = ["Recovery", "recover"]


@attrs.frozen(kw_only=True)
class Recovery:
    """What a recovery did. `str()` says it in a sentence."""

    path: str
    """The store."""
    outcome: Literal["healthy", "absent", "restored", "reset"]
    """`healthy`: nothing was done. `absent`: neither, because there is no document and no good backup; the store is at
    its default. `restored`: a backup took the document's place. `reset`: the default did."""
    reason: str | None = None
    """What was wrong with the document; None if it is healthy, or if there was none."""
    moved_to: str | None = None
    """Where the corrupt document is now."""
    restored_from: str | None = None
    """The backup whose content the document has now; the backup itself stays."""
    rejected: tuple[str, ...] = ()
    """Newer backups that are not good either. They stay where they are."""

    def __str__(self) -> str:
        """What was done, in a sentence."""
        if self.outcome == "healthy":
            return f"{self.path} is healthy; nothing was done"
        passed_over = f"; not good either: {', '.join(self.rejected)}" if self.rejected else ""
        if self.outcome == "absent":
            backup = "no good backup" if self.rejected else "no backup"
            return f"{self.path} does not exist and has {backup}; nothing was done{passed_over}"
        done = "holds the default again" if self.restored_from is None else f"was restored from {self.restored_from}"
        was = f"it was corrupt: {self.reason}" if self.reason is not None else "it was missing"
        kept = f"; the corrupt document is now {self.moved_to}" if self.moved_to is not None else ""
        return f"{self.path} {done} ({was}{kept}{passed_over})"


def recover(storage: FileStorage, codec: Codec[Any], default: Callable[[], Any]) -> Recovery:
    """Bring a corrupt document's store back to work. Only in the store's turn.

    A store without a document is restored from its newest good backup too; without one, its absence is its default,
    and nothing is done. Raises UnknownVersion for a document of another program's version, which may be intact;
    StoreCorrupt for such a backup, unless a newer one is good; OSError (see the module); and whatever `codec.encode`
    raises for the default.
    """
    path = storage.path
    storage.finish()
    data = storage.load()
    reason = _fault(codec, data) if data is not None else None
    if data is not None and reason is None:
        return Recovery(path=path, outcome="healthy")
    source, good, rejected = _newest_good_backup(storage, codec)
    if data is None and good is None:
        return Recovery(path=path, outcome="absent", rejected=rejected)
    replacement = good if good is not None else codec.encode(default())
    moved_to = _replace_corrupt(storage, data, replacement, like=source)
    return Recovery(
        path=path,
        outcome="reset" if source is None else "restored",
        reason=reason,
        moved_to=moved_to,
        restored_from=source,
        rejected=rejected,
    )


def _fault(codec: Codec[Any], data: bytes) -> str | None:
    """What is wrong with a document; None if it decodes."""
    try:
        codec.decode(data)
    except UnknownVersion:
        raise
    except ValueError as error:
        return error.reason if isinstance(error, DecodeError) else str(error)
    return None


def _newest_good_backup(storage: FileStorage, codec: Codec[Any]) -> tuple[str | None, bytes | None, tuple[str, ...]]:
    rejected: list[str] = []
    for name in _backups.backups_of(storage.path, storage.system):
        data = _read(storage, name)
        if data is not None and _is_good(codec, data, storage.path, name):
            return name, data, tuple(rejected)
        rejected.append(name)
    return None, None, tuple(rejected)


def _is_good(codec: Codec[Any], data: bytes, path: str, name: str) -> bool:
    try:
        return _fault(codec, data) is None
    except UnknownVersion as error:
        raise _unknown(path, name, error) from error


def _unknown(path: str, name: str, error: UnknownVersion) -> StoreCorrupt:
    return StoreCorrupt(
        f"{path} was not recovered: its backup {name} may be intact, but is not for this program ({error.reason}). "
        f"Nothing was done. Let the program that wrote it recover the store, or move that backup away first.",
        path=path,
        reason=error.reason,
        line=None,
        column=None,
        position=None,
    )


def _read(storage: FileStorage, name: str) -> bytes | None:
    """A backup; None for what is no file, and so was never one. Raises OSError."""
    try:
        return storage.read(name)
    except NotARegularFile:
        return None
    except OSError as error:
        code = error.errno or errno.EIO
        msg = (
            f"{os.strerror(code)}: whether the backup {name} is good cannot be told now, so nothing was done. Try "
            f"again, or move it away if it should not count (recovering the store)"
        )
        raise OSError(code, msg, storage.path) from error


def _replace_corrupt(
    storage: FileStorage, corrupt: bytes | None, replacement: bytes, *, like: str | None
) -> str | None:
    """Set the corrupt document aside, under a name of its own, and put the replacement in its place.

    Where no document is, its owner and its mode are known from the backup `like`.
    """
    existing(storage.path, storage.system)  # refuses a read-only one before anything is done
    aside = None if corrupt is None else _set_aside(storage, corrupt)
    try:
        storage.restore(replacement, like=like if corrupt is None else None)
    except OSError:
        if aside is not None:
            _remove(storage, aside)
        raise
    return aside


def _set_aside(storage: FileStorage, corrupt: bytes) -> str:
    """Give the corrupt document a second name that nothing has; where that cannot be, a copy of it."""
    number = 1
    while True:
        aside = f"{storage.path}.corrupt-{number}"
        try:
            if not storage.in_place and _backups.linked(storage.path, aside, storage.system):
                return aside
            # Exclusively: link(2) never takes a name that exists, and neither may a copy.
            fd = storage.system.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            number += 1
            continue
        except OSError as error:
            if error.errno is None:
                raise  # a signal handler's
            raise OSError(error.errno, f"{error.strerror} (setting the corrupt document aside)", aside) from error
        try:
            storage.system.close(fd)
            storage.write_beside(aside, corrupt)
        except OSError:
            _remove(storage, aside)
            raise
        return aside


def _remove(storage: FileStorage, name: str) -> None:
    quietly(storage.system.unlink, name)  # the error that led here is the one that matters
