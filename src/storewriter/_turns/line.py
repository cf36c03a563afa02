"""The line: one lane per key, with its tickets in the order in which they came. It exists while a ticket is in it.

Promise    Tickets of one key come to the head in the order in which they joined, whatever mix of tasks, loops and
           threads they belong to; each is named head before it is woken, so no other ticket gets in between. A ticket
           that leaves the line never comes up.
How        `join` at one end; at the other, three ways to name the next head: a turn ends (`advance`), a head leaves
           without a turn (`call_next`), a turn is handed on with its open batch (`hand_on`). A ticket keeps the
           `successor` that it has named until that is woken (`waiting_thread.py`).
Does not   wake, wait, start threads or look at deadlines.

Interrupts A KeyboardInterrupt can arrive wherever CPython looks for signals: where a function begins, where a loop
           jumps back, and after a call of something written in C. Between a few plain stores it cannot. So what must
           happen together is a sequence of plain stores that ends with one call in C at most; and every step can be
           repeated.
           `with mutex` is safe: CPython checks for no signal between the `__enter__` of an RLock and the block.
           No thread sleeps with the mutex held, and code that interrupts a step is refused a turn (`marks.py`).

Rules      `mutex` guards `lanes` (a lane is added with one `setdefault`, without it) and, of every lane, `head`,
           `queue`, `waiting_thread` and the tickets' `state`.
           `hold` belongs to the head while it is AT_HEAD or HOLDING, to the waiting thread while there is one.
           No call of an adapter or a hold is made under the mutex: those may take as long as a disk does.
           The mutex is re-entrant: while a thread holds it, the garbage collector may close a coroutine whose ticket
           waits in line, and that ticket then leaves the line in the same thread.
"""

from __future__ import annotations

import enum
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from threading import get_ident
from typing import Any, Final, Protocol
from weakref import ref

import attrs

from storewriter._platform import forks
from storewriter._platform.interrupts import is_of_a_step
from storewriter._platform.owner import Owner
from storewriter._turns.adapter import Hold, LockAdapter
from storewriter._turns.marks import STEP, inside
from storewriter._turns.waiters import ThreadWaiter, Waiter, async_waiter
from storewriter.backoff import Backoff

log = logging.getLogger("storewriter")


class State(enum.IntEnum):
    """Where a ticket is in its life.

    `WAITING -> AT_HEAD -> HOLDING -> LEFT` alone; HOLDING at once if the turn, or the lane's wait, brings the hold.
    A member of a batch is BATCHED before or (in a thread that has handed the batch on) after HOLDING, then ANSWERED.
    A ticket that gives up goes to LEFT from WAITING, AT_HEAD or FAILED, and from no other state.
    """

    WAITING = 0
    """In line, or at the head while the waiting thread waits for the lock."""
    AT_HEAD = 1
    """At the head, without a hold: it must try to take the lock itself."""
    HOLDING = 2
    """It has its turn."""
    FAILED = 3
    """At the head, and the lock failed (`ticket.error`)."""
    BATCHED = 4
    """In the batch of the head: it will be answered, and cannot leave any more."""
    ANSWERED = 5
    """Its batch has been committed or has failed."""
    LEFT = 6
    """Out of the line."""


# As plain names: a look-up of an enum member costs more than the rest of most functions here.
WAITING, AT_HEAD, HOLDING, FAILED, BATCHED, ANSWERED, LEFT = State

NONE, STARTING, RUNNING = range(3)
"""The waiting thread of a lane: none; one has been started; it waits for the lock. In state STARTING another thread may
be started: the first one to run sets RUNNING, and later ones exit."""


UNKNOWN, FOR_A_THREAD, FOR_ITS_LOOP = range(3)
"""What the task of a ticket waits for: a thread that works for it, or nothing but its loop (`closed_loops.py`)."""


@attrs.frozen
class Settings:
    """How tickets wait, as their queue has it."""

    backoff: Backoff
    """Pace of the attempts where no waiting thread can be had."""
    max_pending: int | None
    """How many may wait for one store, without the holder; None: no limit."""
    warn_after: float | None
    """Seconds of waiting after which a log record names the holder; None: never."""


