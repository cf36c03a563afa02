"""The in-process FIFO: one lane per key, which exists only while a ticket is in it.

Promise    Tickets of one key come to the head in the order in which they joined, whatever mix of tasks, loops and
           threads they belong to; each is named head before it is woken, so no other ticket gets in between. A ticket
           that leaves the line never comes up. With the last ticket the lane, its hold and its waiting thread go.
How        The head asks the lane's door for a hold, once, in its own thread. If the door is shut, one waiting thread
           for the whole lane waits at it; the wait belongs to the lane, so the ticket at the head when it ends gets the
           hold. A head that leaves passes the hold on to the next one, or gives it back first if the door reports
           that another process is waiting.
Does not   interpret a key or a hold, nor handle deadlines: those are floor 3's (`per_store_writer_queue.py`).

Interrupts A KeyboardInterrupt can arrive wherever CPython looks for signals: where a function begins, where a loop
           jumps back, and after a call of something written in C. Between a few plain stores it cannot. So what must
           happen together is a sequence of plain stores that ends with one call in C at most; every step can be
           repeated; and a ticket keeps its successor in `following` until that has been woken.
           `with _mutex` is safe: CPython checks for no signal between the `__enter__` of an RLock and the block.
           No thread sleeps with the mutex held, and code that interrupts a step is refused a turn (`inside`).

Rules      `_mutex` guards `_lanes` (a lane is added with one `setdefault`, without it) and, of every lane, `head`,
           `queue`, `opening` and the tickets' `state`.
           `hold` belongs to the head while it is CALLED or HOLDING, to the waiting thread while `opening`.
           No call of a door or a hold is made under the mutex: those may take as long as a disk does.
           The mutex is re-entrant: while a thread holds it, the garbage collector may close a coroutine whose ticket
           waits in line, and that ticket then leaves the line in the same thread.
"""

from __future__ import annotations

import enum
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from threading import get_ident
from typing import Any, Final, Protocol, TypeVar

from storewriter._platform import forks, threads
from storewriter._platform.interrupts import until_done
from storewriter._turns.waiters import ThreadWaiter, Waiter

log = logging.getLogger("storewriter")

T = TypeVar("T")


class Hold(Protocol):
    """What the door hands out: the right to be the only one inside. A value, used once."""

    def may_pass(self) -> bool:
        """Whether the hold may go on to the next ticket in this lane; False if another process should come first."""
        ...

    def release(self) -> None:
        """Give it back."""
        ...


class Door(Protocol):
    """Takes the lock for the head of a lane: by one attempt, or by a wait in the lane's waiting thread."""

    def attempt(self, key: str, label: str | None) -> Hold | None:
        """One try, in the caller's thread. Never waits."""
        ...

    def wait(self, key: str, label: str | None, wanted: Callable[[], bool], replace: Callable[[], None]) -> Hold | None:
        """Wait for the hold, in the lane's waiting thread. None once `wanted()` is false.

        A wait that is stuck may call `replace`, from another thread, which starts a second wait; the first one then
        raises `WaiterReplaced`.
        """
        ...


class State(enum.IntEnum):
    """Where a ticket is in its life."""

    WAITING = 0
    """In line, or at the head while the waiting thread waits at the door."""
    CALLED = 1
    """At the head, without a hold: it must ask the door itself."""
    HOLDING = 2
    """It has its turn."""
    FAILED = 3
    """At the head, and the door broke (`ticket.error`)."""
    BATCHED = 4
    """In the batch of the head: it will be answered, and cannot leave any more."""
    ANSWERED = 5
    """Its batch has been committed or has failed."""
    LEFT = 6
    """Out of the line."""


# As plain names: a look-up of an enum member costs more than the rest of most functions here.
WAITING, CALLED, HOLDING, FAILED, BATCHED, ANSWERED, LEFT = State

