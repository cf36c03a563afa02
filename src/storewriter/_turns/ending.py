"""How a ticket leaves its line, and how a turn ends: also if it is interrupted, abandoned or collected.

Promise    A turn ends when it is left, or when nothing refers to it any more. What was applied in it is saved first,
           the turn is passed on or the lock given back, and the members of its batch are answered at the end.
           Every function here can be repeated.
Which      Without a turn: `give_up` leaves the line; `leave` also passes on a turn that came meanwhile.
           With a turn: `pass_on` names and wakes the next head; `decline` does that for a caller that has gone, and
           logs errors; `leave_turn` does all of it for a turn with a batch (save, `pass_on`, flush, answer), and
           `end_turn` does so without the answers.
"""

from __future__ import annotations

import _thread
import logging
import time
from collections.abc import Callable
from functools import partial
from operator import methodcaller
from threading import get_ident
from types import MethodType
from typing import Any, Final
from weakref import ref

from storewriter import events
from storewriter._platform import forks, threads
from storewriter._platform.interrupts import is_of_a_step, until_done
from storewriter._turns import line
from storewriter._turns.line import ANSWERED, BATCHED, HOLDING, LEFT, Ticket
from storewriter._turns.marks import STEP, inside
from storewriter._turns.waiting_thread import wake_successor
from storewriter.errors import LockLost

log = logging.getLogger("storewriter")


# -- without a turn ----------------------------------------------------------------------------------------------------


def give_up(ticket: Ticket) -> bool:
    """Leave the line before the turn: cancelled, too late, or the lock failed.

    False: the ticket has its turn by now, or is in a batch.
    """
    if not ticket.joined or ticket.generation != forks.generation:
        return True
    lane = ticket.lane
    with line.mutex:
        state = ticket.state
        if state is HOLDING or state is BATCHED or state is ANSWERED:
            return False
        if state is not LEFT:
            if lane.head is not ticket:
                lane.drop(ticket)
            else:
                line.call_next(lane, ticket)
    wake_successor(ticket)
    return True


def leave(ticket: Ticket) -> bool:
    """The same, and pass on a turn that the ticket was given meanwhile.

    False: it cannot leave like that, because it is in a batch; or because this thread must not wait for the release
    (`decline`).
    """
    if give_up(ticket):
        return True
    if ticket.state is not HOLDING or not ticket.is_quick:
        return False
    decline(ticket)
    return True


def decline(ticket: Ticket) -> None:
    """End a turn whose caller has left; what its release raises is logged."""
    try:
        until_done(pass_on, ticket)
    except Exception:
        log.exception("could not release the lock of %s", ticket.lane.key)


# -- with a turn -------------------------------------------------------------------------------------------------------


def pass_on(ticket: Ticket) -> None:
    """End a turn: name the next head and wake it, or give the hold back and close the lane.

    Once: if it has ended, or another thread is about to end it, this does nothing.
    May raise what releasing the hold raises; the line has gone on by then.
    """
    if ticket.generation != forks.generation:
        return  # a forked child: the turn is its parent's
    problem = line.advance(ticket) if ticket.state is HOLDING else None
    if ticket.successor is not None:
        wake_successor(ticket)
    if problem is None:
        return
    try:
        raise problem
    finally:
        # An error refers to this frame, and this frame to the error: the cycle would keep the caller's frames alive,
        # and with them turns that end when the object that ends them is collected.
        del problem


def leave_turn(ticket: Ticket) -> None:
    """End a turn: save what was applied, pass the turn on or give the lock back, flush, answer the batch's members.

    A ticket without a turn leaves the line. In a thread, one that has handed its batch on waits for the answer.
    Whatever comes in the middle is raised when all that is done.
    """
    if ticket.batch is None and (not ticket.joined or ticket.state is ANSWERED):
        return
    try:
        _end_turn(ticket)
    except BaseException as error:
        until_done(_end_turn, ticket, problem=error)


def leave_for_good(ticket: Ticket) -> None:
    """End a turn whose caller goes away: with an error, or because it is gone. It does not begin anew."""
    last: Ticket | None = ticket
    while last is not None:
        leave_turn(last)
        last = last.replacement


