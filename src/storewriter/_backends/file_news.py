"""The changes of a file, for one watcher: `FileNews`.

How        Events (inotify, on Linux) only say that it is worth looking. A look is one stat(2); the file is read if that
           shows another file or other times, or is so new that a coarse clock could hide another change behind it.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

from storewriter import events
from storewriter._backends.protocol import Loaded
from storewriter._files.folder_events import FolderEvents, open_events

if TYPE_CHECKING:
    from storewriter._backends.files import FileBackend

__all__ = ["FileNews"]

_COARSE_CLOCK_SECONDS: Final = 2.5
"""Seconds after which a stat that has not changed is trusted. The coarsest clock of a file system counts in steps of
two seconds (FAT)."""


class FileNews:
    """See `News`."""

    __slots__ = ("_backend", "_events", "_observed", "_observed_since")

    def __init__(self, backend: FileBackend, *, events: bool) -> None:
        self._backend = backend
        self._observed: tuple[int, ...] | None = None
        self._observed_since = time.monotonic()
        self._events: FolderEvents | None = None
        if events:
            try:
                self._events = open_events()
            except OSError as error:
                self._do_without(error)

    def look(self, *, must_load: bool) -> Loaded | None:
        """See `News`."""
        listening, path = self._events, self._backend.path
        if listening is not None:
            try:
                listening.aim(path)
            except OSError as error:
                self._do_without(error)
        try:
            observed: tuple[int, ...] | None = _identity(os.lstat(path))
        except OSError:
            observed = None  # absent, or another error: the load raises what applies
        now = time.monotonic()
        if observed != self._observed:
            self._observed, self._observed_since = observed, now
        elif now - self._observed_since > _COARSE_CLOCK_SECONDS and not must_load:
            return None
        return self._backend.look()

    def _do_without(self, error: OSError) -> None:
        """The user's inotify instances or watches are used up: looking alone is slower, and as right."""
        events.log.info("%s is watched without events: %s", self._backend.path, error)
        self.close()

    def fileno(self) -> int | None:
        """See `News`."""
        return None if self._events is None else self._events.fileno()

    def heard(self) -> bool:
        """See `News`."""
        return self._events is not None and self._events.heard()

    def close(self) -> None:
        """See `News`."""
        listening, self._events = self._events, None
        if listening is not None:
            listening.close()


def _identity(found: os.stat_result) -> tuple[int, ...]:
    """What stays the same while a document is the same file with the same content."""
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
