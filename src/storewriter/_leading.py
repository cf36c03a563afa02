"""Lead one batch: who is taken in, who is answered, and where its steps run.

Promise    Whoever was taken into a batch is answered, or stands in line again, whatever happens to the leader.
How        `lead` in plain code and `Leading` in a task drive the same steps (`_group_commit.py`); the task runs what
           may wait for a disk off its loop, and a cancellation that comes meanwhile is raised when the turn has ended.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from types import TracebackType
from typing import Final, TypeVar

from storewriter import _keys, _lanes
from storewriter._callers import Caller, leave_turn
from storewriter._document import SMALL, Document
from storewriter._group_commit import MOST_UPDATES, Batch, Request
from storewriter._lanes import Ticket
from storewriter._waiters import off_loop, pause, raise_if_cancelled
from storewriter.errors import CommitUncertain, LockLost
from storewriter.locks import Hold
from storewriter.per_store_writer_queue import hold_of

T = TypeVar("T")

TRIES: Final = 8
"""How often an update begins anew because its path has become a link, or its lease was lost, before it gives up."""


def follow_link(load: Callable[[], T]) -> T:
    """A document that has become a link since its path was resolved: resolve it anew at the next try."""
    try:
        return load()
    except OSError as error:
        if error.errno == errno.ELOOP:
            _keys.forget()
        raise


def may_begin_anew(error: BaseException) -> bool:
    """A lost lease: the function runs again on fresh state. A path that became a link: it is resolved anew."""
    return isinstance(error, LockLost) or (isinstance(error, OSError) and error.errno == errno.ELOOP)


def lead(document: Document, ticket: Ticket, request: Request) -> None:
    """Lead one batch, in a turn, in plain code."""
    batch = Batch(document)
    follow_link(batch.load)
    with _Admission(ticket, batch, request) as admission:
        admission.apply()
        admission.encode()
        admission.save(hold_of(ticket))


class _Admission:
    """Those who were taken into a batch: each is answered, or put back in line if the batch never happened.

    Whatever comes between, the leader's turn does not end before that: `leave_turn` asks the ticket for it.
    """

    __slots__ = ("_batch", "_has_happened", "_request", "_ticket", "_tickets")

    def __init__(self, ticket: Ticket, batch: Batch, request: Request) -> None:
        self._batch = batch
        self._request = request
        self._ticket = ticket
        self._tickets: list[Ticket] = []
        self._has_happened: bool | None = None
        """Whether what the batch did, or the error that it ended with, is everybody's answer; None: not known yet."""

    def apply(self) -> None:
        """Apply the leader's function and the others', as far as the time goes."""
        self._batch.apply(self._requests())
        self._put_back_undone()

    def encode(self) -> None:
        """Encode what came of it."""
        self._batch.encode()
        self._put_back_undone()

    def _put_back_undone(self) -> None:
        undone = len(self._batch.undone)
        if undone:
            _lanes.give_back(self._ticket, self._tickets, len(self._tickets) - undone)
            self._batch.undone = ()

    def _requests(self) -> list[Request]:
        return [self._request, *[ticket.work for ticket in self._tickets]]

    def save(self, hold: Hold) -> None:
        """See `Batch.save`."""
        self._batch.save(hold)
        self._has_happened = True

    def settle(self) -> None:
        """Answer everybody, or put them back in line. Can be repeated, and does nothing once it has been done."""
        if self._ticket.admission is not self:
            return
        if self._has_happened is None:
            self._has_happened = self._is_uncertain()
        if self._has_happened:
            for ticket in self._tickets:
                _lanes.answer(ticket)
        else:
            _lanes.give_back(self._ticket, self._tickets)
        self._ticket.admission = None

    def __enter__(self) -> _Admission:
        self._ticket.admission = self
        _lanes.admit(self._ticket, MOST_UPDATES - 1, self._tickets)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if isinstance(error, LockLost):
            self._batch.document.forget()
            self._has_happened = False
        elif isinstance(error, Exception):
            self._batch.fail_all(self._requests(), error)
            self._has_happened = True
        if self._has_happened:
            self._batch.report()
        self.settle()
        return isinstance(error, Exception) and not isinstance(error, LockLost)

    def _is_uncertain(self) -> bool:
        """After an interrupt in the middle: the truth is on disk. Everybody is told so, or none."""
        batch = self._batch
        batch.document.forget()
        path = batch.document.path
        try:
            if not batch.is_in_place():
                return False
            msg = f"the save of {path} was interrupted after the new document came into place; its flush is uncertain"
        except OSError as error:
            msg = f"the save of {path} was interrupted, and whether the new document is in place is unknown: {error}"
        batch.fail_all(self._requests(), CommitUncertain(msg, path=path))
        return True


class Leading:
    """Lead one batch, in a turn, in a task: the steps of `lead`, those that may wait for a disk off the loop."""

    __slots__ = ("_cancelled", "_document", "_loop", "_request", "_ticket")

    def __init__(self, caller: Caller, document: Document, request: Request) -> None:
        self._loop = caller.loop
        self._document = document
        self._ticket = caller
        self._request = request
        self._cancelled: BaseException | None = None

    async def run(self) -> None:
        batch = Batch(self._document, on_loop=True)
        # Once, before the batch is closed: the other tasks that are ready to ask can get into it.
        await pause(self._loop)
        if self._document.storage.size() <= SMALL:
            follow_link(batch.load)
        else:
            await self._step(lambda: follow_link(batch.load))
            self._raise_cancelled()
            await raise_if_cancelled(self._loop)
        hold = hold_of(self._ticket)
        with _Admission(self._ticket, batch, self._request) as admission:
            admission.apply()
            if batch.is_out_of_reach():
                await self._step(batch.try_together)
            # Otherwise on the loop: no task may change the state in between, and if a function has to run again, this
            # is where it runs.
            admission.encode()
            await self._step(lambda: admission.save(hold))

    async def _step(self, call: Callable[[], None]) -> None:
        _, cancelled = await off_loop(call, self._loop, self._abandon)
        self._cancelled = self._cancelled or cancelled

    def _abandon(self) -> None:
        """In the thread of a step: the loop was closed under us, so the turn ends here."""
        leave_turn(self._ticket)

    async def leave(self) -> None:
        cancelled = await leave_off_loop(self._ticket)
        self._cancelled = self._cancelled or cancelled
        self._raise_cancelled()

    def _raise_cancelled(self) -> None:
        cancelled, self._cancelled = self._cancelled, None
        if cancelled is not None:
            raise cancelled


async def leave_off_loop(caller: Caller) -> BaseException | None:
    """End a turn in a task; returns the cancellation that came meanwhile."""
    if caller.queue.lock.is_quick:
        leave_turn(caller)
        return None
    return (await off_loop(lambda: leave_turn(caller), caller.loop))[1]
