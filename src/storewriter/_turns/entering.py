"""How a caller waits for its turn: a loop over its ticket, in a thread (`enter`) or in a task (`aenter`).

Promise    On return the caller holds the turn, or is answered by a batch; or an error was raised. After an error in a
           task the ticket is out of the line; in a thread `ending.leave_turn` must follow, whatever was raised.
How        `_proceed` returns how long to sleep next; `enter` and `aenter` differ in how they sleep.
"""

from __future__ import annotations

import time
from types import ModuleType
from typing import Any, Final

from storewriter import events
from storewriter._platform import forks
from storewriter._turns import line
from storewriter._turns.adapter import LockAdapter
from storewriter._turns.admission import admission_error, queue_full
from storewriter._turns.closed_loops import off_loop_at_head, watch, watched
from storewriter._turns.ending import decline, give_up, leave, leave_turn
from storewriter._turns.line import ANSWERED, AT_HEAD, BATCHED, FAILED, FOR_ITS_LOOP, HOLDING, UNKNOWN, WAITING, Ticket
from storewriter._turns.marks import STEP, in_step, inside, require_outside
from storewriter._turns.messages import holder, no_thread, timeout_error, warn
from storewriter._turns.off_loop import off_loop, pause, raise_if_cancelled
from storewriter._turns.waiters import NO_WAITER
from storewriter._turns.waiting_thread import pass_over_lost, wait_for_lock
from storewriter.backoff import RetriesExhausted
from storewriter.errors import LockTimeout

_DONE: Any = object()
"""Instead of seconds: there is nothing to wait for any more."""

_A_DAY: Final = 86400.0
"""A task without a deadline sleeps for so long at a time: only of one that has a deadline is nothing left in the line
when its loop is closed (`waiters.AsyncioWaiter`)."""


def enter(ticket: Ticket, adapter: LockAdapter) -> None:
    """Wait in this thread for the turn. Whatever is raised, `leave_turn` must follow."""
    thread = ticket.thread
    outer = inside.get(thread)
    if outer is not None:
        require_outside(outer, adapter.key)
    inside[thread] = STEP
    try:
        if ticket.joined:  # put back into the line (`line.put_back`)
            ticket.waiter = ticket.waiter or ticket.new_waiter()
        elif _join(ticket, adapter, False):
            return
        while True:  # with `break`, and not with a condition: see tests/turns/test_loops_in_handlers.py
            seconds = _proceed(ticket)
            if seconds is _DONE:
                break
            inside[thread] = (adapter.key, outer)
            waiter: Any = ticket.waiter  # a `ThreadWaiter`
            waiter.sleep(seconds)
            inside[thread] = STEP
    finally:
        inside[thread] = outer


async def aenter(ticket: Ticket, adapter: LockAdapter) -> None:
    """The same in a task: the loop runs on meanwhile."""
    if ticket.loop is None:
        msg = "`async with` needs a task of asyncio or trio; in plain code use `with`"
        raise RuntimeError(msg)
    if type(ticket.loop) is ModuleType:
        # trio: a task that was cancelled before gets no turn. Taking a free lock has no other checkpoint.
        try:
            await ticket.loop.lowlevel.checkpoint_if_cancelled()
        except BaseException:
            if ticket.joined:  # put back into the line: it may have the turn by now
                await step_back(ticket)
            raise
    else:
        known = watched.get(id(ticket.loop))
        if known is None or known[1]() is None:
            watch(ticket.loop)
    ticket.is_async = True
    ticket.is_quick = adapter.is_quick
    if ticket.joined:  # put back into the line (`line.put_back`)
        ticket.waiter = ticket.waiter or ticket.new_waiter()
    elif _join_in_task(ticket, adapter):
        if _must_give_way(ticket.thread, ticket.asked):
            # While this task has the turn, so that no ticket that joins meanwhile comes before it.
            ticket.suspended = FOR_ITS_LOOP
            try:
                await pause(ticket.loop)
            except BaseException:
                leave_turn(ticket)
                raise
            ticket.suspended = UNKNOWN
        return
    try:
        if not ticket.is_quick and await _takes_what_is_free(ticket):
            return
        while True:  # as in `enter`
            # These two save the call for most tickets, which sleep once and are ANSWERED when they wake up.
            if ticket.state is ANSWERED:
                break
            if ticket.state is WAITING and not ticket.has_slept:
                seconds = _first_pause(ticket)
            else:
                seconds = in_step(_proceed, ticket)
            if seconds is _DONE:
                break
            waiter: Any = ticket.waiter  # an `AsyncWaiter`
            await waiter.sleep(_A_DAY if seconds is None else seconds)
    except LockTimeout:
        # If an outer scope was cancelled at the same moment, the cancellation is the truth.
        await pause(ticket.loop)
        raise
    except GeneratorExit:
        # The task is being torn down, and nothing can be awaited any more.
        ticket.waiter = NO_WAITER
        if not in_step(leave, ticket):
            in_step(decline, ticket)
        raise
    except BaseException:
        await step_back(ticket)
        raise


