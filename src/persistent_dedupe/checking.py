"""Check and record, look, forget, warm up, import: one core for the sync and the async class.

Promise    Of all callers that check one key at the same time, whichever tasks, threads and processes they are, exactly
           one gets new as long as the file can be used. A key that cannot be recorded is always reported.
How        Callers of one object wait for the first check of a key; checks of different objects and processes meet in
           the updates of the namespace's store, which are applied one after the other and committed in groups.
Does not   know whether the caller then handled the event: that is what claims are for (`claiming.py`).
"""

from __future__ import annotations

import time
from pathlib import Path

import attrs

from persistent_dedupe.context import UNUSABLE, Call, Context, NamespaceFile
from persistent_dedupe.document import Document, Sighting
from persistent_dedupe.document_codec import decode
from persistent_dedupe.keys import ScopedKey
from persistent_dedupe.location import remove_leftovers
from persistent_dedupe.process_state import RunningCheck
from persistent_dedupe.results import CheckResult, Entry, ImportReport
from storewriter import CommitUncertain, StoreCorrupt
from storewriter.codecs import DecodeError

__all__ = ["Checking", "Contents"]


class Checking:
    """Operations on single keys."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def check_and_record(self, call: Call) -> CheckResult:
        """Whether the key is new; if so it is recorded."""
        if not call.scoped.key:
            return self._blank(call)
        inherited: float | None = None
        while True:
            check, is_own = self._context.state.begin_check(call.scoped)
            if is_own:
                break
            end = await self._context.runner.wait(check.outcome, None)
            if end.result is not None:
                call.reports.count("duplicates", "coalesced")
                return attrs.evolve(end.result, is_new=False, recorded=False)
            # The first caller was cancelled or failed. If it had recorded the key as new, this caller gets that answer.
            inherited = end.decided
        with call.reporting_errors():
            return await self._lead(call, check, inherited)

    def _blank(self, call: Call) -> CheckResult:
        call.refuse_blank()
        call.reports.count("new", "blank")
        return CheckResult(is_new=True, recorded=False)

    async def _lead(self, call: Call, check: RunningCheck, inherited: float | None) -> CheckResult:
        state = self._context.state
        check.decided = inherited
        try:
            result = await self._decide(call, check, inherited)
        except BaseException:
            state.end_check(call.scoped, check, None)
            raise
        state.end_check(call.scoped, check, result)
        return result

    async def _decide(self, call: Call, check: RunningCheck, inherited: float | None) -> CheckResult:
        state, scoped = self._context.state, call.scoped
        seen_at = state.recall(scoped, call.now)
        if seen_at is not None:
            call.reports.count("duplicates", "from_memory")
            return CheckResult(is_new=False, recorded=False, seen_at=seen_at / 1000)
        file = self._context.file(scoped.namespace)
        if file is None:
            state.remember(scoped, call.now, call.now)
            call.reports.count("new")
            return CheckResult(is_new=True, recorded=True, seen_at=call.now / 1000)
        started = time.monotonic()
        try:
            found = await self._record(file, call, check, inherited)
        except UNUSABLE as error:
            call.unusable(file.path, error)
            return self._unrecorded(call, check, error, time.monotonic() - started)
        return self._recorded(file, call, found, time.monotonic() - started)

    async def _record(self, file: NamespaceFile, call: Call, check: RunningCheck, inherited: float | None) -> Sighting:
        await self._sweep(file, call)
        key, limit, window = call.scoped.key, call.options.file_limit, self._context.window

        def see(document: Document) -> Sighting:
            sighting = document.see(key, call.now, window, limit, inherited)
            check.note(sighting.is_new, sighting.seen_at)  # harmless to repeat
            return sighting

        return await call.repairing(file.path, file.keys, lambda: file.keys.update(see, f"check {key[:40]!r}"))

    def _recorded(self, file: NamespaceFile, call: Call, found: Sighting, took: float) -> CheckResult:
        path, reports = file.path, call.reports
        self._context.state.remember(call.scoped, found.seen_at, call.now)
        reports.count("new" if found.is_new else "duplicates")
        reports.anomalies(path, found.anomalies)
        reports.unexpected(path, "evicted", found.pruned.evicted, "%d keys had not expired and were pushed out of %s")
        reports.unexpected(path, "ahead", found.pruned.ahead, "%d times too far ahead were set to now in %s")
        return CheckResult(is_new=found.is_new, recorded=found.is_new, seen_at=found.seen_at / 1000, took=took)

    def _unrecorded(self, call: Call, check: RunningCheck, error: Exception, took: float) -> CheckResult:
        """Failing open: new, and in memory at least, unless the file that could not be flushed says otherwise."""
        state = self._context.state
        if isinstance(error, CommitUncertain) and check.seen_at is not None:
            state.remember(call.scoped, check.seen_at, call.now)
            call.reports.count("duplicates")
            return CheckResult(is_new=False, recorded=False, seen_at=check.seen_at / 1000, error=error, took=took)
        state.remember(call.scoped, call.now, call.now)
        call.reports.count("new", "unrecorded")
        return CheckResult(is_new=True, recorded=False, seen_at=call.now / 1000, error=error, took=took)

    async def has_recent(self, call: Call) -> bool:
        """Whether the key is recent; records nothing."""
        if not call.scoped.key:
            return False
        with call.reporting_errors():
            return await self.is_recent(call)

    async def is_recent(self, call: Call) -> bool:
        """`has_recent` for a call whose errors are reported elsewhere."""
        scoped = call.scoped
        if self._context.state.recall(scoped, call.now) is not None:
            return True
        file = self._context.file(scoped.namespace)
        if file is None:
            return False
        try:
            document = await file.keys.read()
        except UNUSABLE as error:
            call.unusable(file.path, error)
            return False
        seen_at = document.times.get(scoped.key)
        if seen_at is None or not self._context.window.is_recent(seen_at, call.now):
            return False
        self._context.state.remember(scoped, seen_at, call.now)
        return True

    async def forget(self, call: Call) -> bool:
        """Remove the key from memory and file; whether the file had it."""
        scoped = call.scoped
        if not scoped.key:
            return False
        file = self._context.file(scoped.namespace)
        try:
            return True if file is None else await self._forget_in(file, call)
        finally:
            # Last: another call may have read the file, and remembered the key, before it was removed there.
            self._context.state.forget(scoped)

    async def _forget_in(self, file: NamespaceFile, call: Call) -> bool:
        key = call.scoped.key
        with call.reporting_errors():
            try:
                return await call.repairing(
                    file.path, file.keys, lambda: file.keys.update(lambda keys: keys.forget(key), "forget a key")
                )
            except UNUSABLE as error:
                call.unusable(file.path, error)
                return False

    async def _sweep(self, file: NamespaceFile, call: Call) -> None:
        """Remove the temporary files that failed writes of OpenClaw have left; once for each file in a process."""
        path, swept = file.path, self._context.state.swept
        if not isinstance(path, Path) or path in swept:
            return
        swept.add(path)
        try:
            removed = await self._context.runner.work(lambda: remove_leftovers(path))
        except OSError as error:
            call.reports.failure(path, error)  # the check itself may still succeed
        else:
            call.reports.count("leftovers", by=removed)


class Contents:
    """Operations on whole namespaces."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def warmup(self, call: Call) -> int:
        """Put the namespace's recent keys into memory; how many there are."""
        context, namespace = self._context, call.scoped.namespace
        file = context.file(namespace)
        if file is None:
            return 0
        with call.reporting_errors():
            try:
                document = await file.keys.read()
            except UNUSABLE as error:
                call.unusable(file.path, error)
                return 0
        call.reports.anomalies(file.path, document.anomalies)
        recent = self._recent(document, call.now)
        # The newest last: if memory has not room for all, it keeps those.
        for key, seen_at in recent[max(0, len(recent) - context.options.memory_limit) :]:
            context.state.remember(ScopedKey(namespace, key), seen_at, call.now)
        return len(recent)

    async def entries(self, call: Call) -> list[Entry]:
        """The keys of the namespace, newest first, the expired ones included. Raises what the file raises."""
        file = self._context.file(call.scoped.namespace)
        if file is None:
            return []
        document = await file.keys.read()
        call.reports.anomalies(file.path, document.anomalies)
        window = self._context.window
        entries = [
            Entry(key=key, seen_at=seen_at / 1000, recent=window.is_recent(seen_at, call.now))
            for key, seen_at in document.times.items()
        ]
        return sorted(entries, key=lambda entry: entry.seen_at, reverse=True)

    async def import_file(self, call: Call, source: Path, remove: bool) -> ImportReport:
        """Merge another file of this format into the namespace. Raises StoreCorrupt, OSError; then nothing changed."""
        context = self._context
        file = context.file(call.scoped.namespace)
        if file is None:
            msg = "an object without files cannot import one"
            raise ValueError(msg)
        found = await context.runner.work(lambda: _read(source))
        recent = dict(self._recent(found, call.now))

        def merge(document: Document) -> int:
            newer = {key: at for key, at in recent.items() if at > document.times.get(key, 0)}
            document.put(newer)
            return len(newer)

        imported = await file.keys.update(merge, f"import {source.name}")
        if remove:
            await context.runner.work(source.unlink)
        return ImportReport(
            imported=imported,
            expired=len(found.times) - len(recent),
            invalid=len(found.kept),
            already_present=len(recent) - imported,
        )

    def _recent(self, document: Document, now: float) -> list[tuple[str, float]]:
        """The recent keys, oldest first, with the times that count (`Window.believed`)."""
        window = self._context.window
        believed = ((key, window.believed(seen_at, now)) for key, seen_at in document.times.items())
        return sorted((entry for entry in believed if window.is_recent(entry[1], now)), key=lambda entry: entry[1])


def _read(path: Path) -> Document:
    """The document in a file outside of the namespaces. Raises StoreCorrupt, OSError."""
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
