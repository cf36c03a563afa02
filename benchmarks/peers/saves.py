"""A durable save in the fewest system calls, three ways: what is flushed while others wait, and what after."""

import ctypes
import os
from collections.abc import Callable
from pathlib import Path

import attrs

WAIT_BEFORE, WRITE, WAIT_AFTER = 1, 2, 4
"""Of sync_file_range(2)."""

AfterRelease = Callable[[], object]
"""What is left to do once the lock is free, and before the update is acknowledged."""

_sync_file_range = ctypes.CDLL(None, use_errno=True).sync_file_range
_sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]


@attrs.frozen
class Place:
    """Where a document is saved: its folder is kept open, and the temporary name is fixed."""

    path: Path
    durable: bool
    folder: int

    @classmethod
    def of(cls, path: Path, *, durable: bool) -> "Place":
        return cls(path, durable, os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))

    def written(self, data: bytes) -> int:
        """Write a temporary file, and return it open."""
        file = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        written = os.write(file, data)
        if written != len(data):
            raise OSError(f"wrote {written} of {len(data)} bytes")
        return file

    def rename(self) -> None:
        os.rename(self._temporary, self.path)

    def flush_and_close(self, file: int) -> None:
        if self.durable:
            os.fsync(file)
        os.close(file)

    def close(self) -> None:
        os.close(self.folder)

    @property
    def _temporary(self) -> str:
        return f"{self.path}.tmp"


Save = Callable[[Place, bytes], AfterRelease]


def two_flushes(place: Place, data: bytes) -> AfterRelease:
    """File and folder are flushed inside the lock."""
    flush_folder = folder_after(place, data)
    flush_folder()
    return nothing


def folder_after(place: Place, data: bytes) -> AfterRelease:
    """The file is flushed inside the lock, the folder after the release."""
    file = place.written(data)
    if place.durable:
        os.fsync(file)
    os.close(file)
    place.rename()
    return (lambda: os.fsync(place.folder)) if place.durable else nothing


def one_flush(place: Place, data: bytes) -> AfterRelease:
    """The data is written and waited for inside the lock; one flush of the file after the release.

    Safe over a document that existed, on ext4 and xfs: the commit of the flush carries data, file and name together.
    """
    file = place.written(data)
    if place.durable:
        wait_for_data(file)
    place.rename()
    return lambda: place.flush_and_close(file)


def nothing() -> None:
    """Nothing is left to do."""


def wait_for_data(file: int) -> None:
    """Have the data written, and wait for it: without a flush of the device, and without a commit of the journal."""
    if _sync_file_range(file, 0, 0, WAIT_BEFORE | WRITE | WAIT_AFTER):
        raise OSError(ctypes.get_errno(), "sync_file_range failed")
