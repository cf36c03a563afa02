"""A ticket with its caller: its task or thread, its deadline, and how it sleeps.

Promise    On return the caller holds the turn, or an error was raised and its ticket was removed from the lane. So also
           after a cancellation. A turn ends when it is left, or when nothing refers to it any more.
How        `Caller._proceed` returns how long to sleep next; `enter` and `aenter` differ in how they sleep.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from threading import Event, get_ident
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast
from weakref import ref

from storewriter import events
from storewriter._files.keys import same_lock_file
from storewriter._platform import forks, threads
from storewriter._platform.interrupts import is_of_a_step, until_done
from storewriter._turns import lanes
from storewriter._turns.lanes import ANSWERED, BATCHED, CALLED, FAILED, HOLDING, STEP, WAITING, Mark, Ticket
from storewriter._turns.objections import interrupted, objection, queue_full
from storewriter._turns.reports import (
    Exhausted,
    different_strategy,
    holder,
    no_thread,
    timeout_error,
    warn,
)
from storewriter._turns.waiters import (
    AsyncWaiter,
    ThreadWaiter,
    Waiter,
    async_waiter,
    off_loop,
    pause,
    raise_if_cancelled,
)
from storewriter.backoff import Backoff
from storewriter.errors import LockLost, LockTimeout
from storewriter.locks import Flock, Hold, Strategy, WaitingStrategy
from storewriter.locks.neighbours._detection import look, next_look
from storewriter.locks.neighbours._joined import Joined

if TYPE_CHECKING:
    from storewriter.per_store_writer_queue import PerStoreWriterQueue

log = logging.getLogger("storewriter")


class Door:
    """A queue's strategy, as the lanes see it."""

    __slots__ = ("_backoff", "_is_replaceable", "_own", "_wait", "attempt", "strategy")

    def __init__(self, strategy: Strategy, backoff: Backoff) -> None:
        self.strategy = strategy
        self.attempt: Callable[..., Hold | None] = strategy.attempt
        # Decided here, once: `isinstance` with a protocol costs more than everything else on the way to a wait.
        self._wait: Callable[..., Hold | None] | None = None
        if isinstance(strategy, WaitingStrategy) and strategy.waits:
            self._wait = strategy.wait
        self._is_replaceable = getattr(type(strategy), "wait", None) is Flock.wait  # and not a subclass's own
        self._own = Door(strategy.own, backoff) if isinstance(strategy, Joined) else None
        self._backoff = backoff

    def wait(self, key: str, label: str | None, wanted: Callable[[], bool], replace: Callable[[], None]) -> Hold | None:
        if self._own is not None and self._own._wait is not None:
            return self._poll(key, wanted, partial(self._join, self._own, key, label, wanted, replace))
        if self._wait is None:
            return self._poll(key, wanted, partial(self.attempt, key, label))
        hold = self._wait(key, label, replace) if self._is_replaceable else self._wait(key, label)
        if hold is None:  # a user's own method, which would be called for every wait
            msg = f"the lock {self.strategy.name!r} came back from wait() without a hold on {key}"
            raise TypeError(msg)
        return hold

    def _join(
        self, own: Door, key: str, label: str | None, wanted: Callable[[], bool], replace: Callable[[], None]
    ) -> Hold | None:
        """Wait in the kernel for our own lock, then try the neighbours'."""
        joined = cast("Joined", self.strategy)
        joined.begin(key)
        hold = own.wait(key, label, wanted, replace)
        return None if hold is None else joined.join(hold, key)

    def _poll(self, key: str, wanted: Callable[[], bool], attempt: Callable[[], Hold | None]) -> Hold | None:
        """Attempt, sleep, attempt: for strategies that no kernel wakes. The deadlines are the waiters' own."""
        sleeping = Event()
        delays = self._backoff.delays()
        while True:
            hold = attempt()
            if hold is not None or not wanted():
                return hold
            delay = next(delays, None)
            if delay is None:
                raise Exhausted
            sleeping.wait(delay)