def leave_each(tickets: list[Ticket]) -> None:
    """End turns, last in first out, and every one of them even if one release fails.

    Raises the last error, with those before it as its context. What is in the list then has not ended: `end_apart` must
    follow.
    """
    try:
        while True:  # with `break`, and not with a condition: see tests/turns/test_loops_in_handlers.py
            if not tickets:
                break
            leave_turn(tickets[-1])
            del tickets[-1]
    except BaseException:
        if tickets and tickets[-1].finalizer is None:
            del tickets[-1]
            leave_each(tickets)
        raise


def end_turn(ticket: Ticket) -> None:
    """The same up to the answers, which a task gives on its own loop."""
    until_done(_end_turn, ticket, False)


def _end_turn(ticket: Ticket, answers: bool = True) -> None:
    if ticket.generation != forks.generation:
        ticket.batch = None
        return  # a forked child: the turn, and what was applied in it, is its parent's
    thread = get_ident()
    outer = inside.get(thread)
    try:
        inside[thread] = STEP
        if ticket.state is not HOLDING:
            # Before the look at the batch: until it is out of the line, it may be given the turn and a batch with it.
            give_up(ticket)
        if ticket.batch is not None and ticket.state is HOLDING:
            may_hand_on = ticket.lane.queue and not ticket.is_async and ticket.batch.has_time()
            if not may_hand_on or not line.hand_on(ticket):
                inside[thread] = (ticket.lane.key, outer)
                ticket.batch.save(ticket)
                inside[thread] = STEP
                if ticket.generation != forks.generation:
                    raise inherited(ticket)
                if not ticket.batch.is_complete:
                    ticket.batch.put_back(ticket)
        if events.subscribers and ticket.began > 0:
            _emit_released(ticket)
        if ticket.state is BATCHED and not ticket.is_async:
            # The successor is woken as the last thing before the sleep: the woken thread needs the interpreter, which
            # this one gives up by sleeping. Until then this is a step.
            wake_successor(ticket)
            inside[thread] = (ticket.lane.key, outer)
            _wait_for_answer(ticket)
            if ticket.replacement is None:
                ticket.finalizer = None
            return
        try:
            pass_on(ticket)
        except Exception as error:
            if ticket.batch is None or not is_of_a_step(error):
                raise
            # The members get the outcome of the save. If this were raised, a saved update would look like a failed one.
            log.exception("could not release the lock of %s", ticket.lane.key)
        if ticket.replacement is None:
            ticket.finalizer = None
        if ticket.batch is not None:
            inside[thread] = (ticket.lane.key, outer)
            ticket.batch.settle()
    finally:
        inside[thread] = outer
    if answers and ticket.batch is not None:
        ticket.batch.answer()
        ticket.batch = None


def _wait_for_answer(ticket: Ticket) -> None:
    """Sleep until another thread has saved the batch; save its part here if that thread's function takes too long."""
    batch = ticket.handed_on
    waiter: Any = ticket.waiter  # a `ThreadWaiter`
    while batch is not None and ticket.state is BATCHED and ticket.generation == forks.generation:
        part = batch.part(ticket)
        if part is None:
            waiter.sleep(batch.patience(ticket))
        else:
            part.save_part(ticket)
            part.settle()
            part.answer()
    ticket.handed_on = None  # the batch refers to its members
    if ticket.generation != forks.generation:
        raise inherited(ticket)


def answer(ticket: Ticket) -> None:
    """The outcome of a member of a batch is known. If its loop is closed, nothing is left to wake."""
    ticket.state = ANSWERED
    assert ticket.waiter is not None
    ticket.waiter.wake()


def inherited(ticket: Ticket) -> LockLost:
    """The error for a child that was forked in the turn, and goes on in the middle of a call of its parent's."""
    path = ticket.lane.key
    msg = (
        f"this process was forked while its parent had the turn on {path}: nothing of it is saved here. Leave a "
        f"forked child with os._exit() before it returns into the update."
    )
    return LockLost(msg, path=path, owner=None)


def _emit_released(ticket: Ticket) -> None:
    """Once, also if leaving is repeated."""
    began, ticket.began = ticket.began, -1.0
    held = max(0.0, time.time() - began)
    events.emit(events.TurnReleased(path=ticket.lane.key, held=held, label=ticket.label))


