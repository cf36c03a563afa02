"""The waiting thread of a lane, and how a head that was named is woken.

Promise    A named head is woken, or the lane's waiting thread is sent to wait for the lock for it. There is one such
           thread for a whole lane: the wait belongs to the lane, so the ticket at the head when it ends gets the hold.
           With the last ticket the lane, its hold and its waiting thread go.
"""

from __future__ import annotations

import logging
from functools import partial
from threading import get_ident
from types import ModuleType

from storewriter._platform import forks, threads
from storewriter._turns import line
from storewriter._turns.adapter import Hold
from storewriter._turns.line import (
    AT_HEAD,
    FAILED,
    FOR_A_THREAD,
    FOR_ITS_LOOP,
    HOLDING,
    LEFT,
    NONE,
    RUNNING,
    STARTING,
    WAITING,
    Lane,
    Ticket,
)
from storewriter._turns.marks import STEP, inside

log = logging.getLogger("storewriter")


def wait_for_lock(ticket: Ticket) -> None:
    """The head sends the lane's waiting thread to wait for the lock; its waiter is woken with the hold.

    Raises RuntimeError if the system gives no more threads.
    """
    lane = ticket.lane
    with line.mutex:
        ticket.state = WAITING
        lane.waiting_thread = STARTING
    try:
        threads.start(_run, lane, forks.generation)
    except RuntimeError:
        with line.mutex:
            if lane.waiting_thread is STARTING:
                lane.waiting_thread = NONE
                ticket.state = AT_HEAD
        raise


def wake_successor(ticket: Ticket) -> None:
    """Wake the successor that a ticket named when it left. Can be repeated: waking twice does no harm."""
    _wake(ticket.successor)
    ticket.successor = None


def pass_over_lost(lane: Lane) -> None:
    """A head whose task can never run again, because its loop is closed, names the next one (`closed_loops.py`)."""
    head = lane.head
    if head is not None and head.is_async and _is_lost(head):
        _pass_over(head)
        wake_successor(head)


def _is_lost(head: Ticket) -> bool:
    """Whether a task will never run, and no thread works for it; in the block of a turn, one of its user's may."""
    if type(head.loop) is ModuleType or not head.loop.is_closed() or head.suspended == FOR_A_THREAD:
        return False
    if head.state is HOLDING:
        return not head.began or head.suspended == FOR_ITS_LOOP
    return head.state is AT_HEAD or head.state is FAILED


def _wake(head: Ticket | None) -> None:
    """Wake a named head, or start the lane's waiting thread for it.

    Tickets whose loop is closed are passed over: the line would wait for them for ever. In a loop, not by recursion:
    there may be many such tickets, one behind the other.
    """
    while head is not None:
        if head.lane.waiting_thread is STARTING:
            head = _start(head.lane)
            if head is None:
                return
        if head.waiter is None or head.waiter.wake():
            return
        _pass_over(head)
        head = head.successor


def _pass_over(head: Ticket) -> None:
    """A head whose loop is closed names the next one. Does nothing if it has."""
    while True:
        if head.state is HOLDING:
            error = line.advance(head)
            if error is not None:
                log.error("could not release the lock of a task whose loop is closed", exc_info=error)
            return
        with line.mutex:
            if head.state is HOLDING:
                continue  # the hold arrived just now
            if head.state is not LEFT:
                line.call_next(head.lane, head)
            return


def _start(lane: Lane) -> Ticket | None:
    """Send the waiting thread to wait for the lock.

    If no thread can be started, returns the head: woken, it tries the lock itself, and its own caller gets the error
    if no thread can be started then either.
    """
    try:
        threads.start(_run, lane, forks.generation)
    except RuntimeError:
        with line.mutex:
            head = lane.head
            if lane.waiting_thread is STARTING:
                lane.waiting_thread = NONE
                if head is not None:
                    head.state = AT_HEAD
            return head
    return None


def _run(lane: Lane, generation: int) -> None:
    """The waiting thread of a lane."""
    thread = get_ident()
    inside[thread] = STEP
    with line.mutex:
        is_first = lane.waiting_thread is STARTING  # otherwise another thread waits, or no ticket does any more
        if is_first:
            lane.waiting_thread = RUNNING
    if is_first:
        _wait(lane, generation)
    else:
        inside.pop(thread, None)


def _wait(lane: Lane, generation: int) -> None:
    """Wait for the lock, as the thread that was started, or in place of one that is stuck.

    All of it is a step: a finalizer that the garbage collector runs here is refused a turn.
    """
    thread = get_ident()
    inside[thread] = STEP
    try:
        while True:  # with `break`, and not with a condition: see tests/turns/test_loops_in_handlers.py
            if _wait_once(lane, generation):
                break
    finally:
        inside.pop(thread, None)


def _wait_once(lane: Lane, generation: int) -> bool:
    """Wait, and give the hold or the error to the head. False: there is neither, and a ticket has come."""
    hold: Hold | None = None
    error: BaseException | None = None
    head = lane.head
    try:
        hold = lane.adapter.wait(
            head.label if head is not None else None,
            lambda: lane.head is not None,
            partial(threads.start, _wait, lane, generation),
        )
    except threads.WaiterReplaced:
        return True
    except BaseException as problem:
        error = problem
    return generation != forks.generation or _deliver(lane, hold, error)


def _deliver(lane: Lane, hold: Hold | None, error: BaseException | None) -> bool:
    """Give the hold or the error of a wait to the head. False: there is neither, and a ticket has come meanwhile."""
    while True:
        with line.mutex:
            head = lane.head
            if head is not None:
                if hold is None and error is None:
                    return False
                lane.waiting_thread = NONE
                lane.hold = hold
                head.error = error
                head.state = FAILED if hold is None else HOLDING
                break
            if hold is None:
                lane.waiting_thread = NONE
                if line.lanes.get(lane.key) is lane:
                    del line.lanes[lane.key]
                return True
        # Before the lane is closed, and outside the mutex: a ticket that comes meanwhile joins this lane, and the
        # next round waits for a new hold for it.
        _release_unwanted(lane, hold)
        hold = None
    waiter = head.waiter
    if waiter is not None and not waiter.wake():
        _wake(head)
    return True


def _release_unwanted(lane: Lane, hold: Hold) -> None:
    try:
        hold.release()
    except Exception:
        # No caller is left to raise it to.
        log.exception("could not release the lock of %s, for which no ticket waits any more", lane.key)
