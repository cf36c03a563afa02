"""What the operations of one object share: its options, stores and state in this process; and one call of one."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any, TypeVar

import attrs

from persistent_dedupe import claims_document
from persistent_dedupe.claims_document import ClaimBook
from persistent_dedupe.document import Document, DocumentCodec
from persistent_dedupe.keys import DEFAULT_NAMESPACE, Location, Place, ScopedKey, claims_place, is_url, place_of, scope
from persistent_dedupe.openclaw import queue_for, warn_of_database
from persistent_dedupe.options import DedupeOptions, moment
from persistent_dedupe.results import OnError
from persistent_dedupe.runner import Runner, StoreRunner
from persistent_dedupe.state import ProcessState
from storewriter import PerStoreWriterQueue, ReentrantTurn, StoreCorrupt, StoreWriterError, UnknownVersion

__all__ = ["UNUSABLE", "Call", "Context", "NamespaceFile"]


T = TypeVar("T")

UNUSABLE = (OSError, StoreWriterError)
"""What a file that cannot be used raises; `Call.unusable` says what follows."""


@attrs.frozen
class NamespaceFile:
    """The two stores of one namespace."""

    keys: StoreRunner[Document]
    claims: StoreRunner[ClaimBook]


class Context:
    """Shared by the operations of one object."""

    def __init__(self, location: Location | None, options: DedupeOptions, *, is_for_tasks: bool) -> None:
        self.location = location
        self.options = options
        self.runner = Runner(options, is_for_tasks)
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
        file = self.file(DEFAULT_NAMESPACE) if is_url(self.location) else None
        return repr(self.location if file is None else str(file.keys.path).removesuffix(DEFAULT_NAMESPACE))

    def call(self, key: str, namespace: str | None, now: float | None = None, on_error: OnError | None = None) -> Call:
        """A call with its defaults filled in. Raises ValueError for an impossible time."""
        at = moment(self.options.clock() if now is None else now)
        return Call(self, scope(key, namespace), at, on_error or self.options.on_disk_error)

    def file(self, namespace: str) -> NamespaceFile | None:
        """The stores of a namespace; None if this object keeps its keys in memory only."""
        if self.location is None:
            return None
        file = self._files.get(namespace)
        if file is None:
            place = place_of(self.location, namespace)
            warn_of_database(place)
            keys = self.runner.store(place, Document, DocumentCodec(), queue_for(place, self.options))
            # A file that OpenClaw does not know.
            queue = self.options.queue or PerStoreWriterQueue(timeout=self.options.timeout)
            claims = self.runner.store(claims_place(place), claims_document.empty, claims_document.CODEC, queue)
            file = self._files[namespace] = NamespaceFile(keys, claims)
        return file


@attrs.frozen
class Call:
    """A call with its defaults filled in."""

    context: Context
    scoped: ScopedKey
    now: int
    """Milliseconds since the epoch."""
    on_error: OnError | None
    """Called with every error of a file."""
    _errors: list[tuple[Place, Exception]] = attrs.field(factory=list[tuple[Place, Exception]], init=False)

    @property
    def state(self) -> ProcessState:
        """What this process knows."""
        return self.context.state

    @property
    def file(self) -> NamespaceFile | None:
        """The stores of the namespace; None if there are none."""
        return self.context.file(self.scoped.namespace)

    def is_recent(self, seen_at: float) -> bool:
        """Whether a key seen then still counts."""
        return self.context.window.is_recent(seen_at, self.now)

    def remember(self, seen_at: float) -> None:
        """Put the first sighting of the key into memory."""
        self.state.memory.remember(self.scoped, seen_at, self.now)

    def report_anomalies(self, path: Place, document: Document, keys: Iterable[str]) -> None:
        """Report what is odd in a document that was read, the times of these keys included."""
        self.state.reports.anomalies(path, document.noticed(keys, self.now, self.context.window))

    def refuse_blank(self) -> None:
        """Raise ValueError if the options say that a blank key is a mistake."""
        if self.context.options.blank_key == "error":
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
                self.state.reports.failure(path, error)
            for _, error in errors:
                if self.on_error is not None:
                    self.on_error(error)

    def unusable(self, path: Place, error: Exception) -> None:
        """Note that a file could not be used. Raises the error if the options do not say to go on without it."""
        if isinstance(error, ReentrantTurn):
            raise error  # a mistake of the caller, not a fault of the file
        self.note(path, error)
        options = self.context.options
        if options.failure == "closed" or (options.on_bad_file == "raise" and _is_bad(error)):
            raise error

    async def repairing(self, store: StoreRunner[Any], update: Callable[[], Awaitable[T]]) -> T:
        """Run an update; if the file cannot be decoded, do what the options say about a bad file."""
        on_bad_file = self.context.options.on_bad_file
        try:
            return await update()
        except StoreCorrupt as error:
            if on_bad_file == "leave" or not _is_bad(error):
                raise
            self.note(store.path, error)
            aside = await store.set_aside()
            if aside is not None:
                error.add_note(f"The file is now {aside}")
                self.state.reports.moved_aside(store.path, aside)
            if on_bad_file == "raise":
                raise
        return await update()


def _is_bad(error: Exception) -> bool:
    """Whether an error says that a file cannot be understood; one of a later version is understood by others."""
    return isinstance(error, StoreCorrupt) and not isinstance(error.__cause__, UnknownVersion)
