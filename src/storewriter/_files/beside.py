"""What lies beside a document in its folder: lock files, temporary files, markers, backups, documents set aside."""

from __future__ import annotations

import os
import time

import attrs

from storewriter._files.keys import auxiliary

__all__ = ["Beside", "beside", "time_text"]


@attrs.frozen
class Beside:
    """A file that a store keeps beside its document."""

    path: str
    use: str
    """What it is: `a backup`, `the temporary file`."""
    size: int
    modified: float

    def __str__(self) -> str:
        """Its name, its use, its size and when it was written."""
        name = os.path.basename(self.path)
        return f"{name}: {self.use}, {self.size} bytes, of {time_text(self.modified)}"


def beside(path: str) -> list[Beside]:
    """The files that belong to the store at a canonical path, in the order of their names. Raises OSError."""
    folder = os.path.dirname(path)
    found: list[Beside] = []
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    for name in names:
        owner = auxiliary(os.path.join(folder, name))
        if owner is None or owner[0] != path:
            continue
        try:
            stat = os.lstat(os.path.join(folder, name))
        except FileNotFoundError:
            continue  # removed meanwhile
        found.append(Beside(os.path.join(folder, name), owner[1], stat.st_size, stat.st_mtime))
    return found


def time_text(seconds: float) -> str:
    """A moment, in local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