NOBODY, SENT, THERE = range(3)
"""The lane's waiting thread: none; one has been started; it waits at the door. In state SENT another thread may be
started: the first one to run sets THERE, and later ones exit."""


class Nobody:
    """The waiter of a caller that is gone: `wake` returns False."""

    def wake(self) -> bool:
        """See `Waiter`."""
        return False

    def is_leaving(self) -> bool:
        """See `Waiter`."""
        return True


class Ticket:
    """One place in a line."""

    # Defaults stand in the class: most turns never need most of these, and a turn is counted in microseconds.
    state: State = WAITING
    waiter: Waiter | None = None
    """Set before another thread could wake it."""
    is_async = False
    is_quick = True
    """Whether its thread may release a hold, or must not be kept waiting (a task, and a lock that may wait)."""
    began = 0.0
    """When its turn began (seconds since the epoch)."""
    error: BaseException | None = None
    batch_key: object = None
    """Tickets next to each other with equal keys may be in one batch; None: never."""
    request: Any = None
    """What the batch does for it; opaque here."""
    batch: Any = None
    """The open batch of the ticket that has the turn; opaque here."""
    before: Ticket | None = None
    """The member before it in its batch."""
    is_member = False
    """Whether it is in a batch, which will answer it."""
    handed_on: Any = None
    """The batch that it has handed on, and whose answer it waits for; opaque here."""
    deadline: float | None = None
    """Until when it may be put into a batch (time.monotonic())."""
    lane: Lane
    """Set when it joins."""
    joined = False
    following: Ticket | None = None
    """The successor that it named when it left, if that is still to be woken."""
    grip: object = None
    """A weak reference to the object that ends the turn; its callback ends the turn if that is gone. Opaque here."""
    place = -1
    """How many tickets were before it when a long line was last counted."""

    def __init__(self, identity: object, thread: int, label: str | None) -> None:
        self.identity = identity
        """The owner of the ticket: the task, or the thread where there is none."""
        self.thread = thread
        self.label = label
        self.generation = forks.generation
        self.ender: dict[None, int] = {}
        """The thread that has claimed the end of the turn, one at most; others return at once."""

    def new_waiter(self) -> Waiter:
        """How its owner sleeps."""
        return ThreadWaiter()

    def is_lost(self) -> bool:
        """Whether it was woken for its turn, and will never be awake."""
        return False


class Lane:
    """The queue of one key: its head, and the tickets behind it."""

    hold: Hold | None = None
    opening = NOBODY
    """Whether a waiting thread is at the door."""
    queue: deque[Ticket] | None = None
    left = 0
    """Tickets in `queue` that have left: skipped when they come up, swept out when they outnumber the rest."""

    counted = 0.0
    """When the places in a long line were last counted."""
    seen: Any = None
    """The holder of the lock as it was last looked up; opaque here."""

    def __init__(self, key: str, door: Door, head: Ticket) -> None:
        self.key = key
        self.door = door
        self.head: Ticket | None = head

    def waiting(self) -> int:
        """How many wait behind the head."""
        return 0 if self.queue is None else len(self.queue) - self.left

    def in_line(self) -> Iterable[Ticket]:
        """The head and those behind it, in order."""
        if self.head is not None:
            yield self.head
        yield from (ticket for ticket in self.queue or () if ticket.state is not LEFT)

    def first(self, queue: deque[Ticket]) -> Ticket | None:
        """The first ticket in the queue that has not left; it stays in the queue."""
        while queue:
            ticket = queue[0]
            if ticket.state is not LEFT:
                return ticket
            self.left -= 1
            queue.popleft()
        return None

    def drop(self, ticket: Ticket) -> None:
        """Mark a waiting ticket as gone. Amortised O(1): the queue is compacted when more than half of it has left."""
        ticket.state = LEFT
        self.left += 1
        queue = self.queue
        if queue is not None and self.left > 32 and self.left * 2 > len(queue):
            self.queue = deque(other for other in queue if other.state is not LEFT)
            self.left = 0