class Batch(Protocol):
    """The open batch of a ticket that has its turn: what was applied and is not saved yet."""

    def has_time(self) -> bool:
        """Whether another ticket may still get into it."""
        ...

    def add(self, ticket: Ticket) -> None:
        """Make a ticket its last member. Plain stores only, so that no interrupt comes in between."""
        ...

    def answers(self, ticket: Ticket) -> bool:
        """Whether the ticket is a member, which gets the batch's answer."""
        ...

    def save(self, ticket: Ticket) -> None:
        """In the turn of this ticket."""
        ...

    is_complete: bool
    """Whether each function that was applied is in the document that was saved."""

    def put_back(self, ticket: Ticket) -> None:
        """In the turn of this ticket, if it is not complete: the members that begin anew keep their place in line."""
        ...

    def settle(self) -> None:
        """After the turn: flush what was saved."""
        ...

    def answer(self) -> None:
        """Answer all members."""
        ...

    def patience(self, ticket: Ticket) -> float | None:
        """Seconds for which a member that has handed it on sleeps before it asks for its `part`."""
        ...

    def part(self, ticket: Ticket) -> Part | None:
        """A batch of what was applied until this member, for it to save, because a later function takes too long."""
        ...


class Part(Batch, Protocol):
    """What was applied before a function that takes too long."""

    def save_part(self, ticket: Ticket) -> None:
        """Save it, in this thread: the ticket's, or that of the function."""
        ...


class Ticket:
    """Who asks for a turn, until when, and with which settings; and where it is in its life. One place in a line.

    Made by `new_ticket`.
    """

    __slots__ = (
        "asked",
        "batch",
        "batch_key",
        "began",
        "deadline",
        "delays",
        "error",
        "finalizer",
        "found_taken",
        "generation",
        "handed_on",
        "has_begun_release",
        "has_slept",
        "hold_is_lost",
        "identity",
        "is_async",
        "is_quick",
        "joined",
        "label",
        "lane",
        "loop",
        "payload",
        "queue_position",
        "release_claim",
        "releasing_thread",
        "replacement",
        "settings",
        "state",
        "successor",
        "suspended",
        "thread",
        "timeout",
        "waiter",
        "was_put_back",
        "was_warned",
    )

    settings: Settings
    label: str | None
    timeout: float | None
    asked: float
    """When its caller asked (`time.monotonic()`)."""
    deadline: float | None
    generation: int
    """Of the process (`forks.generation`): in a forked child the ticket is its parent's."""
    thread: int
    loop: Any
    identity: object
    """The task that asks, as a weak reference: lost inside its turn, it must be collectable, or the turn would never
    end. In plain code the thread."""
    is_async: bool
    is_quick: bool
    """Whether its thread may release a hold, or must not be kept waiting (a task, and a lock that may wait)."""
    lane: Lane
    """Set when it joins."""
    joined: bool
    state: State
    waiter: Waiter | None
    """Set before another thread could wake it."""
    began: float
    """When its turn began (seconds since the epoch)."""
    error: BaseException | None
    batch_key: object
    """Tickets next to each other with equal keys may be in one batch; None: never."""
    batch: Batch | None
    """The open batch of the ticket that has the turn."""
    handed_on: Batch | None
    """The batch that it has handed on, and whose answer it waits for."""
    payload: Any
    """What the batch keeps with the ticket; opaque here."""
    replacement: Ticket | None
    """The ticket with which its caller begins anew; it stands in line already (`put_back`)."""
    was_put_back: bool
    """Whether it is such a ticket."""
    hold_is_lost: bool
    """Whether the hold of its turn must not be passed on."""
    has_begun_release: bool
    """Whether the hold of its turn may have been given back already."""
    release_claim: list[None]
    """The thread that ends the turn deletes its only item: one thread succeeds, and others return at once. That is no
    call, so no interrupt comes between the claim and its name, `releasing_thread`."""
    releasing_thread: int
    """The thread that has claimed the end of the turn; 0: none."""
    suspended: int
    """For what its task waits in code of this package, at the head of the line: `FOR_A_THREAD`, `FOR_ITS_LOOP`."""
    successor: Ticket | None
    """The ticket that it named head when it left, if that is still to be woken."""
    finalizer: tuple[Any, Any] | None
    """Weak references to the object that ends the turn (`ending.tie_to`); dead, it is gone."""
    queue_position: int
    """How many tickets were before it when a long line was last counted."""
    was_warned: bool
    """Whether the log record about its long wait has been written."""
    has_slept: bool
    """Whether the clock has to be looked at before the next sleep."""
    found_taken: bool
    """Whether it has just found the lock taken."""
    delays: Iterator[float] | None
    """Pauses between its own attempts, where no waiting thread can be had."""

    def new_waiter(self) -> Waiter:
        """How its caller sleeps. Made in the caller's thread."""
        return async_waiter(self.loop, self.thread) if self.is_async else ThreadWaiter()

    def again(self) -> Ticket:
        """The same caller on its way to another store, with the same deadline."""
        other = new_ticket(self.settings, self.label, self.timeout)
        other.asked, other.deadline = self.asked, self.deadline
        other.has_slept = True  # part of its time has passed
        return other

    def replaced(self, payload: Any) -> Ticket:
        """The same caller in the same line once more. Made in any thread: it takes the caller from this ticket."""
        other = self.again()
        other.generation, other.thread, other.loop, other.identity = (
            self.generation,
            self.thread,
            self.loop,
            self.identity,
        )
        other.is_async, other.is_quick, other.waiter = self.is_async, self.is_quick, self.waiter
        other.batch_key, other.payload = self.batch_key, payload
        other.lane, other.joined, other.was_put_back = self.lane, True, True
        # It leads to this ticket, whose replacement leaves the line with it.
        other.finalizer = self.finalizer
        return other


