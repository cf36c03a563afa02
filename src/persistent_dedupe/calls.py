"""One call of one operation: its key, its time, and what follows from errors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import attrs

from persistent_dedupe.keys import ScopedKey
from persistent_dedupe.options import DedupeOptions
from persistent_dedupe.port import StorePort
from persistent_dedupe.reports import OnError, Reports
from storewriter import ReentrantTurn, StoreCorrupt, StoreWriterError

__all__ = ["UNUSABLE", "Call"]

T = TypeVar("T")

UNUSABLE = (OSError, StoreWriterError)
"""What a file that cannot be used raises; `Call.unusable` says what follows."""


@attrs.frozen
class Call:
    """A call with its defaults filled in."""

    scoped: ScopedKey
    now: int
    """Milliseconds since the epoch."""
    on_error: OnError | None
    """Called with every error of a file."""
    options: DedupeOptions
    reports: Reports
    _errors: list[tuple[Path, Exception]] = attrs.field(factory=list[tuple[Path, Exception]], init=False)

    def refuse_blank(self) -> None:
        """Raise ValueError if the options say that a blank key is a mistake."""
        if self.options.blank_key == "error":
            msg = f"a blank key names no event (namespace {self.scoped.namespace!r})"
            raise ValueError(msg)

    def note(self, path: Path, error: Exception) -> None:
        """Keep an error until the call is over."""
        if all(error is not known for _, known in self._errors):
            self._errors.append((path, error))

    @contextmanager
    def telling(self) -> Generator[None]:
        """Report the errors of the block once it is over, when no other caller waits for it any more."""
        try:
            yield
        finally:
            errors = self._errors.copy()
            self._errors.clear()
            for path, error in errors:
                self.reports.failure(path, error)
            for _, error in errors:
                if self.on_error is not None:
                    self.on_error(error)

    def unusable(self, path: Path, error: Exception) -> None:
        """Note that a file could not be used. Raises the error if the options do not say to go on without it."""
        if isinstance(error, ReentrantTurn):
            raise error  # the caller's own mistake, and nothing of the file's
        self.note(path, error)
        if self.options.failure == "closed":
            raise error
        if isinstance(error, StoreCorrupt) and self.options.on_bad_file == "raise":
            raise error

    async def repairing(self, path: Path, store: StorePort[object], attempt: Callable[[], Awaitable[T]]) -> T:
        """Run an update; if the file cannot be decoded, do what the options say about a bad file."""
        try:
            return await attempt()
        except StoreCorrupt as error:
            if self.options.on_bad_file == "leave":
                raise
            self.note(path, error)
            aside = await store.recover()
            if aside is not None:
                error.add_note(f"The file is now {aside}")
                self.reports.moved_aside(path, aside)
            if self.options.on_bad_file == "raise":
                raise
        return await attempt()
