"""Claim first, record when done: for handlers that take time.

Promise    Of all that claim one key at the same time, whichever tasks, threads and processes they are, one owns it;
           the others can wait for its outcome. The claim of a dead owner can be taken over, that of a live owner
           cannot (unless the options set a limit).
How        A table in the object for its own callers; for all others a store of claims beside the namespace's
           file. A claim is written before the last look at whether the key is recent, and removed after the record is
           written: a caller that finds no claim finds the record.
Does not   make handling and recording one step: if a process dies between the two, the event comes again.
"""

from __future__ import annotations

import time

import attrs

from persistent_dedupe import checking, claims_document
from persistent_dedupe.claims_document import ClaimBook
from persistent_dedupe.context import UNUSABLE, Call, Context, NamespaceFile
from persistent_dedupe.results import CheckResult, Claim, ClaimReleased, ClaimStatus, OpenClaim
from persistent_dedupe.state import ClaimEnd, LocalClaim, is_held_here
from storewriter import Backoff, CommitUncertain, Owner, is_gone, this_process

__all__ = ["claim", "commit", "forget", "open_claims", "release", "wait"]

_PACE = Backoff(minimum=0.005, factor=1.5, maximum=0.25)
"""How often waiters poll a claim of another process."""


async def claim(call: Call) -> Claim:
    """Ask for the right to handle the key."""
    if not call.scoped.key:
        call.refuse_blank()
        return _answer(call, ClaimStatus.CLAIMED)
    mine, is_own = call.state.begin_claim(call.scoped)
    if not is_own:
        return _answer(call, ClaimStatus.IN_FLIGHT, local=mine)
    with call.reporting_errors():
        try:
            # Within, because a callback that raises ends the claim too: its caller never learns that it has it.
            with call.reporting_errors():
                return await _take(call, mine)
        except BaseException as error:
            await _end(call, mine, _failed(call, error, "its claimer was interrupted"))
            raise


async def _take(call: Call, mine: LocalClaim) -> Claim:
    file = call.file
    if await checking.is_recent(call):
        return _is_duplicate(call, mine)
    if file is None:
        return _answer(call, ClaimStatus.CLAIMED, local=mine)
    try:
        holder = await _write(file, call, mine)
    except UNUSABLE as error:
        mine.is_written = isinstance(error, CommitUncertain)
        call.unusable(file.claims.path, error)
        return _answer(call, ClaimStatus.CLAIMED, local=mine, error=error)
    if holder is not None:
        call.state.end_claim(mine, ClaimEnd(holder=holder))
        return _answer(call, ClaimStatus.IN_FLIGHT, holder=holder)
    # Again, now that the claim is written: its owner before us may have recorded the key since the first look.
    if await checking.is_recent(call):
        await _remove(call, mine)
        return _is_duplicate(call, mine)
    return _answer(call, ClaimStatus.CLAIMED, local=mine, recorded=True)


def _is_duplicate(call: Call, mine: LocalClaim) -> Claim:
    call.state.end_claim(mine, ClaimEnd(result=False))
    return _answer(call, ClaimStatus.DUPLICATE)


def _answer(
    call: Call,
    status: ClaimStatus,
    *,
    local: LocalClaim | None = None,
    holder: OpenClaim | None = None,
    recorded: bool = False,
    error: Exception | None = None,
) -> Claim:
    return Claim(
        status=status,
        namespace=call.scoped.namespace,
        key=call.scoped.key,
        recorded=recorded,
        holder=holder,
        error=error,
        local=local,
    )


async def _write(file: NamespaceFile, call: Call, mine: LocalClaim) -> OpenClaim | None:
    """Enter the claim into the namespace's claims; returns the open claim if there is one."""
    claim = OpenClaim(key=call.scoped.key, token=mine.token, since=call.now / 1000, owner=this_process())
    mine.is_written = True  # before the write: if that is interrupted, `_remove` looks for the claim

    async def attempt() -> tuple[OpenClaim | None, int]:
        # Judged before the update, whose function must do nothing but change the state.
        gone = [other for other in _judged(call, await file.claims.read()) if other.gone]
        return await file.claims.update(lambda book: _enter(book, claim, gone), f"claim {claim.key[:40]!r}")

    holder, reclaimed = await call.repairing(file.claims, attempt)
    call.state.reports.count("reclaimed", by=reclaimed)
    return holder


def _enter(book: ClaimBook, claim: OpenClaim, gone: list[OpenClaim]) -> tuple[OpenClaim | None, int]:
    """Add the claim unless there is one; return that one, and how many claims of owners that are gone were removed."""
    reclaimed = sum(claims_document.remove(book, other.key, other.token) for other in gone)
    holder = claims_document.holder(book, claim.key)
    if holder is None:
        claims_document.add(book, claim)
    elif holder.token == claim.token:  # this function ran before, and was committed
        holder = None
    return holder, reclaimed


def _judged(call: Call, book: ClaimBook) -> list[OpenClaim]:
    """The open claims, oldest first, each with whether it can be taken over."""
    limit = call.context.options.claim_limit
    verdicts: dict[Owner, bool] = {}

    def judged(claim: OpenClaim) -> OpenClaim:
        is_late = limit is not None and call.now / 1000 - claim.since >= limit
        return attrs.evolve(claim, gone=is_late or _has_no_owner(claim, verdicts))

    return [judged(claim) for claim in claims_document.claims(book)]


