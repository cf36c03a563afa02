"""Reasons to refuse a ticket at once, before it joins a line in which it could never get its turn.

Fails by   nothing: the error that is returned here is raised by `line.join`.
"""

from __future__ import annotations

import sys

from storewriter._platform.liveness import myself
from storewriter._turns.adapter import LockAdapter
from storewriter._turns.line import HOLDING, Lane, Ticket
from storewriter._turns.messages import labelled
from storewriter.errors import QueueFull, ReentrantTurn, StrategyMismatch


def admission_error(lane: Lane, ticket: Ticket, adapter: LockAdapter) -> BaseException | None:
    """The error that keeps this ticket out of the line, or None. Called with the lanes' mutex held."""
    if lane.adapter is not adapter:
        mismatch = _mismatch(lane.adapter, adapter)
        if mismatch is not None:
            return mismatch
    head = lane.head
    if head is not None and _is_inside(head, ticket):
        return _reentrant(lane.key, head)
    if not ticket.is_async:
        blocked = _blocks_its_own_thread(lane, ticket.thread)
        if blocked is not None:
            return blocked
    limit = ticket.settings.max_pending
    if limit is not None:
        waiting = lane.waiting() + (head is not None and head.state is not HOLDING)
        if waiting >= limit:
            return queue_full(ticket, lane.key, waiting)
    return None


def _is_inside(head: Ticket, ticket: Ticket) -> bool:
    """Whether the asking task or thread itself has the turn, or plain code beneath it on the same thread's stack.

    Not if the call that had it is over, and another thread gives the turn back (`ending.release_abandoned`).
    """
    if head.identity != ticket.identity and head.identity != ticket.thread:
        return False
    return head.finalizer is None or head.finalizer[0]() is not None


def queue_full(ticket: Ticket, path: str, waiting: int) -> QueueFull:
    """The error if as many wait as may."""
    limit = ticket.settings.max_pending
    return QueueFull(
        f"{waiting} callers already wait for {path}, and max_pending is {limit}: try again later, or ask more slowly.",
        path=path,
        pending=waiting,
        max_pending=limit,
    )


def _mismatch(theirs: LockAdapter, ours: LockAdapter) -> StrategyMismatch | None:
    if theirs.settings is ours.settings or theirs.settings == ours.settings:
        return None
    return StrategyMismatch(
        f"{ours.key} is in use in this process with lock={theirs.name!r} ({theirs.settings!r}), and "
        f"lock={ours.name!r} ({ours.settings!r}) was asked for: the two would not exclude each other. Use one strategy "
        f"per store.",
        path=ours.key,
        ours=ours.name,
        theirs=theirs.name,
        owner=myself(),
    )


def _reentrant(path: str, head: Ticket) -> ReentrantTurn:
    return ReentrantTurn(
        f"{path} was asked for inside its own turn{labelled(head)}: waiting would wait for itself for ever. "
        f"Use the turn (or the transaction's state) that is already held.",
        path=path,
    )


def _blocks_its_own_thread(lane: Lane, thread: int) -> ReentrantTurn | None:
    """The error if a blocking call on a loop's thread would wait for a ticket that goes on only when it returns."""
    if not _runs_an_event_loop():
        return None  # most calls: they need not walk the line
    if all([other.thread != thread for other in lane.in_line()]):
        return None
    return ReentrantTurn(
        f"{lane.key} was asked for with a blocking call on the event loop's thread, while another task of that "
        f"loop is ahead in line: it could never finish. Use `async with`, or run this in a thread.",
        path=lane.key,
    )


def _runs_an_event_loop() -> bool:
    """Whether this thread is inside an event loop (also in a callback that belongs to no task)."""
    asyncio, trio = sys.modules.get("asyncio"), sys.modules.get("trio")
    try:
        if asyncio is not None and asyncio._get_running_loop() is not None:
            return True
    except AttributeError:  # half imported, as in `line.current_task`
        pass
    try:
        return trio is not None and bool(trio.lowlevel.in_trio_run())
    except AttributeError:
        return False
