"""The state between two updates of one process: kept while it is of use, gone when the store is idle.

Promise    What `take` returns belongs to a document that is still open. A quarter of a second after the last update
           nothing is left: no descriptor, no memory, no thread. A store that is touched once and dropped keeps nothing.
How        The document is kept open: while it is open its inode number cannot be given to another file (the number of
           a removed file is reused at once on ext4), so the same number at the path is the same file. Whoever renames
           a new file into place is noticed; so is who writes into the file, by its time of change and size.
           The state itself is remembered only if nobody can have a reference into it (`_census.py`).
Only       in the store's turn, except for the sweep, which takes entries away as a whole.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections import OrderedDict, deque
from typing import Final

import attrs

from storewriter import _forks, _threads
from storewriter._census import Box, Census

LARGE: Final = 1 << 14
"""Bytes from which a state is worth remembering. Below, reading and decoding the document again costs a twentieth of
a durable save, and every function sees exactly what the document says."""

_IDLE_SECONDS: Final = 0.25
"""After so long without an update a large document is closed and forgotten."""

_MOST: Final = 32
"""Documents that are remembered in the whole process; the one used longest ago gives way."""


@attrs.define(eq=False)
class Kept:
    """A document that was saved, and its state."""

    data: bytes
    box: Box
    census: Census | None
    """What is proven of the state; None for one that its codec answers for."""
    fd: int
    """The open file."""
    stamp: tuple[int, ...]
    """What fstat(2) said of it."""
    used: float = 0.0

    def close(self) -> None:
        """Let go of the file."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)


class Slot:
    """One document's place."""

    __slots__ = ("__weakref__", "_entry")

    def __init__(self) -> None:
        # A deque, because its pop is one step: the sweep and the holder of the turn cannot both get the entry.
        self._entry: deque[Kept] = deque()

    def put(self, kept: Kept) -> None:
        """Remember. Replaces what was there."""
        self.clear()
        kept.used = time.monotonic()
        self._entry.append(kept)
        _register(self)

    def take(self) -> Kept | None:
        """Get the entry out; whoever takes it owns it."""
        if not self._entry:
            return None  # as it mostly is, and an exception costs more than the look
        try:
            return self._entry.pop()
        except IndexError:
            return None

    def clear(self) -> None:
        """Forget."""
        kept = self.take()
        if kept is not None:
            kept.close()

    def is_in_use(self, since: float) -> bool:
        """Whether something is remembered that was used after `since`; what was not is let go."""
        try:
            kept = self._entry[0]
        except IndexError:
            return False
        if kept.used >= since:
            return True
        self.clear()  # if it was replaced at this very moment, a fresh one goes: it is only a memory
        return False

    def __del__(self) -> None:
        self.clear()


_mutex = threading.RLock()
"""Guards the two below. Re-entrant, because a slot may be collected while its thread is in here."""
_slots: OrderedDict[int, weakref.ref[Slot]] = OrderedDict()
"""By identity, in the order of use; a store that is dropped takes its slot along."""
_sweeping = False


def _reset_in_child() -> None:
    # The child starts with an empty memory; the descriptors are its own copies.
    global _mutex, _sweeping
    _mutex = threading.RLock()
    for slot in list(_slots.values()):
        _clear(slot)
    _slots.clear()
    _sweeping = False


_forks.in_child(_reset_in_child)


def _clear(reference: weakref.ref[Slot]) -> None:
    slot = reference()
    if slot is not None:
        slot.clear()


def _register(slot: Slot) -> None:
    global _sweeping
    with _mutex:
        _slots[id(slot)] = weakref.ref(slot)
        _slots.move_to_end(id(slot))
        oldest = _slots.popitem(last=False)[1] if len(_slots) > _MOST else None
        start = not _sweeping
        _sweeping = True
    if oldest is not None:
        _clear(oldest)
    if start:
        try:
            _threads.start(_sweep)
        except RuntimeError:  # no thread to be had: then nothing may stay
            _sweeping = False
            slot.clear()


def _sweep() -> None:
    """Lives while something is remembered."""
    global _sweeping
    pause = threading.Event()
    while True:
        pause.wait(_IDLE_SECONDS / 2)
        since = time.monotonic() - _IDLE_SECONDS
        with _mutex:
            for key, reference in list(_slots.items()):
                slot = reference()
                if slot is None or not slot.is_in_use(since):
                    del _slots[key]
            if not _slots:
                _sweeping = False
                return