_mutex = threading.RLock()
_lanes: dict[str, Lane] = {}

STEP: Final = ("", None)
Mark = tuple[str, Any]
inside: dict[int, Mark] = {}
"""By thread, what it is in the middle of: `STEP`, a step of some lane, or `(key, mark before)`, a wait or a commit for
that store. Code that asks for a turn in such a thread is a signal handler, a finalizer or a function of a lock or a
codec: in a step it gets no turn at all, otherwise none on the same store, because the wait could only end after it has
returned. Set and removed with plain stores, without a call, so that no interrupt comes in between."""


def _reset_in_child() -> None:
    # The parent's threads do not exist here; one of them may have been inside the mutex.
    global _mutex, _lanes
    _mutex = threading.RLock()
    _lanes = {}
    inside.clear()


forks.in_child(_reset_in_child)


def join(ticket: Ticket, key: str, door: Door, object_to: Callable[[Lane, Any, Any], BaseException | None]) -> bool:
    """Put a ticket into the lane. True: at the head, with the door to be asked; False: behind a ticket, to be woken.

    `object_to` is called under the mutex when the lane exists, and may return the error to raise instead of joining.
    """
    if key not in _lanes:
        ticket.lane = Lane(key, door, ticket)
        ticket.state = CALLED
        ticket.joined = True
        # One operation, without the mutex: if two threads find no lane, one lane is made.
        if _lanes.setdefault(key, ticket.lane) is ticket.lane:
            return True
        ticket.joined = False
        ticket.state = WAITING
    with _mutex:
        lane = _lanes.get(key)
        if lane is None:
            return join(ticket, key, door, object_to)  # they have left meanwhile
        objection = object_to(lane, ticket, door)
        if objection is not None:
            raise objection
        ticket.waiter = ticket.new_waiter()
        ticket.lane = lane
        queue = lane.queue
        if lane.head is None:
            # The other tickets have left, but the waiting thread is still at the door: its hold goes to this ticket.
            lane.head = ticket
            ticket.joined = True
            return False
        if queue is None:
            queue = lane.queue = deque()
        ticket.joined = True
        queue.append(ticket)
        return False


def attempt(ticket: Ticket) -> bool:
    """The head asks the door, in its own thread. False: it is shut. An error of the door leaves the ticket CALLED."""
    lane = ticket.lane
    hold = lane.door.attempt(lane.key, ticket.label)
    if hold is None:
        return False
    lane.hold = hold
    ticket.state = HOLDING
    return True


def wait_at_door(ticket: Ticket) -> None:
    """The head sends the lane's waiting thread to the door; the ticket's waiter is woken with the hold.

    Raises RuntimeError if the system gives no more threads.
    """
    lane = ticket.lane
    with _mutex:
        ticket.state = WAITING
        lane.opening = SENT
    try:
        threads.start(_open, lane, forks.generation)
    except RuntimeError:
        with _mutex:
            if lane.opening is SENT:
                lane.opening = NOBODY
                ticket.state = CALLED
        raise


def give_up(ticket: Ticket) -> bool:
    """Leave the line before the turn: cancelled, too late, or the door broke. Can be repeated.

    False: the ticket has its turn by now, or is in a batch.
    """
    if not ticket.joined or ticket.generation != forks.generation:
        return True
    lane = ticket.lane
    with _mutex:
        state = ticket.state
        if state is HOLDING or state is BATCHED or state is ANSWERED:
            return False
        if state is not LEFT:
            if lane.head is not ticket:
                lane.drop(ticket)
            else:
                _call_next(lane, ticket)
    see_off(ticket)
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