async def _takes_what_is_free(ticket: Ticket) -> bool:
    """One attempt off the loop, for a head that would not wait for the waiting thread's. False: it was not free."""
    if ticket.state is not AT_HEAD or not (ticket.timeout == 0 or ticket.settings.max_pending == 0):
        return False
    is_ours, cancelled = await off_loop_at_head(ticket, lambda: _attempt(ticket), lambda: _leave_or_decline(ticket))
    if cancelled is not None:
        raise cancelled
    await raise_if_cancelled(ticket.loop)
    if is_ours:
        _begin(ticket)
    ticket.found_taken = not is_ours
    return is_ours


def _leave_or_decline(ticket: Ticket) -> None:
    """In a thread: leave the line, with a turn or without one."""
    if not give_up(ticket):
        decline(ticket)


async def step_back(ticket: Ticket) -> None:
    """Remove the ticket from the lane before returning, so that the task may ask again at once."""
    while not in_step(leave, ticket):
        if ticket.state is HOLDING:
            await off_loop(lambda: decline(ticket), ticket.loop)
            return
        if ticket.state is ANSWERED:
            if ticket.replacement is not None:
                await step_back(ticket.replacement)
            return
        # BATCHED: the update is applied and will be saved with its batch. Wait for the answer first.
        waiter: Any = ticket.waiter
        await waiter.sleep_through()


def _join_in_task(ticket: Ticket, adapter: LockAdapter) -> bool:
    """`_join`, as one step of this thread: the loop's other tasks run after it."""
    thread = ticket.thread
    outer = inside.get(thread)
    if outer is not None:
        require_outside(outer, adapter.key)
    inside[thread] = STEP
    try:
        return _join(ticket, adapter, not ticket.is_quick)
    finally:
        inside[thread] = outer


def _join(ticket: Ticket, adapter: LockAdapter, by_thread: bool) -> bool:
    """Join the lane and, at its head, try to take the lock at once. False: the caller must wait.

    `by_thread`: an attempt may take as long as a disk, so the waiting thread makes it.
    """
    if not forks.installed:
        forks.install()
    if ticket.asked >= adapter.next_look():
        adapter.look()
    if not line.join(ticket, adapter, admission_error):
        return False
    if not by_thread:
        hold = adapter.attempt(ticket.label)  # as `_attempt` and `_begin`, without the calls
        if hold is not None:
            ticket.lane.hold = hold
            ticket.state = HOLDING
            ticket.began = time.time()
            if events.subscribers:
                _emit_taken(ticket)
            return True
        ticket.found_taken = True
    ticket.waiter = ticket.new_waiter()
    return False


def _attempt(ticket: Ticket) -> bool:
    """The head tries to take the lock, in its own thread. False: it is taken. An error leaves the ticket AT_HEAD."""
    lane = ticket.lane
    hold = lane.adapter.attempt(ticket.label)
    if hold is None:
        return False
    lane.hold = hold
    ticket.state = HOLDING
    return True


def _begin(ticket: Ticket) -> None:
    """The hold is ours: the turn begins."""
    ticket.began = time.time()
    if events.subscribers:
        _emit_taken(ticket)


def _emit_taken(ticket: Ticket) -> None:
    waited = time.monotonic() - ticket.asked
    events.emit(events.TurnTaken(path=ticket.lane.key, waited=waited, label=ticket.label))


# -- the waiting loop --------------------------------------------------------------------------------------------------


def _proceed(ticket: Ticket) -> Any:
    """Return `_DONE`, or the seconds to sleep next (None: until woken).

    If it raises, the ticket has left the line.
    """
    state = ticket.state
    if state is ANSWERED:
        return _DONE
    try:
        if state is HOLDING:
            # The hold came from the head before, or from the lane's waiting thread: write this turn's label.
            hold: Any = ticket.lane.hold
            hold.describe(ticket.label)
            ticket.began = time.time()  # as `_begin`, without the call
            if events.subscribers:
                _emit_taken(ticket)
            return _DONE
        if state is WAITING and not ticket.has_slept:
            return _first_pause(ticket)
        return _proceed_slowly(ticket)
    except BaseException:
        give_up(ticket)  # keeps a turn that has come meanwhile: it may carry unsaved updates of others
        raise


