"""Check and record, and what goes with it: one core for the sync and the async face.

Promise    Of all callers that check one key at the same time, whichever tasks, threads and processes they are, exactly
           one is told new as long as the file can be used. What cannot be recorded is never lost in silence.
How        Callers of one object wait for the first check of a key; checks of different objects and processes meet in
           the updates of the namespace's store, which are applied one after the other and committed in groups.
Does not   know whether the caller then handled the event: that is what claims are for (`claiming.py`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import attrs

from persistent_dedupe.claims_document import ClaimBook, ClaimsCodec
from persistent_dedupe.document import Document, Oddity, Pruned
from persistent_dedupe.document_codec import DocumentCodec, decode
from persistent_dedupe.keys import Location, ScopedKey, path_for, scope
from persistent_dedupe.leftovers import remove_leftovers
from persistent_dedupe.options import DedupeOptions
from persistent_dedupe.port import Port, StorePort
from persistent_dedupe.process_state import ProcessState, RunningCheck
from persistent_dedupe.reports import OnError
from persistent_dedupe.results import CheckResult, Entry, ImportReport
from persistent_dedupe.window import moment
from storewriter import CommitUncertain, ReentrantTurn, StoreCorrupt, StoreWriterError
from storewriter.codecs import DecodeError

__all__ = ["UNUSABLE", "Call", "Checking", "NamespaceFile"]

T = TypeVar("T")

UNUSABLE = (OSError, StoreWriterError)
"""What a file that cannot be used raises. `ReentrantTurn`, the caller's own mistake, is raised by `unusable`."""


@attrs.frozen
class NamespaceFile:
    """The stores of one namespace."""

    path: Path
    claims_path: Path
    keys: StorePort[Document]
    claims: StorePort[ClaimBook]


@attrs.frozen
class Call:
    """One call: whose key, when, and whom to tell of errors."""

    scoped: ScopedKey
    now: int
    """Milliseconds since the epoch."""
    on_error: OnError | None
    errors: list[tuple[str, Exception]] = attrs.field(factory=list[tuple[str, Exception]], init=False)
    """What went wrong with which file, told when the call no longer holds up anybody else."""


@attrs.frozen
class Found:
    """What an update of the namespace's store found and did."""

    is_new: bool
    seen_at: float
    pruned: Pruned
    oddities: tuple[Oddity, ...]