def pass_on(ticket: Ticket) -> None:
    """End a turn: name the next head, or give the hold back and close the lane. Can be repeated.

    Once: if it has ended, or another thread is about to end it, this does nothing.
    May raise what releasing the hold raises; the line has gone on by then.
    """
    if ticket.generation != forks.generation:
        return  # a forked child: the turn is its parent's
    problem = _advance(ticket) if ticket.state is HOLDING else None
    if ticket.following is not None:
        see_off(ticket)
    if problem is None:
        return
    try:
        raise problem
    finally:
        # An error refers to this frame, and this frame to the error: the cycle would keep the caller's frames alive,
        # and with them turns that end when their owner is collected.
        del problem


def _advance(ticket: Ticket) -> BaseException | None:
    """Name the head after this one, which has the turn. Returns what releasing the hold raised.

    Can be repeated in the same thread. One thread only does this: two at once would each name a head.
    """
    lane = ticket.lane
    problem: BaseException | None = None
    this = get_ident()
    if ticket.ender.setdefault(None, this) != this:
        return None
    while ticket.state is HOLDING:
        hold = lane.hold
        if hold is not None and not (lane.queue and lane.waiting() and _may_pass(hold)):
            # Outside the mutex, and while we still are the head: a ticket that comes now waits in line, instead of
            # finding the door shut by a hold that is on its way out.
            try:
                hold.release()
            except BaseException as error:  # raised by whichever function ends the turn
                problem = error
                _release_again(hold)
            lane.hold = None
        with _mutex:
            if ticket.state is not HOLDING:
                break
            queue = lane.queue
            following = lane.first(queue) if queue else None
            if queue is None or following is None:
                if lane.hold is not None:
                    continue  # the last ticket left meanwhile: release the hold in the next round
                if _lanes.get(lane.key) is lane:
                    del _lanes[lane.key]
                lane.head = None
                ticket.state = LEFT
                break
            # From here to the call nothing can come between.
            if lane.hold is not None:
                following.state = HOLDING
            else:
                lane.opening = SENT
            lane.head = following
            ticket.following = following
            ticket.state = LEFT
            queue.popleft()
    return problem


def _may_pass(hold: Hold) -> bool:
    try:
        return hold.may_pass()
    except Exception:
        log.exception("a lock could not say whether somebody waits for it; it is given back")
        return False


def _release_again(hold: Hold) -> None:
    """Give a hold back for certain."""
    try:
        hold.release()
    except Exception:
        # It had been released before the interrupt arrived.
        log.debug("a hold was released although the release was interrupted", exc_info=True)


def admit(ticket: Ticket) -> Ticket | None:
    """Put the next in line into the head's batch, if it may be. Until now it can leave, and its deadline counts."""
    lane, batch = ticket.lane, ticket.batch
    if ticket.batch_key is None or not lane.queue:
        return None
    this = get_ident()
    outer = inside.get(this)
    inside[this] = STEP
    try:
        with _mutex:
            other = lane.first(lane.queue)
            if other is None or not _may_join(other, ticket):
                return None
            # Plain stores: interrupted, the ticket is in line, or in the batch.
            other.before, batch.last, other.is_member, other.state = batch.last, other, True, BATCHED
            lane.queue.popleft()
            return other
    finally:
        if outer is not None:
            inside[this] = outer
        elif this in inside:
            del inside[this]


def hand_on(ticket: Ticket) -> bool:
    """Make the next in line the head, with the hold and the open batch, if it may be in that. False: it may not.

    It applies its function in its own thread, and saves what was applied before as well. Can be repeated.
    """
    lane = ticket.lane
    if ticket.batch_key is None or not lane.queue:
        return False
    if ticket.waiter is None:
        ticket.waiter = ThreadWaiter()
    with _mutex:
        following = lane.first(lane.queue)
        if following is None or not _may_join(following, ticket):
            return False
        # From here to the call nothing can come between.
        following.batch, following.state = ticket.batch, HOLDING
        lane.head = ticket.following = following
        ticket.handed_on = ticket.batch if ticket.is_member else None
        ticket.batch = None
        ticket.state = BATCHED if ticket.is_member else LEFT
        lane.queue.popleft()
    return True


