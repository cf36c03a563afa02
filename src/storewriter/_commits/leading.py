"""Where the steps of a batch run: in plain code, and in a task.

Promise    On an event loop, what may wait for a disk runs off it, and a cancellation that comes meanwhile is raised
           when the batch has ended. Functions run on the loop of their callers, or in their own thread.
"""

from __future__ import annotations

from storewriter._backends.protocol import Moved
from storewriter._commits.batch import Batch
from storewriter._commits.document import Document
from storewriter._commits.draft import Isolation, Request
from storewriter._platform import forks
from storewriter._turns import line
from storewriter._turns.closed_loops import off_loop_at_head
from storewriter._turns.ending import end_turn, inherited, leave_for_good, leave_turn
from storewriter._turns.entering import step_back
from storewriter._turns.line import FOR_ITS_LOOP, HOLDING, UNKNOWN, Ticket
from storewriter._turns.off_loop import off_loop, pause, raise_if_cancelled
from storewriter.errors import DocumentChanged, LockLost, SaveInterrupted, StoreWriterError


def may_begin_anew(request: Request) -> bool:
    """Whether the function runs again, on the document as it is then. What it has raised itself is its answer."""
    error = request.error
    if request.failed or request.tries_left <= 0:
        return False
    return isinstance(error, (LockLost, DocumentChanged, SaveInterrupted, Moved))


def begun_anew(ticket: Ticket, request: Request) -> tuple[Ticket, Request]:
    """The ticket and the request of the next try: those in the line, if the batch has put the caller back there."""
    if ticket.replacement is None:
        return ticket.again(), request.anew()
    return ticket.replacement, ticket.replacement.payload


async def alead(document: Document, ticket: Ticket, isolation: Isolation) -> None:
    """Apply the function of a task that has its turn, and those of its loop that wait behind it; save them.

    This task leads the batch. `end_turn` saves, passes the turn on and flushes, in a thread; `leave_turn` then finds
    that done, and answers the members here, on their loop. If the loop is closed meanwhile, the thread calls it.
    """
    cancelled: BaseException | None = None
    try:
        batch = ticket.batch = Batch(document, isolation, on_loop=True)
        # Once, before the batch is closed: the other tasks that are ready to ask can get into it.
        ticket.suspended = FOR_ITS_LOOP
        await pause(ticket.loop)
        ticket.suspended = UNKNOWN
        if not document.backend.loads_quickly(ticket.lane.hold):
            await _load(batch, ticket)
        _apply_all(batch, ticket)
        if ticket.generation != forks.generation:
            raise inherited(ticket)
        _, cancelled = await off_loop(lambda: end_turn(ticket), ticket.loop, lambda: leave_for_good(ticket))
    finally:
        ticket.suspended = UNKNOWN
        if ticket.state is HOLDING and not ticket.is_quick:
            await off_loop(lambda: end_turn(ticket), ticket.loop)
        leave_turn(ticket)
    if cancelled is not None:
        if ticket.replacement is not None:
            await step_back(ticket.replacement)
        raise cancelled


def _apply_all(batch: Batch, ticket: Ticket) -> None:
    """The head's function, and those of its loop that wait behind it."""
    batch.apply(ticket)
    while batch.has_time() and (other := line.admit(ticket)) is not None:
        batch.apply(other)
    batch.draft.seal()


async def _load(batch: Batch, ticket: Ticket) -> None:
    """Read and decode a large document in a thread. The engine keeps the interpreter for one pass at a time."""

    def load() -> None:
        batch.load(ticket)
        batch.draft.decode_ahead()

    try:
        _, cancelled = await off_loop_at_head(ticket, load, lambda: leave_turn(ticket))
    except (OSError, StoreWriterError):
        return  # `apply` meets it again, and keeps it
    if cancelled is not None:
        raise cancelled
    await raise_if_cancelled(ticket.loop)


async def leave_off_loop(ticket: Ticket) -> BaseException | None:
    """End a turn in a task; returns the cancellation that came meanwhile."""
    if ticket.is_quick:
        leave_turn(ticket)
        return None
    return (await off_loop(lambda: leave_turn(ticket), ticket.loop))[1]