def _has_no_owner(claim: OpenClaim, verdicts: dict[Owner, bool]) -> bool:
    """Whether the claim's owner is provably gone; `verdicts` spares looking at one process twice."""
    owner = claim.owner
    if owner is None:
        return False
    if _identity(owner) == _identity(this_process()):
        return not is_held_here(claim.token)
    if owner not in verdicts:
        verdicts[owner] = is_gone(owner)
    return verdicts[owner]


def _identity(owner: Owner) -> tuple[object, ...]:
    return owner.host, owner.boot_id, owner.pid_namespace, owner.pid, owner.start_ticks


# -- the end of a claim


async def commit(call: Call) -> CheckResult:
    """Record the key and end the claim."""
    mine = call.state.claim(call.scoped)
    with call.reporting_errors():
        try:
            result = await checking.check_and_record(call)
        except BaseException as error:
            await _end(call, mine, _failed(call, error, "its commit was interrupted"))
            raise
        await _end(call, mine, ClaimEnd(result=result.is_new))
    return result


async def release(call: Call, error: Exception | None) -> None:
    """End the claim without a record."""
    with call.reporting_errors():
        reason = _released(call, "it was released before it was committed")
        await _end(call, call.state.claim(call.scoped), ClaimEnd(error=error or reason))


async def forget(call: Call) -> bool:
    """End whatever claim there is on the key, then forget the key itself."""
    with call.reporting_errors():
        await _end(call, call.state.claim(call.scoped), ClaimEnd(error=_released(call, "the key was forgotten")))
        await _forget_claim(call)
        return await checking.forget(call)


async def _forget_claim(call: Call) -> None:
    """Remove a claim of any owner: so that a key can be freed whose owner cannot be checked."""
    key, file = call.scoped.key, call.file
    if file is None or not key:
        return
    try:
        if claims_document.holder(await file.claims.read(), key) is not None:
            await file.claims.update(lambda book: claims_document.free(book, key), "forget a claim")
    except UNUSABLE as error:
        call.unusable(file.claims.path, error)


async def _end(call: Call, mine: LocalClaim | None, end: ClaimEnd) -> None:
    if mine is None:
        return
    try:
        await call.context.runner.to_the_end(lambda: _remove(call, mine))
    finally:
        call.state.end_claim(mine, end)


async def _remove(call: Call, mine: LocalClaim) -> None:
    file = call.file
    if file is None or not mine.is_written:
        return
    key, token = mine.scoped.key, mine.token
    try:
        await file.claims.update(
            lambda book: claims_document.remove(book, key, token), f"end the claim on {key[:40]!r}"
        )
    except UNUSABLE as error:
        # Reported, but never raised: the outcome of the claim is settled. Once no caller here holds it, the next
        # claim of this process removes it.
        call.note(file.claims.path, error)


# -- claims of other objects and processes


async def wait(context: Context, claim: Claim, timeout: float | None) -> bool:
    """Wait for what becomes of a claim in flight."""
    if claim.status is ClaimStatus.CLAIMED:
        msg = f"the claim on {claim.key!r} is your own: commit or release it"
        raise ValueError(msg)
    if claim.status is ClaimStatus.DUPLICATE:
        return False
    deadline = None if timeout is None else time.monotonic() + timeout
    holder = claim.holder
    if isinstance(claim.local, LocalClaim):
        end = await context.runner.wait(claim.local.outcome, timeout)
        if end.error is not None:
            raise end.error
        holder = end.holder
        if holder is None:
            return end.result
    return await _wait_for(context, claim, holder, deadline)


async def _wait_for(context: Context, claim: Claim, holder: OpenClaim | None, deadline: float | None) -> bool:
    """Poll the claim of another object or process until it has ended."""
    file = context.file(claim.namespace)
    if file is None or holder is None:
        msg = f"no other process can hold the claim on {claim.key!r} of an object without files"
        raise ValueError(msg)
    delays = _PACE.delays(deadline)
    while True:
        call = context.call(claim.key, claim.namespace)
        open_claims = _judged(call, await file.claims.read())
        found = [each for each in open_claims if (each.key, each.token) == (claim.key, holder.token)]
        if not found:
            # The record comes before the end of the claim, so a committed key is found here.
            if await checking.has_recent(call):
                return True
            raise _released(call, "it ended without a record")
        if found[0].gone:
            raise _released(call, "its owner is gone, or has passed its time limit")
        delay = next(delays, None)
        if delay is None:
            msg = f"the claim on {claim.key!r} of {holder.owner or 'an unknown process'} is still open"
            raise TimeoutError(msg)
        await context.runner.sleep(delay)


async def open_claims(call: Call) -> list[OpenClaim]:
    """The open claims of the namespace, oldest first. Raises what the file raises."""
    return [] if call.file is None else _judged(call, await call.file.claims.read())


def _failed(call: Call, error: BaseException, reason: str) -> ClaimEnd:
    """How a claim ends for its waiters if its owner met an error: an interruption is its owner's alone."""
    return ClaimEnd(error=error if isinstance(error, Exception) else _released(call, reason))


def _released(call: Call, reason: str) -> ClaimReleased:
    namespace, key = call.scoped.namespace, call.scoped.key
    return ClaimReleased(
        f"the claim on {key!r} in namespace {namespace!r} came to nothing: {reason}. The key can be claimed again.",
        namespace=namespace,
        key=key,
    )
