"""A ticket with somebody behind it: who asks, until when, and how it sleeps.

Promise    Whoever asks is in his turn at the end, or has left the line and an error says why; cancelled, he comes back
           when the line has forgotten him. A turn ends when it is left, or when nothing refers to it any more.
How        `Caller._proceed` says how long to sleep next and why; `enter` and `aenter` differ in how they sleep.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from threading import Event, get_ident
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast
from weakref import ref

from storewriter import _forks, _lanes, _threads, events
from storewriter._keys import same_lock_file
from storewriter._lanes import ADMITTED, ANSWERED, CALLED, FAILED, HOLDING, WAITING, Ticket
from storewriter._objections import objection, queue_full
from storewriter._reports import (
    Exhausted,
    different_strategy,
    holder,
    no_thread,
    timeout_error,
    too_late,
    warn,
)
from storewriter._waiters import (
    AsyncWaiter,
    ThreadWaiter,
    Waiter,
    async_waiter,
    current_task,
    off_loop,
    pause,
    raise_if_cancelled,
)
from storewriter.backoff import Backoff
from storewriter.errors import LockTimeout
from storewriter.locks import Hold, Strategy, WaitingStrategy

if TYPE_CHECKING:
    from storewriter.per_store_writer_queue import PerStoreWriterQueue

log = logging.getLogger("storewriter")


class Door:
    """A queue's strategy, as the lanes see it."""

    __slots__ = ("_backoff", "attempt", "strategy")

    def __init__(self, strategy: Strategy, backoff: Backoff) -> None:
        self.strategy = strategy
        self.attempt: Callable[..., Hold | None] = strategy.attempt
        self._backoff = backoff

    def wait(self, key: str, label: str | None, wanted: Callable[[], bool]) -> Hold | None:
        strategy = self.strategy
        if isinstance(strategy, WaitingStrategy) and strategy.waits:
            hold = strategy.wait(key, label)
            if cast("Hold | None", hold) is None:  # a user's own, which would be asked again and again
                msg = f"the lock {strategy.name!r} came back from wait() without a hold on {key}"
                raise TypeError(msg)
            return hold
        return self._poll(key, label, wanted)

    def _poll(self, key: str, label: str | None, wanted: Callable[[], bool]) -> Hold | None:
        """Attempt, sleep, attempt: for strategies that no kernel wakes. The deadlines are the waiters' own."""
        sleeping = Event()
        delays = self._backoff.delays()
        while True:
            hold = self.attempt(key, label)
            if hold is not None or not wanted():
                return hold
            delay = next(delays, None)
            if delay is None:
                raise Exhausted
            sleeping.wait(delay)


