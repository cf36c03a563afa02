"""Check and record, look, forget: the operations on single keys, for threads and tasks.

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

from persistent_dedupe.context import UNUSABLE, Call, NamespaceFile
from persistent_dedupe.document import Document, Sighting
from persistent_dedupe.openclaw import remove_leftovers
from persistent_dedupe.results import CheckResult
from persistent_dedupe.state import RunningCheck
from storewriter import CommitUncertain

__all__ = ["check_and_record", "forget", "has_recent", "is_recent"]


async def check_and_record(call: Call) -> CheckResult:
    """Whether the key is new; if so it is recorded."""
    reports = call.state.reports
    if not call.scoped.key:
        call.refuse_blank()
        reports.count("new", "blank")
        return CheckResult(is_new=True, recorded=False)
    unanswered: Sighting | None = None
    while True:
        check, is_own = call.state.begin_check(call.scoped)
        if is_own:
            break
        result = await call.context.runner.wait(check.outcome)
        if result is not None:
            reports.count("duplicates", "coalesced")
            return attrs.evolve(result, is_new=False, recorded=False)
        # The first caller was cancelled or failed. If it had recorded the key as new, this caller gets that answer.
        unanswered = check.found
    check.found = unanswered
    with call.reporting_errors():
        answer: CheckResult | None = None
        try:
            return (answer := await _decide(call, check, unanswered))
        finally:
            call.state.end_check(call.scoped, check, answer)


async def _decide(call: Call, check: RunningCheck, unanswered: Sighting | None) -> CheckResult:
    seen_at = call.state.memory.peek(call.scoped, call.now)
    if seen_at is not None:
        call.state.reports.count("duplicates", "from_memory")
        return CheckResult(is_new=False, recorded=False, seen_at=seen_at / 1000)
    file = call.file
    if file is None:
        call.remember(call.now)
        call.state.reports.count("new")
        return CheckResult(is_new=True, recorded=True, seen_at=call.now / 1000)
    started = time.monotonic()
    try:
        found = await _record(file, call, check, unanswered)
    except UNUSABLE as error:
        call.unusable(file.keys.path, error)
        return _unrecorded(call, check, error, time.monotonic() - started)
    return _recorded(file, call, found, time.monotonic() - started)


async def _record(file: NamespaceFile, call: Call, check: RunningCheck, unanswered: Sighting | None) -> Sighting:
    await _sweep(file, call)
    key, limit, window = call.scoped.key, call.context.options.file_limit, call.context.window

    def see(document: Document) -> Sighting:
        check.found = document.see(key, call.now, window, limit, unanswered)  # harmless to repeat
        return check.found

    return await call.repairing(file.keys, lambda: file.keys.update(see, f"check {key[:40]!r}"))


def _recorded(file: NamespaceFile, call: Call, found: Sighting, took: float) -> CheckResult:
    path, reports = file.keys.path, call.state.reports
    call.remember(found.seen_at)
    reports.count("new" if found.is_new else "duplicates")
    reports.anomalies(path, found.anomalies)
    reports.evicted(path, found.pruned.evicted)
    return CheckResult(is_new=found.is_new, recorded=found.is_new, seen_at=found.seen_at / 1000, took=took)


def _unrecorded(call: Call, check: RunningCheck, error: Exception, took: float) -> CheckResult:
    """Failing open: new, and in memory at least, unless the file that could not be flushed says otherwise."""
    found = check.found
    is_new = found is None or found.is_new or not isinstance(error, CommitUncertain)
    seen_at = call.now if is_new or found is None else found.seen_at
    call.remember(seen_at)
    call.state.reports.count(*(("new", "unrecorded") if is_new else ("duplicates",)))
    return CheckResult(is_new=is_new, recorded=False, seen_at=seen_at / 1000, error=error, took=took)


async def _sweep(file: NamespaceFile, call: Call) -> None:
    """Remove the temporary files that failed writes of OpenClaw have left; once for each file in a process."""
    path, state = file.keys.path, call.state
    if not isinstance(path, Path) or path in state.swept:
        return
    state.swept.add(path)
    try:
        removed = await call.context.runner.work(lambda: remove_leftovers(path))
    except OSError as error:
        state.reports.failure(path, error)  # the check itself may still succeed
    else:
        state.reports.count("leftovers", by=removed)


async def has_recent(call: Call) -> bool:
    """Whether the key is recent; records nothing."""
    with call.reporting_errors():
        return bool(call.scoped.key) and await is_recent(call)


async def is_recent(call: Call) -> bool:
    """`has_recent` for a call whose errors are reported elsewhere."""
    if call.state.memory.peek(call.scoped, call.now) is not None:
        return True
    file = call.file
    if file is None:
        return False
    try:
        document = await file.keys.read()
    except UNUSABLE as error:
        call.unusable(file.keys.path, error)
        return False
    seen_at = document.times.get(call.scoped.key)
    call.report_anomalies(file.keys.path, document, () if seen_at is None else (call.scoped.key,))
    if seen_at is None or not call.is_recent(seen_at):
        return False
    call.remember(seen_at)
    return True


async def forget(call: Call) -> bool:
    """Remove the key from memory and file; whether the file had it. For a call whose errors are reported elsewhere."""
    key, file = call.scoped.key, call.file
    if file is None or not key:
        call.state.memory.forget(call.scoped)
        return bool(key)
    try:
        return await call.repairing(file.keys, lambda: file.keys.update(lambda keys: keys.forget(key), "forget a key"))
    except UNUSABLE as error:
        call.unusable(file.keys.path, error)
        return False
    finally:
        # Last: another call may have read the file, and remembered the key, before it was removed there.
        call.state.memory.forget(call.scoped)