def new_ticket(settings: Settings, label: str | None, timeout: float | None) -> Ticket:
    """A ticket of the task or thread that runs here.

    A function with slots to fill, for tickets, lanes, holds and turns: up to CPython 3.12 a call of an `__init__` costs
    as much as all that it does here, and an attribute whose default is in the class is looked up anew each time.
    """
    ticket = Ticket()
    ticket.settings = settings
    ticket.label = label
    ticket.timeout = timeout
    ticket.asked = asked = time.monotonic()
    ticket.deadline = None if timeout is None else asked + timeout
    ticket.generation = forks.generation
    ticket.thread = thread = get_ident()
    task, ticket.loop = current_task()
    ticket.identity = thread if task is None else ref(task)
    ticket.is_async = False
    ticket.is_quick = True
    ticket.joined = False
    ticket.state = WAITING
    ticket.waiter = None
    ticket.began = 0.0
    ticket.error = None
    ticket.batch_key = None
    ticket.batch = None
    ticket.handed_on = None
    ticket.payload = None
    ticket.replacement = None
    ticket.was_put_back = False
    ticket.hold_is_lost = False
    ticket.has_begun_release = False
    ticket.release_claim = [None]
    ticket.releasing_thread = 0
    ticket.successor = None
    ticket.suspended = UNKNOWN
    ticket.finalizer = None
    ticket.queue_position = -1
    ticket.was_warned = False
    ticket.has_slept = False
    ticket.found_taken = False
    ticket.delays = None
    return ticket


class Lane:
    """The queue of one key: its head, and the tickets behind it."""

    __slots__ = ("adapter", "cached_owner", "counted", "head", "hold", "key", "left", "queue", "waiting_thread")

    key: str
    adapter: LockAdapter
    head: Ticket | None
    queue: deque[Ticket] | None
    left: int
    """Tickets in `queue` that have left: skipped when they come up, swept out when they outnumber the rest."""
    hold: Hold | None
    waiting_thread: int
    counted: float
    """When the places in a long line were last counted."""
    cached_owner: tuple[float, Owner | None] | None
    """The holder of the lock as it was last looked up, and when."""

    def waiting(self) -> int:
        """How many wait behind the head."""
        return 0 if self.queue is None else len(self.queue) - self.left

    def in_line(self) -> Sequence[Ticket]:
        """The head and those behind it, in order.

        A list, here and below: in a generator a StopIteration of a signal handler becomes a RuntimeError.
        """
        behind = [ticket for ticket in self.queue or () if ticket.state is not LEFT]
        return behind if self.head is None else [self.head, *behind]

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
            self.queue = deque([other for other in queue if other.state is not LEFT])
            self.left = 0


mutex = threading.RLock()
lanes: dict[str, Lane] = {}
"""By key."""


def _reset_in_child() -> None:
    # The parent's threads do not exist here; one of them may have been inside the mutex.
    global mutex
    mutex = threading.RLock()
    lanes.clear()


forks.in_child(_reset_in_child)

Admission = Callable[[Lane, Ticket, LockAdapter], "BaseException | None"]


def join(ticket: Ticket, adapter: LockAdapter, admission_error: Admission) -> bool:
    """Put a ticket into the lane. True: at the head, and it must try the lock; False: behind a ticket, to be woken.

    `admission_error` is called under the mutex when the lane exists, and may return the error to raise instead.
    """
    key = adapter.key
    if key not in lanes:
        ticket.lane = lane = Lane()
        lane.key = key
        lane.adapter = adapter
        lane.head = ticket
        lane.queue = lane.hold = lane.cached_owner = None
        lane.left = 0
        lane.waiting_thread = NONE
        lane.counted = 0.0
        ticket.state = AT_HEAD
        ticket.joined = True
        # One operation, without the mutex: if two threads find no lane, one lane is made.
        if lanes.setdefault(key, lane) is lane:
            return True
        ticket.joined = False
        ticket.state = WAITING
    with mutex:
        known = lanes.get(key)
        if known is None:
            return join(ticket, adapter, admission_error)  # they have left meanwhile
        lane = known
        error = admission_error(lane, ticket, adapter)
        if error is not None:
            raise error
        ticket.waiter = ticket.new_waiter()
        ticket.lane = lane
        queue = lane.queue
        if lane.head is None:
            # The other tickets have left, but the waiting thread still waits: its hold goes to this ticket.
            lane.head = ticket
            ticket.joined = True
            return False
        if queue is None:
            queue = lane.queue = deque()
        ticket.joined = True
        queue.append(ticket)
        return False