# -- a turn that is abandoned ------------------------------------------------------------------------------------------


class Frame:
    """Sentinel whose lifetime equals the caller's frame, because it is kept in a local variable (`tie_to`)."""

    __slots__ = ("__weakref__",)


def tie_to(ticket: Ticket, owner: object) -> None:
    """From now on the turn ends, at the latest, when nothing refers to the owner any more.

    KeyboardInterrupt can arrive before the first instruction of the `__exit__` that would have ended the turn, where no
    `try` can catch it; the callback of this weak reference then releases the turn. It is dropped when the turn is over.
    A `__del__` would run after every turn, and swallow an interrupt that arrives in it.
    """
    # Two of them: an interrupt that is raised in the first callback ends it, and then the other one is called. That one
    # begins nothing of Python's in this thread, so no interrupt can come before its thread has started.
    last, first = Tie(owner, start_last), Tie(owner, release_abandoned)
    first.ticket = ticket
    last.start = MethodType(start_release, (ticket,))
    ticket.finalizer = last, first


class Tie(ref[Any]):
    """A weak reference to the object that ends a turn, with what its callback needs."""

    __slots__ = ("start", "ticket")

    ticket: Ticket
    start: Callable[[], object]
    """Of the one whose callback comes last (the oldest one does): the call that it makes."""


start_last: Final = methodcaller("start")
"""Calls `start` of a `Tie`: written in C, like what it calls."""


def release_abandoned(tie: Tie) -> None:
    """The object that would have ended the turn is gone (`tie_to`)."""
    ticket = tie.ticket
    finalizer: Any = ticket.finalizer
    if inside.get(get_ident()) is not None:
        # The garbage collector freed the owner in the middle of a step of some lane, or of a save or a flush, whose
        # mutex this same thread may hold.
        threads.start(release_in_this_thread, ticket)
    elif _release_alone(ticket) and finalizer is not None:
        finalizer[0].start = bool  # nothing is left to do


_releasing: dict[Ticket, int] = {}
"""The thread that ends an abandoned turn, until it has: another one after that finds nothing to end."""

forks.in_child(_releasing.clear)


def release_in_this_thread(ticket: Ticket) -> None:
    """In a thread of our own: end the turn, unless another thread does."""
    _release_alone(ticket)


def _release_alone(ticket: Ticket) -> bool:
    """Both callbacks, and `end_apart`, may be at it: one thread ends the turn, or two would save its batch at once.

    False: another thread does, or `_release_now` has not come to its end.
    """
    this = get_ident()
    try:
        if _releasing.setdefault(ticket, this) != this:
            return False
        if ticket.releasing_thread == ticket.thread:
            # It was interrupted in the middle of the release, and does not come back to it: its call is over.
            ticket.releasing_thread = this
        return _release_now(ticket)
    finally:
        # Without a call: no interrupt can come in here and leave the claim behind.
        if ticket in _releasing and _releasing[ticket] == this:
            del _releasing[ticket]


start_release: Final = partial(_thread.start_new_thread, release_in_this_thread)
"""`MethodType(start_release, (ticket,))` is the call that a `Tie` makes last: made in half the time of a `partial`."""


def _release_each(tickets: list[Ticket]) -> None:
    for ticket in tickets:
        ticket.identity = None
    for ticket in reversed(tickets):
        release_in_this_thread(ticket)


end_apart: Final = partial(_thread.start_new_thread, _release_each)
"""`end_apart((tickets,))` ends turns whose own call could not, in a thread that no signal handler interrupts.

Interrupts, one right behind the other, end every function in Python where it begins, `leave_turn` too. This is written
in C: in an `except BaseException:` nothing can come between the interrupt and the start of the thread, if only plain
stores stand before it. There, `identity` is set to None: the call is over, so its thread may ask again, and waits.

The weak references (`tie_to`) do not suffice: the frames of the call live as long as what was raised is kept; in a
cycle, until the garbage collector runs, which it does not where all threads wait."""


def _release_now(ticket: Ticket) -> bool:
    """False: it was interrupted, or the release failed; then the line has gone on, but that is not sure here."""
    try:
        leave_for_good(ticket)
    except Exception:
        log.exception("could not release the lock of %s", ticket.lane.key)
        return False
    return True
