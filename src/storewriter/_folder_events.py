"""Being woken when something happens to a file's name: inotify on Linux, watchfiles elsewhere (extra `watch`).

Promise    After `aim(path)` has returned, `fileno()` becomes readable when another file takes the name, when a program
           that wrote into the file closes it, when it is removed, and when its folder comes, goes or moves. Several
           happenings may be one event; one that concerns another name may wake without cause.
How        The folder is watched, not the file: a replaced document is another file under the same name. While the
           folder does not exist, the nearest one above it is watched for its coming.
Does not   tell of writes through a memory map, of writes by other machines on a network file system, of a folder above
           being moved: whoever waits looks now and then all the same.
Fails by   OSError from `open_events` and `aim` when the kernel gives no more watches; then only looking is left.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

__all__ = ["Bell", "FolderEvents", "open_events"]


class FolderEvents(Protocol):
    """Events of one name in one folder."""

    has_thread: bool
    """Whether `close` may wait a moment for a thread."""

    def fileno(self) -> int:
        """Readable when something may have happened."""
        ...

    def aim(self, path: str) -> None:
        """Listen for this path from now on; cheap to call again, and must be when the folder may have changed."""
        ...

    def heard(self) -> bool:
        """Take what has been reported since the last call; whether anything of it may concern the path."""
        ...

    def close(self) -> None:
        """Give back descriptors and threads. May be called again."""
        ...


def open_events() -> FolderEvents | None:
    """The events of this system; None if there are none. Raises OSError when the kernel gives no more."""
    if sys.platform == "linux":
        library = _load_inotify()
        if library is not None:
            return Inotify(library)
    return _open_watchfiles()


class Bell:
    """A descriptor that any thread can make readable."""

    __slots__ = ("_hears", "_rings")

    def __init__(self) -> None:
        self._hears, self._rings = socket.socketpair()
        self._hears.setblocking(False)
        self._rings.setblocking(False)

    def fileno(self) -> int:
        """See the class."""
        return self._hears.fileno()

    def ring(self) -> None:
        """Make it readable."""
        with contextlib.suppress(BlockingIOError, OSError):  # full: it is readable already; closed: nobody listens
            self._rings.send(b"\0")

    def heard(self) -> bool:
        """Whether it has rung since the last call."""
        with contextlib.suppress(BlockingIOError):
            return bool(self._hears.recv(4096))
        return False

    def close(self) -> None:
        """Give back the descriptors."""
        self._hears.close()
        self._rings.close()


# inotify(7)
_CLOSE_WRITE: Final = 0x8
_MOVED_FROM: Final = 0x40
_MOVED_TO: Final = 0x80
_CREATE: Final = 0x100
_DELETE: Final = 0x200
_DELETE_SELF: Final = 0x400
_MOVE_SELF: Final = 0x800
_UNMOUNT: Final = 0x2000
_Q_OVERFLOW: Final = 0x4000
_IGNORED: Final = 0x8000
_ONLYDIR: Final = 0x0100_0000

_FOLDER_ITSELF: Final = _DELETE_SELF | _MOVE_SELF
# Not _CREATE nor _MODIFY: a program that writes into the file is not done before it closes it.
_IN_FOLDER: Final = _CLOSE_WRITE | _MOVED_TO | _MOVED_FROM | _DELETE | _FOLDER_ITSELF | _ONLYDIR
_ABOVE: Final = _CREATE | _MOVED_TO | _FOLDER_ITSELF | _ONLYDIR
_AIM_AGAIN: Final = _FOLDER_ITSELF | _UNMOUNT | _Q_OVERFLOW | _IGNORED

_HEADER: Final = struct.Struct("iIII")
_BUFFER: Final = 64 * 1024
_TRIES: Final = 64
"""Times that a chain of folders may change under us while we aim, before it is called an error."""


class Inotify:
    """The kernel's own events: a descriptor, and no thread. See `FolderEvents`."""

    __slots__ = ("_aimed", "_fd", "_library", "_name", "_watch")

    has_thread = False

    def __init__(self, library: Any) -> None:
        import ctypes

        self._fd = -1
        self._library = library
        fd: int = library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if fd < 0:
            _raise(ctypes.get_errno(), None)
        self._fd = fd
        self._watch = -1
        self._name = b""
        self._aimed: tuple[object, ...] | None = None

    def fileno(self) -> int:
        """See `FolderEvents`."""
        return self._fd

    def aim(self, path: str) -> None:
        """See `FolderEvents`."""
        for _ in range(_TRIES):
            level, below = _nearest_folder(path)
            aimed = (path, level, *_identity(level))
            if aimed == self._aimed:
                return
            if not self._watch_folder(level, _IN_FOLDER if level == os.path.dirname(path) else _ABOVE):
                continue
            self._name = os.fsencode(below)
            # What came to be while we aimed has been reported to nobody.
            if _nearest_folder(path) == (level, below) and (path, level, *_identity(level)) == aimed:
                self._aimed = aimed
                return
        raise OSError(errno.EAGAIN, "the folders above keep changing", path)

    def _watch_folder(self, folder: str, mask: int) -> bool:
        """False if the folder is gone already."""
        import ctypes

        old, self._watch, self._aimed = self._watch, -1, None
        if old >= 0:
            self._library.inotify_rm_watch(self._fd, old)
        watch: int = self._library.inotify_add_watch(self._fd, os.fsencode(folder), mask)
        if watch < 0:
            code = ctypes.get_errno()
            if code in (errno.ENOENT, errno.ENOTDIR):
                return False
            _raise(code, folder)
        self._watch = watch
        return True

    def heard(self) -> bool:
        """See `FolderEvents`."""
        concerns = False
        for watch, mask, name in self._read():
            if mask & _Q_OVERFLOW or (watch == self._watch and mask & _AIM_AGAIN):
                self._aimed = None
                concerns = True
            elif watch == self._watch and name == self._name:
                concerns = True
        return concerns

    def _read(self) -> Iterator[tuple[int, int, bytes]]:
        while True:
            try:
                data = os.read(self._fd, _BUFFER)
            except BlockingIOError:
                return
            at = 0
            while at < len(data):
                watch, mask, _, size = _HEADER.unpack_from(data, at)
                at += _HEADER.size + size
                yield watch, mask, data[at - size : at].rstrip(b"\0")

    def close(self) -> None:
        """See `FolderEvents`."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _raise(code: int, path: str | None) -> None:
    raise OSError(code, os.strerror(code), path)


def _nearest_folder(path: str) -> tuple[str, str]:
    """The nearest folder above `path` that exists, and the next name on the way down."""
    level, below = os.path.split(path)
    while not os.path.isdir(level) and level != os.path.dirname(level):
        level, below = os.path.split(level)
    return level, below


def _identity(folder: str) -> tuple[int, int]:
    try:
        found = os.stat(folder)
    except OSError:
        return (-1, -1)
    return (found.st_dev, found.st_ino)


_inotify: Any = None


def _load_inotify() -> Any:
    """The C library, if it has inotify; loaded at first use, because ctypes costs milliseconds."""
    global _inotify
    if _inotify is None:
        import ctypes

        library = ctypes.CDLL(None, use_errno=True)
        _inotify = library if hasattr(library, "inotify_init1") else False
    return _inotify or None


_STEP_MS: Final = 50
"""How often watchfiles hands over what it has heard, and looks whether it shall stop."""


class Watchfiles:
    """The events of macOS and others through watchfiles, in a thread of its own. See `FolderEvents`.

    What happens between `aim` and the thread's first moment may be missed: whoever waits looks now and then.
    """

    __slots__ = ("_aimed", "_bell", "_stop", "_thread", "_watch")

    has_thread = True

    def __init__(self, watch: Callable[..., Any]) -> None:
        self._watch = watch
        self._bell = Bell()
        self._aimed: tuple[object, ...] | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def fileno(self) -> int:
        """See `FolderEvents`."""
        return self._bell.fileno()

    def aim(self, path: str) -> None:
        """See `FolderEvents`."""
        level, _ = _nearest_folder(path)
        aimed = (path, level, *_identity(level))
        if aimed == self._aimed:
            return
        self._end_thread()
        self._aimed = aimed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, args=(level, self._stop), daemon=True)
        self._thread.start()

    def _listen(self, folder: str, stop: threading.Event) -> None:
        try:
            for _ in self._watch(
                folder,
                watch_filter=None,
                recursive=False,
                stop_event=stop,
                step=_STEP_MS,
                debounce=4 * _STEP_MS,
                raise_interrupt=False,
            ):
                self._bell.ring()
        except OSError:
            # The folder went before it could be watched: aimed again at the next look.
            self._aimed = None
            self._bell.ring()

    def heard(self) -> bool:
        """See `FolderEvents`."""
        return self._bell.heard()

    def close(self) -> None:
        """See `FolderEvents`."""
        self._end_thread()
        self._bell.close()

    def _end_thread(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stop.set()
            thread.join()


def _open_watchfiles() -> Watchfiles | None:
    try:
        from watchfiles import watch
    except ImportError:
        return None
    return Watchfiles(watch)
