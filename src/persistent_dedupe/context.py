"""What the operations of one object share: its options, stores and state in this process; and one call of one."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import attrs

from persistent_dedupe.claims_document import ClaimBook, ClaimsCodec
from persistent_dedupe.document import Document
from persistent_dedupe.document_codec import DocumentCodec
from persistent_dedupe.keys import DEFAULT_NAMESPACE, Location, Place, ScopedKey, claims_place, is_url, place_of, scope
from persistent_dedupe.location import warn_of_database
from persistent_dedupe.options import DedupeOptions, moment
from persistent_dedupe.process_state import ProcessState
from persistent_dedupe.results import OnError, Reports
from persistent_dedupe.runner import Runner, StoreRunner
from storewriter import ReentrantTurn, StoreCorrupt, StoreWriterError

__all__ = ["UNUSABLE", "Call", "Context", "NamespaceFile"]


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
    _errors: list[tuple[Place, Exception]] = attrs.field(factory=list[tuple[Place, Exception]], init=False)

    def refuse_blank(self) -> None:
        """Raise ValueError if the options say that a blank key is a mistake."""
        if self.options.blank_key == "error":
            msg = f"a blank key names no event (namespace {self.scoped.namespace!r})"
            raise ValueError(msg)

    def note(self, path: Place, error: Exception) -> None:
        """Keep an error until the call is over."""
        if all(error is not known for _, known in self._errors):
            self._errors.append((path, error))

    @contextmanager
    def reporting_errors(self) -> Generator[None]:
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

    def unusable(self, path: Place, error: Exception) -> None:
        """Note that a file could not be used. Raises the error if the options do not say to go on without it."""
        if isinstance(error, ReentrantTurn):
            raise error  # a mistake of the caller, not a fault of the file
        self.note(path, error)
        if self.options.failure == "closed":
            raise error
        if isinstance(error, StoreCorrupt) and self.options.on_bad_file == "raise":
            raise error

    async def repairing(self, path: Place, store: StoreRunner[object], attempt: Callable[[], Awaitable[T]]) -> T:
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


@attrs.frozen
class NamespaceFile:
    """The two stores of one namespace, and how messages name them: by paths, or by names that are no URLs."""

    path: Place
    claims_path: Place
    keys: StoreRunner[Document]
    claims: StoreRunner[ClaimBook]


class Context:
    """Shared by the operations of one object."""

    def __init__(self, location: Location | None, options: DedupeOptions, runner: Runner) -> None:
        self.location = location
        self.options = options
        self.runner = runner
        self.window = options.window
        self._state = ProcessState(options)
        self._files: dict[str, NamespaceFile] = {}
        if is_url(location):
            self.file(DEFAULT_NAMESPACE)  # a URL that names no store is refused now

    @property
    def state(self) -> ProcessState:
        """What this process knows."""
        if self._state.pid != os.getpid():
            self._state = ProcessState(self.options)
        return self._state

    @property
    def shown_location(self) -> str:
        """The location, for messages: a URL without user and password."""
        if not isinstance(self.location, str) or not is_url(self.location):
            return repr(self.location)
        file = self.file(DEFAULT_NAMESPACE)
        return repr(str(file and file.path).removesuffix(DEFAULT_NAMESPACE))

    def call(self, key: str, namespace: str | None, now: float | None, on_error: OnError | None) -> Call:
        """A call with its defaults filled in. Raises ValueError for an impossible time."""
        at = moment(self.options.clock() if now is None else now)
        on_error = on_error or self.options.on_disk_error
        return Call(scope(key, namespace), at, on_error, self.options, self.state.reports)

    def file(self, namespace: str) -> NamespaceFile | None:
        """The stores of a namespace; None if this object keeps its keys in memory only."""
        if self.location is None:
            return None
        file = self._files.get(namespace)
        if file is None:
            place = place_of(self.location, namespace)
            beside = claims_place(place)
            if isinstance(place, Path):
                warn_of_database(place)
            keys = self.runner.store(place, Document, DocumentCodec(), has_neighbours=True)
            claims = self.runner.store(beside, ClaimBook, ClaimsCodec(), has_neighbours=False)
            file = self._files[namespace] = NamespaceFile(_shown(place, keys), _shown(beside, claims), keys, claims)
        return file


def _shown(place: Place, store: StoreRunner[Any]) -> Place:
    """A place without the password that its URL may hold."""
    return place if isinstance(place, Path) else store.path