class Caller(Ticket):
    """A ticket with its caller: its task or thread, its deadline, and how it sleeps."""

    _warned = False
    _looked = False
    """Whether the clock has to be looked at before the next sleep."""
    _delays: Iterator[float] | None = None
    """Pauses between its own attempts, where no thread can be had that waits."""
    _was_shut = False
    """Whether it has just found the door shut."""

    def __init__(self, queue: PerStoreWriterQueue, label: str | None, timeout: float | None) -> None:
        self.queue = queue
        self.timeout = timeout
        self.asked = time.monotonic()
        self.deadline = None if timeout is None else self.asked + timeout
        self.label = label
        self.generation = forks.generation
        self.ender = {}
        self.thread = thread = get_ident()
        task, self.loop = current_task()
        # A weak reference: a task that is lost inside its turn must be collectable, or the turn would never end.
        self.identity = thread if task is None else ref(task)

    def again(self) -> Caller:
        """The same caller on its way to another store, with the same deadline."""
        other = Caller(self.queue, self.label, self.timeout)
        other.asked, other.deadline = self.asked, self.deadline
        other._looked = True  # part of its time has passed
        return other

    def inherited(self) -> LockLost:
        """The error for a child that was forked in the turn, and goes on in the middle of a call of its parent's."""
        path = self.lane.key
        msg = (
            f"this process was forked while its parent had the turn on {path}: nothing of it is saved here. Leave a "
            f"forked child with os._exit() before it returns into the update."
        )
        return LockLost(msg, path=path, owner=None)

    def ends_with(self, owner: object) -> None:
        """From now on the turn ends, at the latest, when nothing refers to the owner any more.

        KeyboardInterrupt can arrive before the first instruction of the `__exit__` that would have ended the turn,
        where no `try` can catch it; the callback of this weak reference then releases the turn. It is dropped when
        the turn is over. A `__del__` would run after every turn, and swallow an interrupt that arrives in it.
        """
        # Two of them: an interrupt that is raised in the first callback ends it, and then the other one is called.
        self.grip = (ref(owner, self.let_go), ref(owner, self.let_go))

    def let_go(self, _: object) -> None:
        """The owner is gone."""
        if get_ident() in lanes.inside:
            # The garbage collector freed the owner in the middle of a step of some lane, or of a save or a flush, whose
            # mutex this same thread may hold.
            threads.start(self._let_go_in_this_thread)
        else:
            self._let_go_now()

    def _let_go_in_this_thread(self) -> None:
        """Both callbacks have started a thread: one ends the turn, or the batch would be saved by two at once."""
        this = get_ident()
        if _let_go_by.setdefault(self, this) != this:
            return
        try:
            self._let_go_now()
        finally:
            del _let_go_by[self]

    def _let_go_now(self) -> None:
        try:
            leave_turn(self)
        except Exception:
            log.exception("could not release the lock of %s", self.lane.key)

    def new_waiter(self) -> Waiter:
        return async_waiter(self.loop) if self.is_async else ThreadWaiter()

    def is_lost(self) -> bool:
        """See `Ticket`. A turn that has begun is not lost with its loop: a thread may still work in it."""
        if self.began or self.state not in (HOLDING, CALLED) or not (self.is_quick or self.state is HOLDING):
            return False
        return type(self.loop) is not ModuleType and bool(self.loop.is_closed())

    def enter(self, key: str) -> None:
        """Wait in this thread for the turn. Whatever is raised, `leave_turn` must follow."""
        thread, inside = self.thread, lanes.inside
        outer = inside.get(thread)
        if outer is not None:
            require_outside(outer, key)
        inside[thread] = STEP
        try:
            if self._step_in(key, False):
                return
            while True:  # with `break`, and not with a condition: see tests/turns/test_loops_in_handlers.py
                seconds = self._proceed()
                if seconds is _THERE:
                    break
                inside[thread] = (key, outer)
                cast("ThreadWaiter", self.waiter).sleep(seconds)
                inside[thread] = STEP
        finally:
            if outer is not None:
                inside[thread] = outer
            elif thread in inside:
                del inside[thread]

    async def aenter(self, key: str) -> None:
        """The same in a task: the loop runs on meanwhile."""
        if self.loop is None:
            msg = "`async with` needs a task of asyncio or trio; in plain code use `with`"
            raise RuntimeError(msg)
        if type(self.loop) is ModuleType:
            # trio: a task that was cancelled before gets no turn. Taking a free lock has no other checkpoint.
            await self.loop.lowlevel.checkpoint_if_cancelled()
        self.is_async = True
        self.is_quick = self.queue.lock.is_quick
        if self._step_in_marked(key):
            if _must_give_way(self.thread, self.asked):
                # While this task has the turn, so that no ticket that joins meanwhile comes before it.
                try:
                    await pause(self.loop)
                except BaseException:
                    leave_turn(self)
                    raise
            return
        try:
            if not self.is_quick and await self._takes_what_is_free():
                return
            while True:  # as in `enter`
                # Most tickets are ANSWERED when they wake up: this saves the call for them.
                if self.state is ANSWERED:
                    break
                seconds = lanes.in_step(self._proceed)
                if seconds is _THERE:
                    break
                await cast("AsyncWaiter", self.waiter).sleep(seconds)
        except LockTimeout:
            # If an outer scope was cancelled at the same moment, the cancellation is the truth.
            await pause(self.loop)
            raise
        except GeneratorExit:
            # The task is being torn down, and nothing can be awaited any more.
            self.waiter = lanes.Nobody()
            if not lanes.in_step(lanes.leave, self):
                lanes.in_step(lanes.decline, self)
            raise
        except BaseException:
            await self._step_back()
            raise

    async def _takes_what_is_free(self) -> bool:
        """One attempt off the loop, for a head that would not wait for the waiting thread's. False: it was not."""
        if self.state is not CALLED or not (self.timeout == 0 or self.queue.max_pending == 0):
            return False
        is_ours, cancelled = await off_loop(lambda: lanes.attempt(self), self.loop, lambda: lanes.decline(self))
        if cancelled is not None:
            raise cancelled
        await raise_if_cancelled(self.loop)
        if is_ours:
            self._begin()
        self._was_shut = not is_ours
        return is_ours

    async def _step_back(self) -> None:
        """Remove the ticket from the lane before returning, so that the task may ask again at once."""
        while not lanes.in_step(lanes.leave, self):
            if self.state is HOLDING:
                await off_loop(lambda: lanes.decline(self), self.loop)
                return
            if self.state is ANSWERED:
                return
            # BATCHED: the update is applied and will be saved with its batch. Wait for the answer first.
            await cast("AsyncWaiter", self.waiter).sleep_through()

    def _step_in_marked(self, key: str) -> bool:
        """`_step_in`, as one step of this thread: the loop's other tasks run after it."""
        thread, inside = self.thread, lanes.inside
        outer = inside.get(thread)
        if outer is not None:
            require_outside(outer, key)
        inside[thread] = STEP
        try:
            return self._step_in(key, not self.is_quick)
        finally:
            if outer is not None:
                inside[thread] = outer
            elif thread in inside:
                del inside[thread]

    def _step_in(self, key: str, by_thread: bool) -> bool:
        """Join the lane and, at its head, ask the door at once. False: the caller must wait.

        `by_thread`: an attempt may take as long as a disk, so the waiting thread makes it.
        """
        if not forks.installed:
            forks.install()
        if self.asked >= next_look.get(key, 0.0):
            look(key, self.queue.lock)
        if not lanes.join(self, key, self.queue._door, objection):
            lanes.pass_over_lost(self.lane)
            return False
        if not by_thread:
            if lanes.attempt(self):
                self.began = time.time()  # as `_begin`, without the call
                if events.subscribers:
                    self._tell_taken()
                return True
            self._was_shut = True
        self.waiter = self.new_waiter()
        return False

    def _begin(self) -> None:
        """The hold is ours: the turn begins."""
        self.began = time.time()
        if events.subscribers:
            self._tell_taken()

    def _tell_taken(self) -> None:
        waited = time.monotonic() - self.asked
        events.emit(events.TurnTaken(path=self.lane.key, waited=waited, label=self.label))

    def _proceed(self) -> Any:
        """Return `_THERE`, or the seconds to sleep next (None: until woken).

        If it raises, the ticket has left the line.
        """
        state = self.state
        if state is ANSWERED:
            return _THERE
        try:
            if state is HOLDING:
                # The hold came from the head before, or from the lane's waiting thread: write this turn's label.
                cast("Hold", self.lane.hold).describe(self.label)
                self._begin()
                return _THERE
            if state is WAITING and not self._warned:
                return self._first_pause()
            return self._proceed_slowly()
        except BaseException:
            lanes.give_up(self)  # keeps a turn that has come meanwhile: it may carry unsaved updates of others
            raise

    def _first_pause(self) -> Any:
        """Most waits end before anything needs to be looked at."""
        if self._looked:
            return self._proceed_slowly()
        self._looked = True
        warn_after, timeout = self.queue.warn_after, self.timeout
        if warn_after is None or timeout is None:
            return timeout if warn_after is None else warn_after
        return min(warn_after, timeout)

    def _proceed_slowly(self) -> Any:
        self._looked = True
        now = time.monotonic()
        deadline = self.deadline
        late = deadline is not None and now >= deadline
        moments = [] if deadline is None else [deadline]
        if self.state is FAILED:
            assert self.error is not None
            if isinstance(self.error, Exhausted):
                raise timeout_error(self, self.lane.key, holder(self), 0, now - self.asked)
            raise self.error
        if self.state is CALLED:
            may_ask = not self._was_shut and (self.queue.lock.is_quick or not self.is_async)
            if may_ask and lanes.attempt(self):
                self._begin()
                return _THERE
            was_shut, self._was_shut = self._was_shut, False
            if not late and self._goes_elsewhere(was_shut):
                return self._proceed()
            if not late:  # no thread for a wait that has already ended
                if self.queue.max_pending == 0:
                    raise queue_full(self, 0)
                self._wait_at_door(moments)
        lanes.pass_over_lost(self.lane)
        if late:
            _give_up(self, now - self.asked)
            if self.state in (HOLDING, ANSWERED):
                return self._proceed()
        warn_after = self.queue.warn_after
        if not self._warned and warn_after is not None and now >= self.asked + warn_after:
            self._warned = True
            warn(self, now - self.asked)
        if self.state is BATCHED:
            # The batch answers the ticket. If the batch breaks, the ticket is put back into the line, and woken.
            return None
        if not self._warned and warn_after is not None:
            moments.append(self.asked + warn_after)
        return max(0.0, min(moments) - now) if moments else None

    def _goes_elsewhere(self, was_shut: bool) -> bool:
        """Whether this store has an older line under another name, because a folder above has become a link since.

        If so, the ticket has moved there. More than `_FEW` lines are searched only if the lock was found taken.
        """
        lane = self.lane
        older = lanes.older_than(lane)
        if not older or (len(older) > _FEW and not was_shut):
            return False
        key = same_lock_file(lane.key, older)
        if key is None:
            return False
        lanes.leave(self)
        self.joined = False
        self.state = WAITING
        lanes.join(self, key, self.queue._door, objection)
        return True

    def _wait_at_door(self, moments: list[float]) -> None:
        try:
            lanes.wait_at_door(self)
        except RuntimeError as error:
            # No thread to be had: the limit is reached, or the interpreter is shutting down (`atexit`). A plain thread
            # asks again by itself after a pause; a task must not block its loop for that.
            if self._delays is None:
                self._delays = self.queue.backoff.delays()
            delay = None if self.is_async else next(self._delays, None)
            if delay is None:
                raise no_thread(self.lane.key, error) from error
            moments.append(time.monotonic() + delay)