def _may_join(other: Ticket, head: Ticket) -> bool:
    if other.batch_key is not head.batch_key and other.batch_key != head.batch_key:
        return False
    if other.waiter is not None and other.waiter.is_leaving():
        return False
    return other.deadline is None or time.monotonic() < other.deadline


def answer(ticket: Ticket) -> None:
    """The outcome of a member of a batch is in its request. If its loop is closed, nothing is left to wake."""
    ticket.state = ANSWERED
    assert ticket.waiter is not None
    ticket.waiter.wake()


def in_step(step: Callable[..., T], *args: Any) -> T:
    """Make a step of a lane, in a task: code that interrupts it is refused a turn (`inside`)."""
    this = get_ident()
    outer = inside.get(this)
    inside[this] = STEP
    try:
        return step(*args)
    finally:
        if outer is not None:
            inside[this] = outer
        elif this in inside:
            del inside[this]


def is_in_step() -> bool:
    """Whether this thread is in the middle of a step of some lane."""
    return inside.get(get_ident()) is STEP


def find(key: str) -> Lane | None:
    """The lane of a key; None if no ticket is in it."""
    return _lanes.get(key)


def older_than(lane: Lane) -> list[str]:
    """The keys of the lanes that were there before this one."""
    keys = list(_lanes)
    return keys[: keys.index(lane.key)] if lane.key in keys else []


def pending(key: str) -> int:
    """How many wait, without the one that has its turn.

    Without the mutex: a signal handler must be able to call this in a thread that holds it.
    """
    lane = _lanes.get(key)
    head = None if lane is None else lane.head
    if lane is None or head is None:
        return 0
    return lane.waiting() + (head.state is not HOLDING)


_LONG: Final = 100
_RECOUNT: Final = 0.05
"""Seconds for which the counted places of a long line are reused: counting walks the whole line for every caller."""


def ahead_of(ticket: Ticket) -> int:
    """How many tickets are before this one, the head included; in a long line, as of up to `_RECOUNT` seconds ago."""
    lane = ticket.lane
    with _mutex:
        if lane.waiting() <= _LONG:
            return _place_of(ticket)
        if time.monotonic() - lane.counted >= _RECOUNT:
            for place, other in enumerate(lane.in_line()):
                other.place = place
            lane.counted = time.monotonic()
        return ticket.place if ticket.place >= 0 else lane.waiting()


def _place_of(ticket: Ticket) -> int:
    return next((place for place, other in enumerate(ticket.lane.in_line()) if other is ticket), 0)


def _call_next(lane: Lane, ticket: Ticket) -> None:
    """Under the mutex: the head leaves without a turn, and names the next one. Can be repeated."""
    queue = lane.queue
    following = lane.first(queue) if queue else None
    if queue is None or following is None:
        if lane.opening is not THERE and _lanes.get(lane.key) is lane:
            del _lanes[lane.key]
        lane.head = None
        ticket.state = LEFT
        if lane.opening is SENT:
            lane.opening = NOBODY  # the thread that was started finds this when it runs, and exits
        return
    # No interrupt can come between the following lines. A wait that has begun goes on, for the ticket that is at the
    # head when it ends. In state SENT, after an interrupt, the thread may not have been started: another one will be.
    if lane.opening is not THERE:
        if lane.opening is NOBODY:
            following.state = CALLED
        ticket.following = following
    lane.head = following
    ticket.state = LEFT
    queue.popleft()


def see_off(ticket: Ticket) -> None:
    """Wake the successor that a ticket named when it left. Can be repeated: waking twice does no harm."""
    _rouse(ticket.following)
    ticket.following = None


def _rouse(head: Ticket | None) -> None:
    """Wake a named head, or start the lane's waiting thread for it.

    Tickets whose loop is closed are passed over: the line would wait for them for ever. In a loop, not by recursion:
    there may be many such tickets, one behind the other.
    """
    while head is not None:
        if head.lane.opening is SENT:
            head = _send(head.lane)
            if head is None:
                return
        if head.waiter is None or head.waiter.wake():
            return
        _pass_over(head)
        head = head.following


