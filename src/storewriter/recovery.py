"""Recovery of a corrupt document: moved aside, then the newest good backup or the default in its place.

Promise    Only when asked for, only in a turn, and only if the document cannot be read. What was there is kept, byte
           for byte, under a name that nothing had: `<name>.corrupt-1`, `-2`, and so on. Only what decodes whole may
           take its place. A reader finds the corrupt document or the restored one, never none. `forecast` says what
           `recover` would do, and does nothing.
Does not   repair, merge or guess; and set aside what may be intact (`StoreCorrupt.may_be_intact`), unless forced.
Fails by   RecoveryRefused, OSError, ReadOnlyStore, NotARegularFile, DocumentChanged, CommitUncertain; unless it is the
           last, the document is untouched.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, Literal

import attrs

from storewriter._backends.protocol import Backend, Loaded, Rescue
from storewriter._platform.interrupts import is_of_a_step
from storewriter.codecs import Codec
from storewriter.codecs._faults import Fault, fault_in
from storewriter.codecs._places import spelled
from storewriter.errors import DocumentChanged, RecoveryRefused, StoreWriterError

__all__ = ["Recovery", "facts_of", "forecast", "place_of", "recover", "restore"]

_TRIES: Final = 8
"""How often a recovery begins anew because a program without the lock has written the document meanwhile."""


@attrs.frozen(kw_only=True)
class Recovery:
    """What a recovery did. `str()` makes a sentence of it."""

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


def recover(
    backend: Backend[Any, Any], hold: Any, codec: Codec[Any], default: Callable[[], Any], *, force: bool = False
) -> Recovery:
    """Bring a corrupt document's store back to work. Only in the store's turn, with its hold.

    A store without a document is restored from its newest good backup too; without one, its absence is its default,
    and nothing is done. Raises RecoveryRefused for a document that may be intact, or such a backup, unless a newer one
    is good; with `force` both count as corrupt. Raises OSError (see the module), and whatever `codec.encode` raises for
    the default.
    """
    for _ in range(_TRIES - 1):
        try:
            return _recover(backend, hold, codec, default, force)
        except DocumentChanged:
            continue
    return _recover(backend, hold, codec, default, force)


def _recover(
    backend: Backend[Any, Any], hold: Any, codec: Codec[Any], default: Callable[[], Any], force: bool
) -> Recovery:
    found = backend.load(hold)
    fault = _fault_in(codec, found.data)
    if found.data is not None and fault is None:
        return Recovery(path=backend.key, outcome="healthy")
    source, good, rejected = _backup_for(backend, codec, fault, force=force)
    if found.data is None and good is None:
        return Recovery(path=backend.key, outcome="absent", rejected=rejected)
    replacement = good if good is not None else codec.encode(default())
    return _replaced(backend, hold, found, fault, replacement, source, rejected)


def restore(backend: Backend[Any, Any], hold: Any, codec: Codec[Any]) -> Recovery | None:
    """Restore the newest good backup in place of a damaged document. Only in the store's turn, and unasked.

    None if there is no good backup: nothing was done. Waits until nothing has written the document for a second,
    because a program without the lock may be in the middle of it. Raises as `recover` does.
    """
    for _ in range(_TRIES):
        found = backend.load(hold)
        fault = _fault_in(codec, found.data)
        if fault is None:
            return Recovery(path=backend.key, outcome="absent" if found.data is None else "healthy")
        source, good, rejected = _backup_for(backend, codec, fault, force=False)
        if good is None:
            return None
        if not backend.rescue().is_quiet(found):
            continue
        try:
            return _replaced(backend, hold, found, fault, good, source, rejected)
        except DocumentChanged:
            continue
    return None


def _backup_for(
    backend: Backend[Any, Any], codec: Codec[Any], fault: Fault | None, *, force: bool
) -> tuple[str | None, bytes | None, tuple[str, ...]]:
    """See `_newest_good_backup`. Raises RecoveryRefused for a document that may be intact, too."""
    if fault is not None and fault.may_be_intact and not force:
        raise _refused(backend.key, fault) from fault.error
    return _newest_good_backup(backend.key, backend.rescue(), codec, force=force)


def _replaced(
    backend: Backend[Any, Any],
    hold: Any,
    found: Loaded,
    fault: Fault | None,
    replacement: bytes,
    source: str | None,
    rejected: tuple[str, ...],
) -> Recovery:
    return Recovery(
        path=backend.key,
        outcome="reset" if source is None else "restored",
        reason=None if fault is None else fault.reason,
        moved_to=backend.rescue().replace(hold, found, replacement, like=source),
        restored_from=source,
        rejected=rejected,
    )


def _fault_in(codec: Codec[Any], data: bytes | None) -> Fault | None:
    """What is wrong with a document; None if it decodes, or if there is none."""
    return None if data is None else fault_in(codec.decode, data)


def _newest_good_backup(
    path: str, rescue: Rescue, codec: Codec[Any], *, force: bool
) -> tuple[str | None, bytes | None, tuple[str, ...]]:
    """Its name and content, and the names of the newer ones, which are not good. Raises RecoveryRefused, OSError."""
    rejected: list[str] = []
    for name in rescue.backups():
        data = rescue.read(name)
        fault = _fault_in(codec, data)
        if data is not None and fault is None:
            return name, data, tuple(rejected)
        if fault is not None and fault.may_be_intact and not force:
            raise _refused(path, fault, name) from fault.error
        rejected.append(name)
    return None, None, tuple(rejected)


def _refused(path: str, fault: Fault, backup: str | None = None) -> RecoveryRefused:
    if backup is None:
        what = f"{path} was not recovered, because it may be intact: {place_of(fault)}{fault.reason.rstrip('.')}"
        advice = "Correct it, or open it with a program or a codec that knows it"
    else:
        what = (
            f"{path} was not recovered, because its backup {backup} may be intact, but is not for this program: "
            f"{place_of(fault)}{fault.reason.rstrip('.')}"
        )
        advice = "Let the program that wrote it recover the store, or move that backup away"
    return RecoveryRefused(
        f"{what}. Nothing was done. {advice}. `recover(force=True)` does it all the same.",
        path=path,
        backup=backup,
        **facts_of(fault),
    )


def facts_of(fault: Fault) -> dict[str, Any]:
    """The attributes of a StoreCorrupt."""
    return {
        "reason": fault.reason,
        "line": fault.line,
        "column": fault.column,
        "position": fault.position,
        "where": fault.path,
        "may_be_intact": fault.may_be_intact,
    }


def place_of(fault: Fault) -> str:
    """`line 3, column 5, in limits.max: `, as far as it is known."""
    parts: list[str] = []
    if fault.line is not None:
        parts.append(f"line {fault.line}" if fault.column is None else f"line {fault.line}, column {fault.column}")
    elif fault.position is not None:
        parts.append(f"offset {fault.position}")
    if fault.path and f": {spelled(fault.path)}: " not in fault.reason:  # as the typed codecs say it
        parts.append(f"in {spelled(fault.path)}")
    return f"{', '.join(parts)}: " if parts else ""


# -- what it would do --------------------------------------------------------------------------------------------------


def forecast(backend: Backend[Any, Any], codec: Codec[Any], *, force: bool) -> str:
    """What `recover` would do with the corrupt document at this moment, for the error that is raised for it.

    Raises nothing of its own.
    """
    rescue = backend.rescue()
    try:
        source, _, rejected = _newest_good_backup(backend.key, rescue, codec, force=force)
        aside = f"move it to {rescue.name_aside()}"
        written = "" if source is None else _time_of(rescue.saved_at(source))
    except RecoveryRefused as error:
        return f"refuse, because the backup {error.backup} may be intact ({error.reason})"
    except (OSError, StoreWriterError) as error:
        if not is_of_a_step(error):
            raise  # a signal handler's
        return f"look for a good backup, which cannot be done now ({error})"
    if source is not None:
        return f"{aside} and restore the newest good backup, {source}{written}"
    known = "no good backup" if rejected else "no backup"
    return f"{aside} and begin empty, with the store's default: there is {known}{_listed(rejected)}"


def _listed(names: tuple[str, ...]) -> str:
    return f" ({', '.join(names)} cannot be read either)" if names else ""


def _time_of(saved: float | None) -> str:
    return "" if saved is None else f" of {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(saved))}"