def put_back(ticket: Ticket, payload: Any) -> None:
    """Put the caller of a member of a failed batch back into the line, before all that came after it.

    Called while the turn of the batch goes on. Can be repeated. Nothing if the turn is over: then the caller must ask
    anew.
    """
    lane = ticket.lane
    with mutex:
        if ticket.replacement is not None or lane.head is None or lanes.get(lane.key) is not lane:
            return
        other = ticket.replaced(payload)
        queue = lane.queue
        if queue is None:
            queue = lane.queue = deque()
        # Those that were put back stand in front, in the order in which they asked.
        later = [n for n, it in enumerate(queue) if not it.was_put_back or it.asked > other.asked]
        place = later[0] if later else len(queue)
        ticket.replacement = other  # from here to the call nothing can come between
        queue.insert(place, other)


def advance(ticket: Ticket) -> BaseException | None:
    """Name the head after this one, which has the turn. Returns what releasing the hold raised.

    Can be repeated in the same thread. One thread only does this: two at once would each name a head.
    """
    lane = ticket.lane
    problem: BaseException | None = None
    this = get_ident()
    try:
        del ticket.release_claim[0]
    except IndexError:
        if ticket.releasing_thread != this:
            return None
    else:
        ticket.releasing_thread = this
    try:
        while True:  # with `break`, and not with a condition: see tests/turns/test_loops_in_handlers.py
            if ticket.state is not HOLDING:
                break
            hold = lane.hold
            if hold is not None and not (lane.queue and lane.waiting() and not ticket.hold_is_lost and _may_pass(hold)):
                # Outside the mutex, and while we still are the head: a ticket that comes now waits in line, instead of
                # finding the lock taken by a hold that is on its way out.
                try:
                    if ticket.has_begun_release:
                        _release_again(hold)
                    else:
                        # Interrupted from here on, it may be released already: it is not passed on any more.
                        ticket.has_begun_release = ticket.hold_is_lost = True
                        hold.release()
                except BaseException as error:  # raised by whichever function ends the turn
                    problem = error
                    _release_again(hold)
                lane.hold = None
            with mutex:
                if ticket.state is not HOLDING:
                    break
                queue = lane.queue
                successor = lane.first(queue) if queue else None
                if queue is None or successor is None:
                    if lane.hold is not None:
                        continue  # the last ticket left meanwhile: release the hold in the next round
                    if lanes.get(lane.key) is lane:
                        del lanes[lane.key]
                    lane.head = None
                    ticket.state = LEFT
                    break
                # From here to the call nothing can come between.
                if lane.hold is not None:
                    successor.state = HOLDING
                else:
                    lane.waiting_thread = STARTING
                lane.head = successor
                ticket.successor = successor
                ticket.state = LEFT
                queue.popleft()
        return problem
    finally:
        # It refers to this frame: the cycle would keep the hold, and all that the caller's frames hold, also if another
        # interrupt ends the loop.
        problem = None


def _may_pass(hold: Hold) -> bool:
    try:
        return hold.may_pass()
    except Exception:
        log.exception("a lock could not say whether another process waits for it; it is given back")
        return False


_MOST_RELEASES: Final = 10


def _release_again(hold: Hold) -> None:
    """Give a hold back for certain, after a release that has failed or was interrupted, and may be so again."""
    for _ in range(_MOST_RELEASES):
        try:
            hold.release()
        except Exception as error:
            log.debug("a hold was released although the release was interrupted", exc_info=True)
            if is_of_a_step(error):
                break  # it cannot be
            # A RuntimeError may say that it had been released before the interrupt, or be a signal handler's own.
        else:
            break


