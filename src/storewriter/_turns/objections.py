"""Reasons to refuse a ticket at once, before it joins a line in which it could never get its turn.

Fails by   nothing: the error that is returned here is raised by the lane (`_lanes.join`).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, cast

from storewriter._platform.liveness import myself
from storewriter._turns.lanes import HOLDING, Lane, Ticket
from storewriter._turns.reports import labelled
from storewriter.errors import QueueFull, ReentrantTurn, StrategyMismatch

if TYPE_CHECKING:
    from storewriter._turns.callers import Caller, Door


def objection(lane: Lane, caller: Caller, door: Door) -> BaseException | None:
    """The error that keeps this ticket out of the line, or None. Called with the lanes' mutex held."""
    if lane.door is not door:
        mismatch = _strategy_objection(lane, door)
        if mismatch is not None:
            return mismatch
    head = lane.head
    # The asking task or thread itself, or plain code beneath it on the same thread's stack.
    if head is not None and (head.identity == caller.identity or head.identity == caller.thread):
        return _reentrant(lane.key, head)
    if not caller.is_async:
        blocked = _blocks_its_own_thread(lane, caller.thread)
        if blocked is not None:
            return blocked
    limit = caller.queue.max_pending
    if limit is not None:
        waiting = lane.waiting() + (head is not None and head.state is not HOLDING)
        if waiting >= limit:
            return queue_full(caller, waiting, lane.key)
    return None


def queue_full(caller: Caller, waiting: int, path: str | None = None) -> QueueFull:
    limit = caller.queue.max_pending
    path = caller.lane.key if path is None else path
    return QueueFull(
        f"{waiting} callers already wait for {path}, and max_pending is {limit}: try again later, or ask more slowly.",
        path=path,
        pending=waiting,
        max_pending=limit,
    )


def _strategy_objection(lane: Lane, door: Door) -> StrategyMismatch | None:
    theirs = cast("Door", lane.door).strategy
    if theirs is door.strategy or theirs == door.strategy:
        return None
    return StrategyMismatch(
        f"{lane.key} is in use in this process with lock={theirs.name!r} ({theirs!r}), and lock={door.strategy.name!r} "
        f"({door.strategy!r}) was asked for: the two would not exclude each other. Use one strategy per store.",
        path=lane.key,
        ours=door.strategy.name,
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
    if all(other.thread != thread for other in lane.in_line()):
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
    except AttributeError:  # half imported, as in `_callers.current_task`
        pass
    try:
        return trio is not None and bool(trio.lowlevel.in_trio_run())
    except AttributeError:
        return False


def interrupted(path: str, *, is_step: bool) -> ReentrantTurn:
    """The error for a turn that is requested in a thread which was interrupted inside a step of this package."""
    doing = "was handing a turn on" if is_step else "was waiting for it or saving it"
    return ReentrantTurn(
        f"{path} was asked for by a signal handler or a finalizer, in a thread that {doing}: it could never finish, "
        f"because that thread goes on only when the handler returns. In a handler only set a flag, and update later.",
        path=path,
    )
