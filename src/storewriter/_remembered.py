"""The state between two updates of one process: kept while it is of use, gone when the store is idle.

Promise    What `take` returns is the state of the document that is there now, or nothing. Idle stores keep no
           descriptor, no thread, and no more than a few small documents of memory for the whole process.
How        A small document is read again and compared byte for byte: nothing can fool that. A large one is kept open:
           while it is open its inode number cannot be given to another file (the number of a removed file is reused
           at once on ext4), so the same number at the path is the same file. Whoever renames a new file into place is
           noticed; so is who writes into the file, by its time of change and size.
           The state itself is checked by encoding it again, unless nobody can have a reference into it (`_reach.py`).
Only       in the store's turn, except for the sweep, which takes entries away as a whole.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import OrderedDict, deque
from typing import Any, Final

import attrs

from storewriter import _forks, _threads

LARGE: Final = 1 << 16
"""Bytes from which reading a document again costs more than keeping it open."""

_IDLE_SECONDS: Final = 0.25
"""After so long without an update a large document is closed and forgotten."""

_MOST: Final = 32
"""Documents that are remembered in the whole process; the one used longest ago gives way."""


@attrs.define(eq=False)
class Kept:
    """A document that was saved, and its state."""

    data: bytes
    state: Any
    shared: bool
    """Whether somebody may hold a reference into the state."""
    fd: int | None = None
    """The open file, of a large document."""
    stamp: tuple[int, ...] = ()
    """What fstat(2) said of it."""
    used: float = 0.0

    def close(self) -> None:
        """Let go of the file."""
        fd, self.fd = self.fd, None
        if fd is not None:
            with contextlib.suppress(OSError):
                os.close(fd)


class Slot:
    """One document's place."""

    __slots__ = ("_entry",)

    def __init__(self) -> None:
        # A deque, because its pop is one step: the sweep and the holder of the turn cannot both get the entry.
        self._entry: deque[Kept] = deque()

    def put(self, kept: Kept) -> None:
        """Remember. Replaces what was there."""
        self.clear()
        kept.used = time.monotonic()
        self._entry.append(kept)
        _register(self, large=kept.fd is not None)

    def take(self) -> Kept | None:
        """Get the entry out; whoever takes it owns it."""
        try:
            return self._entry.pop()
        except IndexError:
            return None

    def clear(self) -> None:
        """Forget."""
        kept = self.take()
        if kept is not None:
            kept.close()

    def keeps_open(self, since: float) -> bool:
        """Whether a large document is still in use; one last used before `since` is let go."""
        try:
            kept = self._entry[0]
        except IndexError:
            return False
        if kept.fd is None or kept.used >= since:
            return kept.fd is not None
        self.clear()  # if it was replaced at this very moment, a fresh one goes: it is only a memory
        return False


_mutex = threading.RLock()
"""Guards the two below."""
_slots: OrderedDict[int, Slot] = OrderedDict()
_sweeping = False


def _reset_in_child() -> None:
    # The child starts with an empty memory; the descriptors are its own copies, and are closed with their entries.
    global _mutex, _sweeping
    _mutex = threading.RLock()
    for slot in _slots.values():
        slot.clear()
    _slots.clear()
    _sweeping = False


_forks.in_child(_reset_in_child)


def _register(slot: Slot, *, large: bool) -> None:
    global _sweeping
    with _mutex:
        _slots[id(slot)] = slot  # by identity, and the entry keeps the slot alive, so the number stays its own
        _slots.move_to_end(id(slot))
        oldest = _slots.popitem(last=False)[1] if len(_slots) > _MOST else None
        start = large and not _sweeping
        if start:
            _sweeping = True
    if oldest is not None:
        oldest.clear()
    if start:
        try:
            _threads.start(_sweep)
        except RuntimeError:  # no thread to be had: then nothing large may stay
            with _mutex:
                _sweeping = False
            slot.clear()


def _sweep() -> None:
    """Lives while a large document is remembered."""
    global _sweeping
    pause = threading.Event()
    while True:
        pause.wait(_IDLE_SECONDS / 2)
        since = time.monotonic() - _IDLE_SECONDS
        with _mutex:
            in_use = [slot.keeps_open(since) for slot in _slots.values()]
            if not any(in_use):
                _sweeping = False
                return