_let_go_by: dict[Caller, int] = {}
"""The thread that ends the turn of a lost owner, until it has: another one after that finds nothing to end."""

forks.in_child(_let_go_by.clear)


class Frame:
    """Sentinel whose lifetime equals the caller's frame, because it is kept in a local variable (`ends_with`)."""

    __slots__ = ("__weakref__",)


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


_THERE: Any = object()
"""Instead of seconds: there is nothing to wait for any more."""


def require_outside(mark: Mark, key: str) -> None:
    """Raise ReentrantTurn if this thread was interrupted in the middle of what a new turn would have to wait for."""
    inner: Mark | None = mark
    while inner is not None:
        if inner is STEP or inner[0] == key:
            raise interrupted(key, is_step=inner is STEP)
        inner = inner[1]


def leave_turn(ticket: Ticket) -> None:
    """End a turn: save what was applied, pass the turn on or give the lock back, flush, answer the batch's members.

    A ticket without a turn leaves the line. In a thread, one that has handed its batch on waits for the answer.
    Whatever comes in the middle is raised when all that is done. Can be repeated.
    """
    if ticket.batch is None and (not ticket.joined or ticket.state is ANSWERED):
        return
    try:
        _end_turn(ticket)
    except BaseException as error:
        until_done(_end_turn, ticket, problem=error)