class Caller(Ticket):
    """A ticket with somebody behind it: who asks, until when, and how it sleeps."""

    _warned = False
    _looked = False
    """Whether the clock has to be looked at before the next sleep."""
    _was_shut = False
    """Whether it has just found the door shut."""
    _is_outermost = False
    """Whether its thread sleeps for it, and for no other one beneath."""

    def __init__(self, queue: PerStoreWriterQueue, label: str | None, timeout: float | None) -> None:
        self.queue = queue
        self.timeout = timeout
        self.asked = time.monotonic()
        self.label = label
        self.generation = _forks.generation
        self.thread = thread = get_ident()
        task, self.loop = current_task()
        # Weakly: a task that nobody refers to any more must be collectable inside its turn, or it would never end.
        self.identity = thread if task is None else ref(task)

    def again(self) -> Caller:
        """The same caller on its way to another store, with the same deadline."""
        other = Caller(self.queue, self.label, self.timeout)
        other.asked = self.asked
        other._looked = True  # part of its time has passed
        return other

    def ends_with(self, owner: object) -> None:
        """From now on the turn ends, at the latest, when nobody refers to the owner any more.

        An interrupt may come where no `try` can catch it: in the first instant of the `__exit__` that would have ended
        the turn. Then its owner is lost, and this is what remains. A weak reference that is gone when the turn is over,
        and not a `__del__`: that would run every time, and swallow an interrupt that arrives in it.
        """
        self.grip = ref(owner, self.let_go)

    def let_go(self, _: object) -> None:
        """The owner is gone."""
        if _lanes.is_in_hand():
            # The collector came upon the owner in the middle of some step of a lane, in this very thread.
            _threads.start(self._let_go_now)
        else:
            self._let_go_now()

    def _let_go_now(self) -> None:
        try:
            leave_turn(self)
        except Exception:
            log.exception("could not release the lock of %s", self.lane.key)

    def new_waiter(self) -> Waiter:
        if self.is_async:
            return async_waiter(self.loop)
        if self.thread not in _lanes.sleeping:
            # Before it stands in line: a signal handler that asks from here on must not stand behind it. And in this
            # order, so that an interrupt in between leaves nothing behind.
            self._is_outermost = True
            _lanes.sleeping.add(self.thread)
        return ThreadWaiter()

    def enter(self, key: str) -> None:
        """Wait in this thread for the turn (HOLDING), or until somebody's batch has done the work (ANSWERED)."""
        try:
            if self._step_in(key, by_thread=False):
                return
            while (seconds := self._proceed()) is not _THERE:
                cast("ThreadWaiter", self.waiter).sleep(seconds)
        except BaseException:
            # Admitted: the batch is under way, and will be in every later state. Wait for its answer first.
            while not _lanes.leave(self) and self.state is not ANSWERED:
                cast("ThreadWaiter", self.waiter).sleep_through()
            raise
        finally:
            if self._is_outermost:
                _lanes.sleeping.discard(self.thread)

    async def aenter(self, key: str) -> None:
        """The same in a task: the loop runs on meanwhile."""
        if self.loop is None:
            msg = "`async with` needs a task of asyncio or trio; in plain code use `with`"
            raise RuntimeError(msg)
        if type(self.loop) is ModuleType:
            # trio: who was cancelled before must not get in, though a free lock is taken without any other checkpoint.
            await self.loop.lowlevel.checkpoint_if_cancelled()
        self.is_async = True
        self.is_quick = self.queue.lock.is_quick
        if self._step_in(key, by_thread=not self.queue.lock.is_quick):
            if _must_give_way(self.thread, self.asked):
                # With the turn in hand, so that nobody who asks meanwhile gets in before.
                try:
                    await pause(self.loop)
                except BaseException:
                    leave_turn(self)
                    raise
            return
        try:
            if not self.is_quick and await self._takes_what_is_free():
                return
            # Answered is what most are when they wake up: for them the call is spared.
            while self.state is not ANSWERED and (seconds := self._proceed()) is not _THERE:
                await cast("AsyncWaiter", self.waiter).sleep(seconds)
        except LockTimeout:
            # If an outer scope was cancelled at the same moment, the cancellation is the truth.
            await pause(self.loop)
            raise
        except GeneratorExit:
            # The task is being torn down, and nothing can be awaited any more.
            self.waiter = _lanes.Nobody()
            if not _lanes.leave(self):
                _lanes.decline(self)
            raise
        except BaseException:
            await self._step_back()
            raise

    async def _takes_what_is_free(self) -> bool:
        """One attempt off the loop, for a head that would not wait for the waiting thread's. False: it was not."""
        if self.state is not CALLED or not (self.timeout == 0 or self.queue.max_pending == 0):
            return False
        is_ours, cancelled = await off_loop(lambda: _lanes.attempt(self), self.loop, lambda: _lanes.decline(self))
        if cancelled is not None:
            raise cancelled
        await raise_if_cancelled(self.loop)
        if is_ours:
            self._begin()
        self._was_shut = not is_ours
        return is_ours

    async def _step_back(self) -> None:
        """Out of the line, and not back before the line has forgotten us: this task may ask again at once."""
        while not _lanes.leave(self):
            if self.state is HOLDING:
                await off_loop(lambda: _lanes.decline(self), self.loop)
                return
            if self.state is ANSWERED:
                return
            # Admitted: the batch is under way, and will be in every later state. Wait for its answer first.
            await cast("AsyncWaiter", self.waiter).sleep_through()

    def _step_in(self, key: str, *, by_thread: bool) -> bool:
        """Join the lane and, if nobody is there, ask the door at once. False: it takes waiting.

        `by_thread`: an attempt may take as long as a disk, so the waiting thread makes it.
        """
        if not _forks.installed:
            _forks.install()
        if not _lanes.join(self, key, self.queue._door, objection):
            return False
        if not by_thread:
            if self._attempt():
                return True
            self._was_shut = True
        self.waiter = self.new_waiter()
        return False

    def _attempt(self) -> bool:
        try:
            if not _lanes.attempt(self):
                return False
        except BaseException as error:
            _lanes.leave(self)
            if isinstance(error, ImportError) and sys.is_finalizing():
                raise too_late(self.lane.key) from error
            raise
        self.began = time.time()
        if events.subscribers:
            self._tell_taken()
        return True

    def _begin(self) -> None:
        """The same for a hold that another thread took for us."""
        self.began = time.time()
        if events.subscribers:
            self._tell_taken()

    def _tell_taken(self) -> None:
        waited = time.monotonic() - self.asked
        events.emit(events.TurnTaken(path=self.lane.key, waited=waited, label=self.label))

    def _proceed(self) -> Any:
        """Where the ticket stands now: `_THERE`, or the seconds to sleep next (None: until woken).

        Raises, and has left the line, when the turn is not to be.
        """
        state = self.state
        if state is ANSWERED:
            return _THERE
        try:
            if state is HOLDING:
                # The hold came from somebody else in this lane, or from its waiting thread: make it known as ours.
                cast("Hold", self.lane.hold).describe(self.label)
                self._begin()
                return _THERE
            if state is WAITING and not self._warned:
                return self._first_pause()
            return self._proceed_slowly()
        except BaseException:
            _lanes.leave(self)
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
        deadline = None if self.timeout is None else self.asked + self.timeout
        late = deadline is not None and now >= deadline
        if self.state is FAILED:
            assert self.error is not None
            if isinstance(self.error, Exhausted):
                raise timeout_error(self, self.lane.key, holder(self), 0, now - self.asked)
            raise self.error
        if self.state is CALLED:
            may_ask = not self._was_shut and (self.queue.lock.is_quick or not self.is_async)
            if may_ask and self._attempt():
                return _THERE
            was_shut, self._was_shut = self._was_shut, False
            if not late and self._goes_elsewhere(was_shut):
                return self._proceed()
            if not late:  # no thread for a wait that has already ended
                if self.queue.max_pending == 0:
                    raise queue_full(self, 0)
                self._wait_at_door()
        if late:
            _give_up(self, now - self.asked)
            if self.state in (HOLDING, ANSWERED):
                return self._proceed()
        warn_after = self.queue.warn_after
        if not self._warned and warn_after is not None and now >= self.asked + warn_after:
            self._warned = True
            warn(self, now - self.asked)
        if self.state is ADMITTED:
            # The answer is on its way. If the batch breaks, the ticket stands in line again, and is woken to look.
            return None
        moments = [] if deadline is None else [deadline]
        if not self._warned and warn_after is not None:
            moments.append(self.asked + warn_after)
        return max(0.0, min(moments) - now) if moments else None

    def _goes_elsewhere(self, was_shut: bool) -> bool:
        """Whether this store has an older line under another name, because a folder above has become a link since.

        This ticket stands there from now on. Only who found the door shut looks at many lines.
        """
        lane = self.lane
        older = _lanes.older_than(lane)
        if not older or (len(older) > _FEW and not was_shut):
            return False
        key = same_lock_file(lane.key, older)
        if key is None:
            return False
        _lanes.leave(self)
        self.joined = False
        self.state = WAITING
        _lanes.join(self, key, self.queue._door, objection)
        return True

    def _wait_at_door(self) -> None:
        try:
            _lanes.wait_at_door(self)
        except RuntimeError as error:
            raise no_thread(self.lane.key, error) from error