class Checking:
    """The core, over the surroundings that a face gives it."""

    def __init__(self, location: Location | None, options: DedupeOptions, port: Port) -> None:
        self.options = options
        self.port = port
        self.location = location
        self.window = options.window
        self._state = ProcessState(options)
        self._files: dict[str, NamespaceFile] = {}

    @property
    def state(self) -> ProcessState:
        """What this process knows."""
        if self._state.pid != os.getpid():
            self._state = ProcessState(self.options)
        return self._state

    def file(self, namespace: str) -> NamespaceFile | None:
        """The stores of a namespace; None if this object keeps its keys in memory only."""
        if self.location is None:
            return None
        file = self._files.get(namespace)
        if file is None:
            path = path_for(self.location, namespace)
            # No namespace has a file of this name: what follows a `~` there is a hash.
            claims_path = path.with_name(f"{path.stem}~claims.json")
            file = self._files[namespace] = NamespaceFile(
                path,
                claims_path,
                self.port.store(path, Document, DocumentCodec()),
                self.port.store(claims_path, ClaimBook, ClaimsCodec()),
            )
        return file

    def call(self, key: str, namespace: str | None, now: float | None, on_error: OnError | None) -> Call:
        """A call with its defaults filled in. Raises ValueError for an impossible time."""
        at = moment(self.options.clock() if now is None else now)
        return Call(scope(key, namespace), at, on_error or self.options.on_disk_error)

    # -- check and record

    async def check_and_record(self, call: Call) -> CheckResult:
        """Whether the key is new; if so it is recorded."""
        if not call.scoped.key:
            return self._blank(call)
        inherited: float | None = None
        while True:
            check, is_own = self.state.begin_check(call.scoped)
            if is_own:
                break
            end = await self.port.wait(check.latch, None)
            if end.result is not None:
                return self._coalesced(end.result)
            # The first caller went away without an answer. If it had found the key new, that answer is now ours.
            inherited = end.decided
        with self.telling(call):
            return await self._lead(call, check, inherited)

    def refuse_blank(self, call: Call) -> None:
        """Raise ValueError if the options say that a blank key is a mistake."""
        if self.options.blank_key == "error":
            msg = f"a blank key names no event (namespace {call.scoped.namespace!r})"
            raise ValueError(msg)

    def _blank(self, call: Call) -> CheckResult:
        self.refuse_blank(call)
        self.state.reports.count("new", "blank")
        return CheckResult(is_new=True, recorded=False)

    def _coalesced(self, first: CheckResult) -> CheckResult:
        self.state.reports.count("duplicates", "coalesced")
        return attrs.evolve(first, is_new=False, recorded=False)

    async def _lead(self, call: Call, check: RunningCheck, inherited: float | None) -> CheckResult:
        state = self.state
        check.decided = inherited
        try:
            result = await self._decide(call, check, inherited)
        except BaseException:
            state.end_check(call.scoped, check, None)
            raise
        state.end_check(call.scoped, check, result)
        return result

    async def _decide(self, call: Call, check: RunningCheck, inherited: float | None) -> CheckResult:
        state, scoped = self.state, call.scoped
        seen_at = state.recall(scoped, call.now)
        if seen_at is not None:
            state.reports.count("duplicates", "from_memory")
            return CheckResult(is_new=False, recorded=False, seen_at=seen_at / 1000)
        file = self.file(scoped.namespace)
        if file is None:
            state.remember(scoped, call.now, call.now)
            state.reports.count("new")
            return CheckResult(is_new=True, recorded=True, seen_at=call.now / 1000)
        started = time.monotonic()
        try:
            found = await self._record(file, call, check, inherited)
        except UNUSABLE as error:
            self.unusable(call, file.path, error)
            return self._unrecorded(call, check, error, time.monotonic() - started)
        return self._recorded(file, call, found, time.monotonic() - started)

    async def _record(self, file: NamespaceFile, call: Call, check: RunningCheck, inherited: float | None) -> Found:
        await self._sweep(file)
        key, now, window, limit = call.scoped.key, call.now, self.window, self.options.file_limit

        def record(document: Document) -> Found:
            seen_at = document.times.get(key)
            # What is noted in `check` is the one effect outside the state: harmless to repeat, and looked at only
            # if nobody gets the answer, or the save was uncertain.
            if seen_at is None or not window.is_recent(seen_at, now):
                check.decided, check.seen_at = now, None
                return Found(True, now, document.record(key, now, window, limit), document.oddities)
            if seen_at == inherited:
                return Found(True, seen_at, Pruned(), document.oddities)
            check.decided, check.seen_at = None, seen_at
            return Found(False, window.believed(seen_at, now), Pruned(), document.oddities)

        return await self.repairing(call, file.path, file.keys, lambda: file.keys.update(record, f"check {key[:40]!r}"))

    def _recorded(self, file: NamespaceFile, call: Call, found: Found, took: float) -> CheckResult:
        state, path, pruned = self.state, str(file.path), found.pruned
        state.remember(call.scoped, found.seen_at, call.now)
        reports = state.reports
        reports.count("new" if found.is_new else "duplicates")
        reports.oddities(path, found.oddities)
        reports.unexpected(path, "evicted", pruned.evicted, "%d keys had not expired and were pushed out of %s")
        reports.unexpected(path, "ahead", pruned.ahead, "%d times too far ahead were set to now in %s")
        return CheckResult(is_new=found.is_new, recorded=found.is_new, seen_at=found.seen_at / 1000, took=took)

    def _unrecorded(self, call: Call, check: RunningCheck, error: Exception, took: float) -> CheckResult:
        """Failing open: new, and in memory at least, unless the file that could not be flushed says otherwise."""
        state = self.state
        if isinstance(error, CommitUncertain) and check.seen_at is not None:
            state.remember(call.scoped, check.seen_at, call.now)
            state.reports.count("duplicates")
            return CheckResult(is_new=False, recorded=False, seen_at=check.seen_at / 1000, error=error, took=took)
        state.remember(call.scoped, call.now, call.now)
        state.reports.count("new", "unrecorded")
        return CheckResult(is_new=True, recorded=False, seen_at=call.now / 1000, error=error, took=took)

    # -- the other operations

    async def has_recent(self, call: Call) -> bool:
        """Whether the key is recent; records nothing."""
        if not call.scoped.key:
            return False
        with self.telling(call):
            return await self.is_recent(call)

    async def is_recent(self, call: Call) -> bool:
        """`has_recent` for a call whose errors are told elsewhere."""
        scoped = call.scoped
        if self.state.recall(scoped, call.now) is not None:
            return True
        file = self.file(scoped.namespace)
        if file is None:
            return False
        try:
            document = await file.keys.read()
        except UNUSABLE as error:
            self.unusable(call, file.path, error)
            return False
        seen_at = document.times.get(scoped.key)
        if seen_at is None or not self.window.is_recent(seen_at, call.now):
            return False
        self.state.remember(scoped, seen_at, call.now)
        return True

    async def warmup(self, call: Call) -> int:
        """Put the namespace's recent keys into memory; how many there are."""
        file = self.file(call.scoped.namespace)
        if file is None:
            return 0
        with self.telling(call):
            try:
                document = await file.keys.read()
            except UNUSABLE as error:
                self.unusable(call, file.path, error)
                return 0
        recent = self._recent(document, call.now)
        # The newest last, so that whatever memory has no room for is older than what it keeps.
        for key, seen_at in recent[-self.options.memory_limit :] if self.options.memory_limit else ():
            self.state.remember(ScopedKey(call.scoped.namespace, key), seen_at, call.now)
        self.state.reports.oddities(str(file.path), document.oddities)
        return len(recent)

    def _recent(self, document: Document, now: float) -> list[tuple[str, float]]:
        believed = ((key, self.window.believed(seen_at, now)) for key, seen_at in document.times.items())
        recent = [entry for entry in believed if self.window.is_recent(entry[1], now)]
        return sorted(recent, key=lambda entry: entry[1])

    async def forget(self, call: Call) -> bool:
        """Remove the key from memory and file; whether the file had it."""
        scoped = call.scoped
        if not scoped.key:
            return False
        self.state.forget(scoped)
        file = self.file(scoped.namespace)
        if file is None:
            return True
        with self.telling(call):
            try:
                return await self.repairing(
                    call,
                    file.path,
                    file.keys,
                    lambda: file.keys.update(lambda document: document.forget(scoped.key), "forget a key"),
                )
            except UNUSABLE as error:
                self.unusable(call, file.path, error)
                return False

    async def entries(self, call: Call) -> list[Entry]:
        """The keys of the namespace, newest first, the expired ones included. Raises what the file raises."""
        file = self.file(call.scoped.namespace)
        if file is None:
            return []
        document = await file.keys.read()
        self.state.reports.oddities(str(file.path), document.oddities)
        entries = [
            Entry(key=key, seen_at=seen_at / 1000, recent=self.window.is_recent(seen_at, call.now))
            for key, seen_at in document.times.items()
        ]
        return sorted(entries, key=lambda entry: entry.seen_at, reverse=True)

    async def import_file(self, call: Call, source: Path, remove: bool) -> ImportReport:
        """Merge another file of this format into the namespace. Raises StoreCorrupt, OSError; then nothing changed."""
        file = self.file(call.scoped.namespace)
        if file is None:
            msg = "an object without files cannot import one"
            raise ValueError(msg)
        found = await self.port.work(lambda: read_document(source))
        recent = dict(self._recent(found, call.now))

        def merge(document: Document) -> int:
            newer = {key: at for key, at in recent.items() if at > document.times.get(key, 0)}
            document.put(newer)
            return len(newer)

        imported = await file.keys.update(merge, f"import {source.name}")
        if remove:
            await self.port.work(source.unlink)
        return ImportReport(
            imported=imported,
            expired=len(found.times) - len(recent),
            invalid=len(found.kept),
            already_present=len(recent) - imported,
        )

    # -- what may go wrong

    @contextmanager
    def telling(self, call: Call) -> Generator[None]:
        """Report what goes wrong in the block once it is over, when the call no longer holds up anybody."""
        try:
            yield
        finally:
            errors = call.errors.copy()
            call.errors.clear()
            for path, error in errors:
                self.state.reports.failure(path, error)
            for _, error in errors:
                if call.on_error is not None:
                    call.on_error(error)

    def unusable(self, call: Call, path: Path, error: Exception) -> None:
        """A file could not be used: note it. Raises the error if this object does not fail open for it."""
        if isinstance(error, ReentrantTurn):
            raise error
        if all(error is not known for _, known in call.errors):
            call.errors.append((str(path), error))
        if self.options.failure == "closed":
            raise error
        if isinstance(error, StoreCorrupt) and self.options.on_bad_file == "raise":
            raise error

    async def repairing(
        self,
        call: Call,
        path: Path,
        store: StorePort[object],
        attempt: Callable[[], Awaitable[T]],
    ) -> T:
        """Run an update; if the file cannot be understood, do what the options say about a bad file."""
        try:
            return await attempt()
        except StoreCorrupt as error:
            if self.options.on_bad_file == "leave":
                raise
            call.errors.append((str(path), error))
            aside = await store.recover()
            if aside is not None:
                error.add_note(f"The file is now {aside}")
                self.state.reports.moved_aside(path, aside)
            if self.options.on_bad_file == "raise":
                raise
        return await attempt()

    async def _sweep(self, file: NamespaceFile) -> None:
        state, path = self.state, str(file.path)
        if path in state.swept:
            return
        state.swept.add(path)
        try:
            removed = await self.port.work(lambda: remove_leftovers(file.path))
        except OSError as error:
            state.reports.failure(path, error)  # a matter of tidiness: the check itself may still succeed
            return
        if removed:
            state.reports.count("leftovers", by=removed)


def read_document(path: Path) -> Document:
    """The document in a file that is no store of ours. Raises StoreCorrupt, OSError."""
    try:
        return decode(path.read_bytes())
    except DecodeError as error:
        msg = f"{path} cannot be read: {error.reason}. It was left as it is."
        raise StoreCorrupt(
            msg,
            path=str(path),
            reason=error.reason,
            line=error.line,
            column=error.column,
            position=error.position,
        ) from error