def _first_pause(ticket: Ticket) -> float | None:
    """Most waits end before anything needs to be looked at."""
    ticket.has_slept = True
    warn_after, timeout = ticket.settings.warn_after, ticket.timeout
    if warn_after is None or timeout is None:
        return timeout if warn_after is None else warn_after
    return warn_after if warn_after < timeout else timeout


def _proceed_slowly(ticket: Ticket) -> Any:
    ticket.has_slept = True
    now = time.monotonic()
    late = ticket.deadline is not None and now >= ticket.deadline
    if ticket.state is FAILED:
        assert ticket.error is not None
        if isinstance(ticket.error, RetriesExhausted):
            raise timeout_error(ticket, holder(ticket), 0, now - ticket.asked)
        raise ticket.error
    retry: float | None = None
    if ticket.state is AT_HEAD:
        may_try = not ticket.found_taken and (ticket.is_quick or not ticket.is_async)
        if may_try and _attempt(ticket):
            _begin(ticket)
            return _DONE
        was_taken, ticket.found_taken = ticket.found_taken, False
        if not late and len(line.lanes) > 1 and _has_moved(ticket, was_taken):
            return _proceed(ticket)
        if not late:  # no thread for a wait that has already ended
            if ticket.settings.max_pending == 0:
                raise queue_full(ticket, ticket.lane.key, 0)
            retry = _wait_for_lock(ticket)
    pass_over_lost(ticket.lane)
    if late:
        _time_out(ticket, now - ticket.asked)
        if ticket.state in (HOLDING, ANSWERED):
            return _proceed(ticket)
    warn_at = None if ticket.settings.warn_after is None else ticket.asked + ticket.settings.warn_after
    if not ticket.was_warned and warn_at is not None and now >= warn_at:
        ticket.was_warned = True
        warn(ticket, now - ticket.asked)
    if ticket.state is BATCHED:
        # The batch answers the ticket.
        return None
    moments = (ticket.deadline, retry, None if ticket.was_warned else warn_at)
    due = [moment for moment in moments if moment is not None]
    return max(0.0, min(due) - now) if due else None


_FEW = 16


def _has_moved(ticket: Ticket, was_taken: bool) -> bool:
    """Whether this store has an older line under another name, and the ticket has moved there.

    More than `_FEW` lines are searched only if the lock was found taken.
    """
    lane = ticket.lane
    older = line.older_than(lane)
    if not older or (len(older) > _FEW and not was_taken):
        return False
    adapter = lane.adapter.same_lock(older)
    if adapter is None:
        return False
    leave(ticket)
    ticket.joined = False
    ticket.state = WAITING
    line.join(ticket, adapter, admission_error)
    return True


def _wait_for_lock(ticket: Ticket) -> float | None:
    """Send the waiting thread. Returns when to try again (time.monotonic()) where no thread can be had."""
    try:
        wait_for_lock(ticket)
    except RuntimeError as error:
        # No thread to be had: the limit is reached, or the interpreter is shutting down (`atexit`). A plain thread
        # tries again by itself after a pause; a task must not block its loop for that.
        if ticket.delays is None:
            ticket.delays = ticket.settings.backoff.delays()
        delay = None if ticket.is_async else next(ticket.delays, None)
        if delay is None:
            raise no_thread(ticket.lane.key, error) from error
        return time.monotonic() + delay
    return None


def _time_out(ticket: Ticket, waited: float) -> None:
    """The deadline has passed: leave, and raise an error that names the holder. Nothing if the turn has just come."""
    owner = holder(ticket)
    ahead = line.ahead_of(ticket)
    if not give_up(ticket):
        return
    mismatch = None if owner is None else ticket.lane.adapter.mismatch(owner)
    if mismatch is not None:
        raise mismatch
    if events.subscribers:
        events.emit(
            events.TurnTimedOut(path=ticket.lane.key, waited=waited, owner=owner, label=ticket.label),
        )
    raise timeout_error(ticket, owner, ahead, waited)


# -- fairness between the tasks of a loop ------------------------------------------------------------------------------

_GIVE_WAY = 0.004
"""Seconds for which turns that need no waiting may follow each other on one loop before the other tasks run."""

_gave_way: dict[int, float] = {}
"""By thread: when its loop last let its other tasks run between two turns."""


def _must_give_way(thread: int, now: float) -> bool:
    """Whether the loop's other tasks should run first: taking a free lock is no checkpoint, so they could starve."""
    last = _gave_way.get(thread, 0.0)
    if now - last < _GIVE_WAY:
        return False
    if len(_gave_way) > 64:
        _gave_way.clear()
    _gave_way[thread] = now
    return now - last < 1.0
