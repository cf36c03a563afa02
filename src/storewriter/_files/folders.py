"""The folders above a store: made where they are missing, and their names made durable.

Promise    Every folder that is made is private (0700), whatever the umask.
Fails by   OSError.
"""

from __future__ import annotations

import contextlib
import os

from storewriter._platform.descriptors import Descriptor
from storewriter._platform.system import DIRECTORY, NO_FOLDER_FLUSH, System


def folder_of(path: str) -> str:
    """The folder that a path is in."""
    return path.rsplit(os.sep, 1)[0] or os.sep


def make_folders(path: str, system: System) -> None:
    """Create the folders above `path` that are missing, every one of them 0700, whatever the umask. Raises OSError.

    `os.makedirs(mode=)` gives the mode to the last level only, the others get the umask's. Their names are flushed by
    the first commit that relies on them (`flush_folder_names`), whichever process made them.
    """
    folder = folder_of(path)
    missing: list[str] = []
    while folder and not os.path.isdir(folder):
        missing.append(folder)
        folder = folder.rsplit(os.sep, 1)[0]
    for level in reversed(missing):
        with contextlib.suppress(FileExistsError):  # another process was faster
            system.mkdir(level, 0o700)
        if system.lstat(level).st_mode & 0o700 != 0o700:
            system.chmod(level, 0o700)  # a umask that takes rights from the owner


def flush_folder_names(folder: str, system: System) -> None:
    """Before the first document in a folder: make the names of the folders above it survive a power cut, too.

    The process that made them may have been killed before it flushed them: their existence proves nothing. All folders
    that `make_folders` makes are private (0700), and it makes them below one that was there. So: as long as a folder is
    private, flush the one that it has its name in, and go on from there.
    """
    while True:
        found = system.lstat(folder)
        above = folder_of(folder)
        if found.st_mode & 0o777 != 0o700 or above == folder:
            return
        parent = Descriptor()
        try:
            parent.open(system.open, above, os.O_RDONLY | DIRECTORY, 0)
            if system.fstat(parent.fd).st_dev != found.st_dev:
                return  # a mount point: it was not made by making a folder
            flush_folder(parent.fd, system)
        except PermissionError:
            if parent.is_open or system.writable(above):
                raise
            return  # a process that is not let in there cannot have made a folder in it
        finally:
            parent.close(system.close, quietly=True)
        folder = above


def flush_folder(folder: int, system: System) -> None:
    """Flush an open folder, where there is such a thing."""
    try:
        system.flush_folder(folder)
    except OSError as error:
        if error.errno not in NO_FOLDER_FLUSH:
            raise
