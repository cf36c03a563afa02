"""File descriptors that no interrupt can lose and no thread can close twice.

Promise    What was opened belongs to its `Descriptor` from the first instant. It is closed once: by `close`, or when
           nothing refers to the object any more.
How        CPython raises KeyboardInterrupt (and every other exception of a signal handler) where a function begins,
           where a loop jumps back, and when a call of something written in C has returned; what that call returned is
           lost then. Unpacking an iterator is no call: `(fd,) = map(os.open, ...)` opens and keeps the descriptor with
           no such place in between. So `open_function` must be written in C, like `os.open`; in a function in Python
           the descriptor could be lost. Deleting a key is no call either, and only one of two threads succeeds.
"""

from __future__ import annotations

import _thread
import os
from collections.abc import Callable, Iterator
from functools import partial
from operator import methodcaller
from typing import Final
from weakref import ref

_Key = ref["Descriptor"]

opened: dict[_Key, tuple[int, _Last]] = {}
"""Every descriptor that is open. The key is a weak reference to its owner, whose callback closes the number; beside the
number, a second one: an interrupt that arrives at the first instruction of a callback, where no `try` can catch it,
ends that callback, and then the older one is called. (A `__del__` would also run for those that were closed.)"""


def all_open() -> Iterator[Descriptor]:
    """Every descriptor that is open in this process now."""
    owners = [key() for key in list(opened)]
    return (owner for owner in owners if owner is not None)


def _close_lost(_: _Key | None) -> None:
    """Close what has no owner any more. The argument does not say what that is: two references are two keys."""
    for key in list(opened):
        if key() is not None:
            continue
        try:
            fd, last = opened[key]
            del opened[key]
        except KeyError:
            continue  # another thread was first
        last.start = bool  # nothing is left to do
        os.close(fd)


class _Last(ref["Descriptor"]):
    """A weak reference whose callback closes what is lost in a thread of its own, which no signal handler interrupts.

    The callback begins nothing of Python's in this thread, so no interrupt can come before the thread has started.
    """

    __slots__ = ("start",)

    start: Callable[[], object]


_start: Final = methodcaller("start")
"""Written in C, like what it calls."""
_close_in_thread: Final = partial(_thread.start_new_thread, _close_lost, (None,))


class Descriptor:
    """One descriptor at a time: not open, until `open` is called."""

    __slots__ = ("__weakref__", "_key", "fd")

    def __init__(self) -> None:
        self.fd = -1
        """Its number while it is open; -1, which every call refuses, while it is not."""
        self._key: _Key | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is something to close."""
        return self._key in opened

    def open(self, open_function: Callable[[str, int, int], int], path: str, flags: int, mode: int = 0o600) -> int:
        """Open a file with `open_function(path, flags, mode)` and return the descriptor. Raises what that raises.

        A descriptor that is open must be closed first.
        """
        last = _Last(self, _start)
        last.start = _close_in_thread
        key: _Key = ref(self, _close_lost)
        try:
            (fd,) = map(open_function, (path,), (flags,), (mode,))
        except ValueError as error:
            if "to unpack" not in str(error):
                raise
            # A signal handler, which os.open lets in while it waits, has raised StopIteration, which ends an iterator.
            msg = f"raised by a signal handler while {path} was opened"
            raise StopIteration(msg) from None
        opened[key] = fd, last
        self.fd = fd
        self._key = key
        return fd

    def close(self, close_function: Callable[[int], None] = os.close, *, quietly: bool = False) -> None:
        """Close it, if it is open. Raises OSError as close(2) does, unless errors of close do not matter (`quietly`).

        It is closed then, too.
        """
        key, fd = self._key, self.fd
        if key is None:
            return
        try:
            del opened[key]
        except KeyError:
            return  # another thread was first
        # Up to the call nothing can come between. Closed, it has no key, and so no callback when it ends.
        self._key = None
        self.fd = -1
        try:
            close_function(fd)
        except OSError as error:
            if error.errno is None or not quietly:
                raise


def read_whole(path: str) -> bytes:
    """The content of a file, say of /proc. Raises OSError. An interrupt leaves no descriptor open."""
    file = Descriptor()
    try:
        fd = file.open(os.open, path, os.O_RDONLY)
        return b"".join(iter(partial(os.read, fd, 1 << 16), b""))
    finally:
        file.close(quietly=True)
