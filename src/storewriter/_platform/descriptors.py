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

import os
from collections.abc import Callable
from functools import partial
from weakref import ref

Key = ref["Descriptor"]

opened: dict[Key, int] = {}
"""Every descriptor that is open. The key is a weak reference to its owner, whose callback closes it. (A `__del__` would
also run for those that were closed, and swallow an interrupt that arrives in it.)"""


def _close_lost(key: Key) -> None:
    try:
        fd = opened[key]
        del opened[key]
    except (KeyError, TypeError):
        return  # it was never opened: KeyError; and its key, never used, cannot be looked up any more: TypeError
    os.close(fd)


class Descriptor:
    """One descriptor at a time: not open, until `open` is called."""

    fd = -1
    """Its number while it is open; -1, which every call refuses, while it is not."""
    _key: Key | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is something to close."""
        return self._key in opened

    def open(self, open_function: Callable[[str, int, int], int], path: str, flags: int, mode: int = 0o600) -> int:
        """Open a file with `open_function(path, flags, mode)` and return the descriptor. Raises what that raises.

        A descriptor that is open must be closed first.
        """
        for other in tuple(opened):
            if other() is None:
                _close_lost(other)  # its callback was interrupted before it could do anything
        key: Key = ref(self, _close_lost)
        (fd,) = map(open_function, (path,), (flags,), (mode,))
        self.fd = opened[key] = fd
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
            return  # another thread was first, or the process is a forked child, in which it has been closed
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