def end_turn(ticket: Ticket) -> None:
    """The same up to the answers, which a task gives on its own loop."""
    until_done(_end_turn, ticket, False)


def _end_turn(ticket: Ticket, answers: bool = True) -> None:
    if ticket.generation != forks.generation:
        ticket.batch = None
        return  # a forked child: the turn, and what was applied in it, is its parent's
    thread, inside = get_ident(), lanes.inside
    outer = inside.get(thread)
    ours: Mark = (ticket.lane.key, outer)
    try:
        inside[thread] = STEP
        if ticket.state is not HOLDING:
            # Before the look at the batch: until it is out of the line, it may be given the turn and a batch with it.
            lanes.give_up(ticket)
        if ticket.batch is not None and ticket.state is HOLDING:
            may_hand_on = ticket.lane.queue and not ticket.is_async and ticket.batch.has_time()
            if not may_hand_on or not lanes.hand_on(ticket):
                inside[thread] = ours
                ticket.batch.save(ticket)
                inside[thread] = STEP
                if ticket.generation != forks.generation:
                    raise cast("Caller", ticket).inherited()
        if events.subscribers and ticket.began > 0:
            _tell_released(ticket)
        if ticket.state is BATCHED and not ticket.is_async:
            ticket.grip = None
            # The successor is woken as the last thing before the sleep: the woken thread needs the interpreter, which
            # this one gives up by sleeping. Until then this is a step.
            lanes.see_off(ticket)
            inside[thread] = ours
            _wait_for_answer(ticket)
            return
        try:
            lanes.pass_on(ticket)
        except Exception as error:
            if ticket.batch is None or not is_of_a_step(error):
                raise
            # The members get the outcome of the save. If this were raised, a saved update would look like a failed one.
            log.exception("could not release the lock of %s", ticket.lane.key)
        ticket.grip = None
        inside[thread] = ours
        if ticket.batch is not None:
            ticket.batch.settle()
    finally:
        if outer is not None:
            inside[thread] = outer
        elif thread in inside:
            del inside[thread]
    if answers and ticket.batch is not None:
        ticket.batch.answer()
        ticket.batch = None