def _pass_over(head: Ticket) -> None:
    """A head whose loop is closed names the next one. Does nothing if it has."""
    while True:
        if head.state is HOLDING:
            error = _advance(head)
            if error is not None:
                log.error("could not release the lock of a task whose loop is closed", exc_info=error)
            return
        with _mutex:
            if head.state is HOLDING:
                continue  # the hold arrived just now
            if head.state is not LEFT:
                _call_next(head.lane, head)
            return


def pass_over_lost(lane: Lane) -> None:
    """A head whose loop took the message that woke it, and was closed before it ran again, names the next one."""
    head = lane.head
    if head is not None and head.is_async and head.is_lost():
        _pass_over(head)
        see_off(head)


def _send(lane: Lane) -> Ticket | None:
    """Send the waiting thread to the door.

    If no thread can be started, returns the head: woken, it asks the door itself, and its own caller gets the error
    if no thread can be started then either.
    """
    try:
        threads.start(_open, lane, forks.generation)
    except RuntimeError:
        with _mutex:
            head = lane.head
            if lane.opening is SENT:
                lane.opening = NOBODY
                if head is not None:
                    head.state = CALLED
            return head
    return None


def _open(lane: Lane, generation: int) -> None:
    """The waiting thread of a lane."""
    inside[get_ident()] = STEP
    with _mutex:
        is_first = lane.opening is SENT  # otherwise another thread waits already, or no ticket waits any more
        if is_first:
            lane.opening = THERE
    if is_first:
        _stay(lane, generation)
    else:
        inside.pop(get_ident(), None)


def _stay(lane: Lane, generation: int) -> None:
    """Wait at the door, as the one that was sent, or in place of a thread that is stuck.

    All of it is a step: a finalizer that the garbage collector runs here is refused a turn.
    """
    inside[get_ident()] = STEP
    try:
        while True:  # with `break`, and not with a condition: see tests/turns/test_loops_in_handlers.py
            if _wait_once(lane, generation):
                break
    finally:
        inside.pop(get_ident(), None)


def _wait_once(lane: Lane, generation: int) -> bool:
    """Wait at the door, and give the hold or the error to the head. False: there is neither, and a ticket has come."""
    hold: Hold | None = None
    error: BaseException | None = None
    head = lane.head
    try:
        hold = lane.door.wait(
            lane.key,
            head.label if head is not None else None,
            lambda: lane.head is not None,
            partial(threads.start, _stay, lane, generation),
        )
    except threads.WaiterReplaced:
        return True
    except BaseException as problem:
        error = problem
    return generation != forks.generation or _deliver(lane, hold, error)


def _deliver(lane: Lane, hold: Hold | None, error: BaseException | None) -> bool:
    """Give the hold or the error of a wait to the head. False: there is neither, and a ticket has come meanwhile."""
    while True:
        with _mutex:
            head = lane.head
            if head is not None:
                if hold is None and error is None:
                    return False
                lane.opening = NOBODY
                lane.hold = hold
                head.error = error
                head.state = FAILED if hold is None else HOLDING
                break
            if hold is None:
                lane.opening = NOBODY
                if _lanes.get(lane.key) is lane:
                    del _lanes[lane.key]
                return True
        # Before the lane is closed, and outside the mutex: a ticket that comes meanwhile joins this lane, and the
        # next round waits for a new hold for it.
        _release_unwanted(lane, hold)
        hold = None
    _rouse(head)
    return True


def _release_unwanted(lane: Lane, hold: Hold) -> None:
    try:
        hold.release()
    except Exception:
        # No caller is left to raise it to.
        log.exception("could not release the lock of %s, which nobody wanted any more", lane.key)
