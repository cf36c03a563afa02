"""Detects that another program writes a document without excluding us, and reports that once.

Promise    For each store and process one log record and one event (`NeighbourFound`) per kind of finding: what it is,
           who, and what to configure. Nothing is changed or refused, except that a program of ours which takes other
           neighbours' locks is a StrategyMismatch.
How        A look at the first turn on a store, then at one turn in `_PAUSE` seconds, and when the document was changed
           while functions were applied. Every other turn costs a look into a dictionary.
Does not   see a lock that is there for milliseconds only, unless the document changes under us at that moment.
"""

from __future__ import annotations

import os
import time
from typing import Final

from storewriter import events
from storewriter._platform import forks
from storewriter._platform.owner import Owner
from storewriter.locks._protocol import Strategy
from storewriter.locks.neighbours._agreement import different_neighbours, neighbours_of_others
from storewriter.locks.neighbours._joined import Joined
from storewriter.locks.neighbours._names import DEFAULT
from storewriter.locks.neighbours._whose import (
    CONFIGURE,
    Foreign,
    advice_for,
    foreign,
    kernel_holder,
    kernel_lock,
    locked,
    record_at,
)

__all__ = ["changed", "findings", "look", "next_look"]

_PAUSE: Final = 1.0
"""Seconds. A look takes about a tenth of a millisecond."""

next_look: dict[str, float] = {}
"""By store: when it is due for a look again (time.monotonic())."""

_reported: set[tuple[str, str]] = set()
forks.in_child(next_look.clear)


def look(path: str, strategy: Strategy) -> None:
    """Look for other programs' locks on a store. Raises StrategyMismatch for a program of ours set up differently."""
    if len(next_look) >= 1024:
        next_look.clear()
        _reported.clear()
    if not isinstance(strategy, Joined):
        other = neighbours_of_others(path)
        if other is not None:  # and not noted: the next turn finds it again, as long as that program is alive
            raise different_neighbours(path, "", *other)
    next_look[path] = time.monotonic() + _PAUSE
    for found in findings(path, strategy):
        _report(path, found)


def changed(path: str, strategy: Strategy) -> None:
    """The document was changed by another program while functions were applied: look for whose lock is there now."""
    for found in findings(path, strategy):
        _report(path, found)
    _report(path, _CHANGED)


def findings(path: str, strategy: Strategy | None) -> list[Foreign]:
    """The locks of other programs beside a document, and on it, that this strategy does not take."""
    neighbours = strategy.neighbours if isinstance(strategy, Joined) else ()
    taken = {neighbour.lock_path(path) for neighbour in neighbours}
    lock = f"{path}.lock"
    beside = _not_excluded(lock) if lock in taken else _at(lock)
    locked = _locked_document(path)
    return [found for found in (beside, locked) if found is not None]


def _at(lock: str) -> Foreign | None:
    try:
        found = os.lstat(lock)
    except OSError as error:
        if error.errno is None:
            raise  # a signal handler's
        return None
    return None if _is_a_sidecar(lock) else foreign(lock, found)


def _not_excluded(lock: str) -> Foreign | None:
    """What is wrong with a lock that is configured: flock(2) does not exclude those who lock the file with fcntl(2)."""
    held = kernel_lock(lock)
    return locked(lock, *held) if held is not None and held[0] == "POSIX" else None


def _is_a_sidecar(lock: str) -> bool:
    """Whether it is the sidecar of another store of ours: that of `x` is the name beside a document `.x`."""
    name = os.path.basename(lock)
    record = record_at(lock) if name.startswith(".") else None
    owner = None if record is None else Owner.from_record(record.raw)
    return owner is not None and owner.strategy is not None


def _locked_document(path: str) -> Foreign | None:
    owner = kernel_holder(path)
    if owner is None:
        return None
    return Foreign(path, _LOCKED, "locked itself, with flock(2) or fcntl(2)", owner)


_LOCKED: Final = "locked document"
_CHANGED: Final = Foreign("", "changed document", "", None)


def advice(path: str, found: Foreign) -> str:
    """What to do about it."""
    if found.is_new and found.kind == "flock":
        return (
            f"take its lock as well: {advice_for('flock', DEFAULT)}, or, if a record of its owner appears in it, "
            f"{advice_for('openclaw', DEFAULT)}"
        )
    if found.kind in CONFIGURE:
        return f"take its lock as well: {advice_for(found.kind, DEFAULT)}"
    if found.kind == "fcntl":
        return (
            f"no lock of storewriter excludes an fcntl(2) lock: let it take flock(2) on that file, as filelock, "
            f"portalocker and flock(1) do, and configure {advice_for('flock', DEFAULT)}"
        )
    if found.kind == _LOCKED:
        folder, name = path.rsplit(os.sep, 1)
        return (
            f"let it lock {path}.lock instead, and configure {advice_for('flock', DEFAULT)}: a save gives the name "
            f"{name} in {folder} to a new file, so a lock on the old one excludes no program that opens the new one"
        )
    if found.kind == _CHANGED.kind:
        return (
            f"let it take the lock too, or take its: {advice_for('flock', DEFAULT)} for filelock, portalocker and "
            f"flock(1), also=OpenClawLock() or also=ProperLockfile() for programs on Node.js"
        )
    return "find out which program makes it, and whether it writes this document"


def _report(path: str, found: Foreign) -> None:
    """Once per store, process and kind."""
    if (path, found.kind) in _reported:
        return
    _reported.add((path, found.kind))
    what_to_do = advice(path, found)
    events.log.warning("%s (said once per process)", _text(path, found, what_to_do))
    if events.subscribers:
        events.emit(
            events.NeighbourFound(
                path=path, kind=found.kind, lock=found.lock or None, owner=found.owner, advice=what_to_do
            )
        )


def _text(path: str, found: Foreign, what_to_do: str) -> str:
    by = "" if found.owner is None else f", by {found.owner}"
    if found is _CHANGED:
        return f"{path} was changed by another program while it was being updated here: {what_to_do}"
    if found.kind == _LOCKED:
        return f"{path} is {found.what}{by}, which does not exclude storewriter: {what_to_do}"
    return (
        f"{found.lock} is {found.what}{by}. This program does not take that lock: if the other one writes {path} under "
        f"it, updates get lost on both sides; {what_to_do}"
    )