def call_next(lane: Lane, ticket: Ticket) -> None:
    """Under the mutex: the head leaves without a turn, and names the next one. Can be repeated."""
    queue = lane.queue
    successor = lane.first(queue) if queue else None
    if queue is None or successor is None:
        if lane.waiting_thread is not RUNNING and lanes.get(lane.key) is lane:
            del lanes[lane.key]
        lane.head = None
        ticket.state = LEFT
        if lane.waiting_thread is STARTING:
            lane.waiting_thread = NONE  # the thread that was started finds this when it runs, and exits
        return
    # No interrupt can come between the following lines. A wait that has begun goes on, for the ticket that is at the
    # head when it ends. In state STARTING, after an interrupt, the thread may not have been started: another one will.
    if lane.waiting_thread is not RUNNING:
        if lane.waiting_thread is NONE:
            successor.state = AT_HEAD
        ticket.successor = successor
    lane.head = successor
    ticket.state = LEFT
    queue.popleft()


def admit(ticket: Ticket) -> Ticket | None:
    """Put the next in line into the head's batch, if it may be. Until now it can leave, and its deadline counts."""
    lane, batch = ticket.lane, ticket.batch
    if batch is None or ticket.batch_key is None or not lane.queue:
        return None
    this = ticket.thread
    outer = inside.get(this)
    inside[this] = STEP
    try:
        with mutex:
            other = lane.first(lane.queue)
            if other is None or not _may_join(other, ticket):
                return None
            batch.add(other)
            # Plain stores: interrupted, the ticket is in line, or in the batch.
            other.state = BATCHED
            del lane.queue[0]
            return other
    finally:
        inside[this] = outer


def hand_on(ticket: Ticket) -> bool:
    """Make the next in line the head, with the hold and the open batch, if it may be in that. False: it may not.

    It applies its function in its own thread, and saves what was applied before as well. Can be repeated.
    """
    lane, batch = ticket.lane, ticket.batch
    if batch is None or ticket.batch_key is None or not lane.queue:
        return False
    if ticket.waiter is None:
        ticket.waiter = ThreadWaiter()
    is_member = batch.answers(ticket)
    with mutex:
        successor = lane.first(lane.queue)
        if successor is None or not _may_join(successor, ticket):
            return False
        # From here to the call nothing can come between.
        successor.batch, successor.state = batch, HOLDING
        lane.head = ticket.successor = successor
        ticket.handed_on = batch if is_member else None
        ticket.batch = None
        ticket.state = BATCHED if is_member else LEFT
        lane.queue.popleft()
    return True


def _may_join(other: Ticket, head: Ticket) -> bool:
    key, waiter, deadline = other.batch_key, other.waiter, other.deadline
    if key is not head.batch_key and key != head.batch_key:
        return False
    if waiter is not None and waiter.is_leaving():
        return False
    return deadline is None or time.monotonic() < deadline


def older_than(lane: Lane) -> list[str]:
    """The keys of the lanes that were there before this one."""
    keys = list(lanes)
    return keys[: keys.index(lane.key)] if lane.key in keys else []


def pending(key: str) -> int:
    """How many wait, without the one that has its turn.

    Without the mutex: a signal handler must be able to call this in a thread that holds it.
    """
    lane = lanes.get(key)
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
    with mutex:
        if lane.waiting() <= _LONG:
            in_line = lane.in_line()
            return in_line.index(ticket) if ticket in in_line else 0
        if time.monotonic() - lane.counted >= _RECOUNT:
            for position, other in enumerate(lane.in_line()):
                other.queue_position = position
            lane.counted = time.monotonic()
        return ticket.queue_position if ticket.queue_position >= 0 else lane.waiting()


def current_task() -> tuple[object | None, Any]:
    """The task that runs here and now, and its loop (asyncio) or the module `trio`; (None, None) in plain code.

    asyncio comes before trio: in guest mode a trio task runs inside a callback of the asyncio loop, where asyncio
    has no current task.

    A module in `sys.modules` may be half imported, by another thread. This thread runs no task of it then.
    """
    modules = sys.modules
    asyncio = modules.get("asyncio")
    if asyncio is not None:
        try:
            loop = asyncio._get_running_loop()
        except AttributeError:
            loop = None
        if loop is not None:
            task = asyncio.current_task(loop)
            if task is not None:
                return task, loop
    trio = modules.get("trio")
    if trio is not None and _is_in_trio(trio):
        return trio.lowlevel.current_task(), trio
    return None, None


def _is_in_trio(trio: Any) -> bool:
    """Whether this is a trio task. trio sets sniffio's thread-local, which is five times quicker to read."""
    sniffio = sys.modules.get("sniffio")
    try:
        if sniffio is not None and sniffio.thread_local.name != "trio":
            return False
        return bool(trio.lowlevel.in_trio_task())
    except AttributeError:  # half imported
        return False