def _wait_for_answer(ticket: Ticket) -> None:
    """Sleep until another thread has saved the batch; save its part here if that thread's function takes too long."""
    batch, waiter = ticket.handed_on, cast("ThreadWaiter", ticket.waiter)
    while ticket.state is BATCHED and ticket.generation == forks.generation:
        part = batch.part(ticket)
        if part is None:
            waiter.sleep(batch.patience(ticket))
        else:
            part.save_part(ticket)
            part.settle()
            part.answer()
    ticket.handed_on = None  # the batch refers to its members
    if ticket.generation != forks.generation:
        raise cast("Caller", ticket).inherited()


def _tell_released(ticket: Ticket) -> None:
    """Once, also if leaving is repeated."""
    began, ticket.began = ticket.began, -1.0
    held = max(0.0, time.time() - began)
    events.emit(events.TurnReleased(path=ticket.lane.key, held=held, label=ticket.label))


_FEW = 16

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


def _give_up(caller: Caller, waited: float) -> None:
    """The deadline has passed: leave, and raise an error that names the holder. Nothing if the turn has just come."""
    owner = holder(caller)
    ahead = lanes.ahead_of(caller)
    if not lanes.give_up(caller):
        return
    path = caller.lane.key
    mismatch = different_strategy(caller, owner)
    if mismatch is not None:
        raise mismatch
    if events.subscribers:
        events.emit(events.TurnTimedOut(path=path, waited=waited, owner=owner, label=caller.label))
    raise timeout_error(caller, path, owner, ahead, waited)