class Frame:
    """Kept in a local variable, it stands for the call that takes a turn: it is gone when that is (`ends_with`)."""

    __slots__ = ("__weakref__",)


_THERE: Any = object()
"""Instead of seconds: there is nothing to wait for any more."""


def leave_turn(ticket: Ticket) -> None:
    """End a turn: pass it on to the next in line, or give the lock back. A ticket without a turn leaves the line.

    Can be repeated, and does so by itself if it is interrupted: the interrupt is raised when the turn has ended.
    """
    try:
        if ticket.admission is not None:
            ticket.admission.settle()
        if ticket.state is not HOLDING:
            _lanes.leave(ticket)
        if ticket.state is HOLDING:
            if events.subscribers and ticket.generation == _forks.generation:
                _tell_released(ticket)  # in a forked child the turn is its parent's
            _lanes.pass_on(ticket)
        ticket.grip = None
    except KeyboardInterrupt:
        leave_turn(ticket)
        raise


def _tell_released(ticket: Ticket) -> None:
    """Once, also if leaving is repeated."""
    began, ticket.began = ticket.began, -1.0
    if began >= 0:
        held = max(0.0, time.time() - began)
        events.emit(events.TurnReleased(path=ticket.lane.key, held=held, label=ticket.label))


_FEW = 16

_GIVE_WAY = 0.004
"""Seconds for which turns that need no waiting may follow each other on one loop before the other tasks run."""

_gave_way: dict[int, float] = {}
"""By thread: when its loop last got to breathe."""


def _must_give_way(thread: int, now: float) -> bool:
    """Whether a loop should breathe first: a free lock is taken without a checkpoint, but not for ever in a row."""
    last = _gave_way.get(thread, 0.0)
    if now - last < _GIVE_WAY:
        return False
    if len(_gave_way) > 64:
        _gave_way.clear()
    _gave_way[thread] = now
    return now - last < 1.0


def _give_up(caller: Caller, waited: float) -> None:
    """The deadline has passed: leave, and say on whom it waited. Does nothing if the turn came at the last moment."""
    owner = holder(caller)
    ahead = _lanes.ahead_of(caller)
    with _lanes.mutex():
        if caller.state in (HOLDING, ADMITTED, ANSWERED):
            return
        _lanes.leave(caller)
    path = caller.lane.key
    mismatch = different_strategy(caller, owner)
    if mismatch is not None:
        raise mismatch
    if events.subscribers:
        events.emit(events.TurnTimedOut(path=path, waited=waited, owner=owner, label=caller.label))
    raise timeout_error(caller, path, owner, ahead, waited)
