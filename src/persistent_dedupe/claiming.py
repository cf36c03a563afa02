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

from persistent_dedupe.checking import Checking
from persistent_dedupe.claims_document import ClaimBook
from persistent_dedupe.context import UNUSABLE, Call, Context, NamespaceFile
from persistent_dedupe.keys import ScopedKey
from persistent_dedupe.process_state import ClaimEnd, LocalClaim, is_held_here
from persistent_dedupe.results import CheckResult, Claim, ClaimReleased, ClaimStatus, OpenClaim
from storewriter import Backoff, CommitUncertain, Owner, is_gone, this_process

__all__ = ["Claiming"]

_PACE = Backoff(minimum=0.005, factor=1.5, maximum=0.25)
"""How often waiters poll a claim of another process."""


@attrs.frozen
class Taken:
    """The result of writing a claim."""

    holder: OpenClaim | None
    """The claim that was there already."""
    reclaimed: int
    """Claims of owners that are gone, removed by the same update."""


class Claiming:
    """The claims of one object, over its core."""

    def __init__(self, context: Context, checking: Checking) -> None:
        self._context = context
        self._checking = checking

    async def claim(self, call: Call) -> Claim:
        """Ask for the right to handle the key."""
        scoped = call.scoped
        if not scoped.key:
            call.refuse_blank()
            return self._answer(call, ClaimStatus.CLAIMED)
        mine, is_own = self._context.state.begin_claim(scoped)
        if not is_own:
            return self._answer(call, ClaimStatus.IN_FLIGHT, local=mine)
        with call.reporting_errors():
            try:
                # Within, because a callback that raises ends the claim too: its caller never learns that it has it.
                with call.reporting_errors():
                    return await self._take(call, mine)
            except Exception as error:
                await self._end(call, mine, ClaimEnd(error=error))
                raise
            except BaseException:
                await self._end(call, mine, ClaimEnd(error=_released(scoped, "its claimer was interrupted")))
                raise

    async def _take(self, call: Call, mine: LocalClaim) -> Claim:
        context, checking = self._context, self._checking
        if await checking.is_recent(call):
            return self._is_duplicate(call, mine)
        file = context.file(call.scoped.namespace)
        if file is None:
            return self._answer(call, ClaimStatus.CLAIMED, local=mine)
        try:
            holder = await self._write(file, call, mine)
        except UNUSABLE as error:
            mine.is_written = isinstance(error, CommitUncertain)
            call.unusable(file.claims_path, error)
            return self._answer(call, ClaimStatus.CLAIMED, local=mine, error=error)
        if holder is not None:
            context.state.end_claim(mine, ClaimEnd(holder=holder))
            return self._answer(call, ClaimStatus.IN_FLIGHT, holder=holder)
        # Again, now that the claim is written: its owner before us may have recorded the key since the first look.
        if await checking.is_recent(call):
            await self._remove(call, mine)
            return self._is_duplicate(call, mine)
        return self._answer(call, ClaimStatus.CLAIMED, local=mine, recorded=True)

    def _is_duplicate(self, call: Call, mine: LocalClaim) -> Claim:
        self._context.state.end_claim(mine, ClaimEnd(result=False))
        return self._answer(call, ClaimStatus.DUPLICATE)

    def _answer(
        self,
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

    async def _write(self, file: NamespaceFile, call: Call, mine: LocalClaim) -> OpenClaim | None:
        """Enter the claim into the namespace's claims; returns the open claim if there is one."""
        claim = OpenClaim(key=call.scoped.key, token=mine.token, since=call.now / 1000, owner=this_process())
        mine.is_written = True  # before the write: if that is interrupted, `_remove` looks for the claim

        async def attempt() -> Taken:
            # Judged before the update, whose function must do nothing but change the state.
            gone = [other for other in self._judged(await file.claims.read(), call.now) if other.gone]
            return await file.claims.update(lambda book: _take(book, claim, gone), f"claim {claim.key[:40]!r}")

        taken = await call.repairing(file.claims_path, file.claims, attempt)
        self._context.state.reports.count("reclaimed", by=taken.reclaimed)
        return taken.holder

    def _judged(self, book: ClaimBook, now: float) -> list[OpenClaim]:
        """The open claims, each with whether it can be taken over."""
        limit = self._context.options.claim_limit
        verdicts: dict[Owner, bool] = {}

        def judged(claim: OpenClaim) -> OpenClaim:
            is_late = limit is not None and now / 1000 - claim.since >= limit
            return attrs.evolve(claim, gone=is_late or _has_no_owner(claim, verdicts))

        return [judged(claim) for claim in book.claims()]

    # -- the end of a claim

    async def commit(self, call: Call) -> CheckResult:
        """Record the key and end the claim."""
        context, scoped = self._context, call.scoped
        mine = context.state.claim(scoped)
        with call.reporting_errors():
            try:
                result = await self._checking.check_and_record(call)
            except Exception as error:
                await self._end(call, mine, ClaimEnd(error=error))
                raise
            except BaseException:
                await self._end(call, mine, ClaimEnd(error=_released(scoped, "its commit was interrupted")))
                raise
            await self._end(call, mine, ClaimEnd(result=result.is_new))
        return result

    async def release(self, call: Call, error: Exception | None) -> None:
        """End the claim without a record."""
        mine = self._context.state.claim(call.scoped)
        with call.reporting_errors():
            reason = _released(call.scoped, "it was released before it was committed")
            await self._end(call, mine, ClaimEnd(error=error or reason))

    async def forget(self, call: Call) -> bool:
        """End whatever claim there is on the key, then forget the key itself."""
        context, scoped = self._context, call.scoped
        mine = context.state.claim(scoped)
        file = context.file(scoped.namespace)
        with call.reporting_errors():
            await self._end(call, mine, ClaimEnd(error=_released(scoped, "the key was forgotten")))
            if file is not None and scoped.key:
                await self._forget_claim(file, call)
            return await self._checking.forget(call)

    async def _forget_claim(self, file: NamespaceFile, call: Call) -> None:
        """Remove a claim of any owner: so that a key can be freed whose owner cannot be checked."""
        key = call.scoped.key
        try:
            if (await file.claims.read()).holder(key) is not None:
                await file.claims.update(lambda book: book.free(key), "forget a claim")
        except UNUSABLE as error:
            call.unusable(file.claims_path, error)

    async def _end(self, call: Call, mine: LocalClaim | None, end: ClaimEnd) -> None:
        if mine is None:
            return
        try:
            await self._context.runner.to_the_end(lambda: self._remove(call, mine))
        finally:
            self._context.state.end_claim(mine, end)

    async def _remove(self, call: Call, mine: LocalClaim) -> None:
        file = self._context.file(mine.scoped.namespace)
        if file is None or not mine.is_written:
            return
        key, token = mine.scoped.key, mine.token
        try:
            await file.claims.update(lambda book: book.remove(key, token), f"end the claim on {key[:40]!r}")
        except UNUSABLE as error:
            # Reported, but never raised: the outcome of the claim is settled. Once no caller here holds it, the next
            # claim of this process removes it.
            call.note(file.claims_path, error)

    # -- claims of other objects and processes

    async def wait(self, claim: Claim, timeout: float | None) -> bool:
        """Wait for what becomes of a claim in flight."""
        if claim.status is ClaimStatus.CLAIMED:
            msg = f"the claim on {claim.key!r} is your own: commit or release it"
            raise ValueError(msg)
        if claim.status is ClaimStatus.DUPLICATE:
            return False
        deadline = None if timeout is None else time.monotonic() + timeout
        holder = claim.holder
        if isinstance(claim.local, LocalClaim):
            end = await self._context.runner.wait(claim.local.outcome, timeout)
            if end.error is not None:
                raise end.error
            holder = end.holder
            if holder is None:
                return end.result
        return await self._wait_for(holder, ScopedKey(claim.namespace, claim.key), deadline)

    async def _wait_for(self, holder: OpenClaim | None, scoped: ScopedKey, deadline: float | None) -> bool:
        """Poll the claim of another object or process until it has ended."""
        file = self._context.file(scoped.namespace)
        if file is None or holder is None:
            msg = f"no other process can hold the claim on {scoped.key!r} of an object without files"
            raise ValueError(msg)
        delays = _PACE.delays(deadline)
        while True:
            call = self._context.call(scoped.key, scoped.namespace, None, None)
            open_now = [
                claim
                for claim in self._judged(await file.claims.read(), call.now)
                if claim.key == scoped.key and claim.token == holder.token
            ]
            if not open_now:
                return await self._outcome(call)
            if open_now[0].gone:
                raise _released(scoped, "its owner is gone, or has passed its time limit")
            delay = next(delays, None)
            if delay is None:
                msg = f"the claim on {scoped.key!r} of {holder.owner or 'an unknown process'} is still open"
                raise TimeoutError(msg)
            await self._context.runner.sleep(delay)

    async def _outcome(self, call: Call) -> bool:
        # The record comes before the end of the claim, so a committed key is found here.
        if await self._checking.has_recent(call):
            return True
        raise _released(call.scoped, "it ended without a record")

    async def open_claims(self, call: Call) -> list[OpenClaim]:
        """The open claims of the namespace, oldest first. Raises what the file raises."""
        file = self._context.file(call.scoped.namespace)
        return [] if file is None else self._judged(await file.claims.read(), call.now)


def _take(book: ClaimBook, claim: OpenClaim, gone: list[OpenClaim]) -> Taken:
    reclaimed = sum(book.remove(other.key, other.token) for other in gone)
    holder = book.holder(claim.key)
    if holder is None:
        book.add(claim)
    elif holder.token == claim.token:  # this function ran before, and was committed
        holder = None
    return Taken(holder, reclaimed)


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


def _released(scoped: ScopedKey, reason: str) -> ClaimReleased:
    return ClaimReleased(
        f"the claim on {scoped.key!r} in namespace {scoped.namespace!r} came to nothing: {reason}. "
        "The key can be claimed again.",
        namespace=scoped.namespace,
        key=scoped.key,
    )
