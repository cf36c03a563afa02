"""Being woken when something happens to a file's name: inotify(7), on Linux.

Promise    After `aim(path)` has returned, `fileno()` becomes readable when another file takes the name, when a program
           that wrote into the file closes it, when it is removed, and when its folder comes, goes or moves. Several
           events may be reported as one; one that concerns another name may wake without cause.
How        The folder is watched, not the file: a replaced document is another file under the same name. While the
           folder does not exist, the nearest one above it is watched for its coming. The kernel's own descriptor is
           waited for: no thread.
Does not   report writes through a memory map, writes by other machines on a network file system, and a folder above
           being moved: the caller checks now and then all the same.
Fails by   OSError from `open_events` and `aim` when the kernel gives no more watches; then only looking is left.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from typing import Any, Final

from storewriter._platform.linux_calls import c_library, last_error

__all__ = ["FolderEvents", "open_events"]


def open_events() -> FolderEvents | None:
    """The events of this system; None if there are none. Raises OSError when the kernel gives no more."""
    library = c_library()
    return FolderEvents(library) if hasattr(library, "inotify_init1") else None


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
_AIM_AGAIN: Final = _FOLDER_ITSELF | _UNMOUNT | _IGNORED

_HEADER: Final = struct.Struct("iIII")
_BUFFER: Final = 64 * 1024
_TRIES: Final = 64
"""Times that a chain of folders may change while we aim, before it is called an error."""


class FolderEvents:
    """Events of one name in one folder."""

    __slots__ = ("_fd", "_library", "_name", "_watch")

    def __init__(self, library: Any) -> None:
        self._library = library
        self._watch = -1
        self._name = b""
        self._fd = -1
        fd: int = library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if fd < 0:
            code = last_error()
            raise OSError(code, os.strerror(code))
        self._fd = fd

    def fileno(self) -> int:
        """Readable when something may have happened."""
        return self._fd

    def aim(self, path: str) -> None:
        """Listen for this path from now on; cheap to call again, and must be when the folder may have changed."""
        for _ in range(_TRIES):
            folder, name = _nearest_folder(path)
            if not self._watch_folder(folder, _IN_FOLDER if folder == os.path.dirname(path) else _ABOVE):
                continue
            self._name = os.fsencode(name)
            # A folder that came before its watch has caused no event; one that goes later will cause one.
            if _nearest_folder(path) == (folder, name):
                return
        raise OSError(errno.EAGAIN, "the folders above keep changing", path)

    def _watch_folder(self, folder: str, mask: int) -> bool:
        """Watch it in place of the one before. False if it is gone already."""
        # The same folder gets the same number again.
        watch: int = self._library.inotify_add_watch(self._fd, os.fsencode(folder), mask)
        if watch < 0:
            code = last_error()
            if code in (errno.ENOENT, errno.ENOTDIR):
                return False
            raise OSError(code, os.strerror(code), folder)
        if watch != self._watch:
            self._library.inotify_rm_watch(self._fd, self._watch)  # has an end of its own if that folder is gone
            self._watch = watch
        return True

    def heard(self) -> bool:
        """Take what has been reported since the last call; whether anything of it may concern the path."""
        concerns = False
        for watch, mask, name in self._read():
            if mask & _Q_OVERFLOW or (watch == self._watch and (mask & _AIM_AGAIN or name == self._name)):
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
        """Give back the descriptor. May be called again."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _nearest_folder(path: str) -> tuple[str, str]:
    """The nearest folder above `path` that exists, and the next name on the way down."""
    folder, name = os.path.split(path)
    while not os.path.isdir(folder) and folder != os.path.dirname(folder):
        folder, name = os.path.split(folder)
    return folder, name
