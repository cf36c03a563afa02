"""Check and record, and what goes with it: one core for the sync and the async face.

Promise    Of all callers that check one key at the same time, whichever tasks, threads and processes they are, exactly
           one gets new as long as the file can be used. A key that cannot be recorded is always reported.
How        Callers of one object wait for the first check of a key; checks of different objects and processes meet in
           the updates of the namespace's store, which are applied one after the other and committed in groups.
Does not   know whether the caller then handled the event: that is what claims are for (`claiming.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable

import attrs

from persistent_dedupe.calls import UNUSABLE, Call
from persistent_dedupe.document import Document, Oddity, Sighting
from persistent_dedupe.ground import Ground, NamespaceFile
from persistent_dedupe.leftovers import remove_leftovers
from persistent_dedupe.process_state import RunningCheck
from persistent_dedupe.results import CheckResult
from storewriter import CommitUncertain

__all__ = ["Checking"]


@attrs.frozen
class Found:
    """What an update of the namespace's store found and did: a `Sighting` with names."""

    is_new: bool
    seen_at: float
    expired: int
    evicted: int
    ahead: int
    oddities: tuple[Oddity, ...]


class Checking:
    """Operations on single keys."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    async def check_and_record(self, call: Call) -> CheckResult:
        """Whether the key is new; if so it is recorded."""
        if not call.scoped.key:
            return self._blank(call)
        inherited: float | None = None
        while True:
            check, is_own = self._ground.state.begin_check(call.scoped)
            if is_own:
                break
            end = await self._ground.port.wait(check.latch, None)
            if end.result is not None:
                call.reports.count("duplicates", "coalesced")
                return attrs.evolve(end.result, is_new=False, recorded=False)
            # The first caller went away without an answer. If it had found the key new, that answer is now ours.
            inherited = end.decided
        with call.telling():
            return await self._lead(call, check, inherited)

    def _blank(self, call: Call) -> CheckResult:
        call.refuse_blank()
        call.reports.count("new", "blank")
        return CheckResult(is_new=True, recorded=False)

    async def _lead(self, call: Call, check: RunningCheck, inherited: float | None) -> CheckResult:
        state = self._ground.state
        check.decided = inherited
        try:
            result = await self._decide(call, check, inherited)
        except BaseException:
            state.end_check(call.scoped, check, None)
            raise
        state.end_check(call.scoped, check, result)
        return result

    async def _decide(self, call: Call, check: RunningCheck, inherited: float | None) -> CheckResult:
        state, scoped = self._ground.state, call.scoped
        seen_at = state.recall(scoped, call.now)
        if seen_at is not None:
            call.reports.count("duplicates", "from_memory")
            return CheckResult(is_new=False, recorded=False, seen_at=seen_at / 1000)
        file = self._ground.file(scoped.namespace)
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

    async def _record(self, file: NamespaceFile, call: Call, check: RunningCheck, inherited: float | None) -> Found:
        await self._sweep(file, call)
        window = self._ground.window
        change = _seeing(
            call.scoped.key,
            call.now,
            window.ttl_ms,
            window.tolerance_ms,
            call.options.file_limit,
            inherited,
            lambda is_new, seen_at: check.note(is_new, seen_at),
        )
        label = f"check {call.scoped.key[:40]!r}"
        return Found(*await call.repairing(file.path, file.keys, lambda: file.keys.update(change, label)))

    def _recorded(self, file: NamespaceFile, call: Call, found: Found, took: float) -> CheckResult:
        path, reports = file.path, call.reports
        self._ground.state.remember(call.scoped, found.seen_at, call.now)
        reports.count("new" if found.is_new else "duplicates")
        reports.oddities(path, found.oddities)
        reports.unexpected(path, "evicted", found.evicted, "%d keys had not expired and were pushed out of %s")
        reports.unexpected(path, "ahead", found.ahead, "%d times too far ahead were set to now in %s")
        return CheckResult(is_new=found.is_new, recorded=found.is_new, seen_at=found.seen_at / 1000, took=took)

    def _unrecorded(self, call: Call, check: RunningCheck, error: Exception, took: float) -> CheckResult:
        """Failing open: new, and in memory at least, unless the file that could not be flushed says otherwise."""
        state = self._ground.state
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
        with call.telling():
            return await self.is_recent(call)

    async def is_recent(self, call: Call) -> bool:
        """`has_recent` for a call whose errors are reported elsewhere."""
        scoped = call.scoped
        if self._ground.state.recall(scoped, call.now) is not None:
            return True
        file = self._ground.file(scoped.namespace)
        if file is None:
            return False
        try:
            document = await file.keys.read()
        except UNUSABLE as error:
            call.unusable(file.path, error)
            return False
        seen_at = document.times.get(scoped.key)
        if seen_at is None or not self._ground.window.is_recent(seen_at, call.now):
            return False
        self._ground.state.remember(scoped, seen_at, call.now)
        return True

    async def forget(self, call: Call) -> bool:
        """Remove the key from memory and file; whether the file had it."""
        scoped = call.scoped
        if not scoped.key:
            return False
        file = self._ground.file(scoped.namespace)
        try:
            return True if file is None else await self._forget_in(file, call)
        finally:
            # Last: another call may have read the file, and remembered the key, before it was removed there.
            self._ground.state.forget(scoped)

    async def _forget_in(self, file: NamespaceFile, call: Call) -> bool:
        key = call.scoped.key
        with call.telling():
            try:
                return await call.repairing(
                    file.path, file.keys, lambda: file.keys.update(lambda keys: keys.forget(key), "forget a key")
                )
            except UNUSABLE as error:
                call.unusable(file.path, error)
                return False

    async def _sweep(self, file: NamespaceFile, call: Call) -> None:
        """Once a file and process: remove what failed writes of the original have left behind."""
        swept = self._ground.state.swept
        if file.path in swept:
            return
        swept.add(file.path)
        try:
            removed = await self._ground.port.work(lambda: remove_leftovers(file.path))
        except OSError as error:
            call.reports.failure(file.path, error)  # a matter of tidiness: the check itself may still succeed
        else:
            call.reports.count("leftovers", by=removed)


def _seeing(
    key: str,
    now: float,
    ttl_ms: int,
    tolerance_ms: int,
    limit: int,
    inherited: float | None,
    note: Callable[[bool, float], None],
) -> Callable[[Document], Sighting]:
    """The function that updates a namespace's document. Noting what it finds is harmless to repeat."""

    def see(document: Document) -> Sighting:
        sighting = document.see(key, now, ttl_ms, tolerance_ms, limit, inherited)
        note(sighting[0], sighting[1])
        return sighting

    return see
