"""Exclusive turns: lane + lock = a turn.

Promise    At most one turn per store at any instant, over all tasks, threads, event loops and processes; inside a
           process in the order of asking. A turn that fails, is cancelled or comes too late harms nobody else's.
How        A ticket in the lane of the store's key (`_lanes.py`); at the head, a hold from the strategy (`locks/`).
           Waiting, deadlines, warnings and the pace of polling are decided here, once: `Caller._proceed` says how
           long to sleep next and why, and the two drivers differ in how they sleep.
Fails by   LockTimeout, QueueFull, ReentrantTurn, StrategyMismatch, UnsupportedLock, OSError. Cancellation stays what
           it is.
"""

from __future__ import annotations

import inspect
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from threading import Event, get_ident
from types import ModuleType, TracebackType
from typing import Any, TypeVar, cast, overload
from weakref import ref

import attrs

from storewriter import _forks, _lanes, _threads, events
from storewriter._keys import canonical, same_lock_file
from storewriter._lanes import ADMITTED, ANSWERED, CALLED, FAILED, HOLDING, WAITING, Ticket
from storewriter._objections import objection, queue_full
from storewriter._owner import Owner
from storewriter._reports import (
    Exhausted,
    different_strategy,
    holder,
    local_owner,
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
from storewriter.locks import Hold, Strategy, WaitingStrategy, named

__all__ = ["PerStoreWriterQueue", "Turn", "default_queue", "run_exclusive"]

T = TypeVar("T")
PathLike = str | bytes | os.PathLike[str] | os.PathLike[bytes]

log = logging.getLogger("storewriter")


class Unset:
    """`timeout` was not given."""


UNSET = Unset()


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


class Turn:
    """The exclusive right to write one or several stores, until the `with` block ends."""

    __slots__ = ("_tickets", "label", "paths")

    def __init__(self, paths: tuple[str, ...], tickets: Sequence[Ticket], label: str | None) -> None:
        self.paths = paths
        """Canonical paths of the stores, in the order in which they were taken."""
        self.label = label
        """What the turn is for, as its caller put it."""
        self._tickets = tickets

    @property
    def path(self) -> str:
        """The store; of several, the first."""
        return self.paths[0]

    def check(self) -> None:
        """Raise `LockLost` if somebody else may have the turn by now: a lease ran out, or this is a forked child.

        Long bodies ask before they do what cannot be undone. Nobody can take a kernel lock away while it is held, but
        somebody may have deleted the lock file, or its folder, under it: then others lock a new one.
        """
        for ticket in self._tickets:
            hold_of(ticket).check()

    def __repr__(self) -> str:
        return f"<Turn on {', '.join(self.paths)}>"


def hold_of(ticket: Ticket) -> Hold:
    """The hold of a ticket that has its turn."""
    hold = ticket.lane.hold
    if ticket.state is not HOLDING or hold is None:
        msg = f"this turn on {ticket.lane.key} has ended"
        raise RuntimeError(msg)
    return cast("Hold", hold)


def _check_seconds(queue: Any, attribute: attrs.Attribute[Any], value: float | None) -> None:
    require_seconds(attribute.name, value)


def _check_max_pending(queue: Any, attribute: attrs.Attribute[Any], value: int | None) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        msg = f"max_pending must be None or a whole number from 0, got {value!r}"
        raise ValueError(msg)


def _door_of(queue: Any) -> Door:
    return Door(queue.lock, queue.backoff)


@attrs.frozen(eq=False)
class PerStoreWriterQueue:
    """One line of writers per store.

    Queues are cheap and keep no state of their own: two queues on one file share its lane. All methods may be called
    from any thread; turns work in plain threads, asyncio and trio. The settings are fixed: for others make another
    queue (`attrs.evolve(queue, timeout=5.0)`).
    """

    lock: Strategy = attrs.field(default="flock", converter=named)  # type: ignore[assignment]
    """Lock strategy: `flock`, `marker`, `lease`, `none`, or an object from `storewriter.locks`."""
    backoff: Backoff = attrs.field(default=Backoff(), kw_only=True)
    """Pace of the strategies that must poll."""
    timeout: float | None = attrs.field(default=30.0, kw_only=True, validator=_check_seconds)
    """Seconds for the whole wait, lane and lock; None waits for ever; 0 takes a free store or none."""
    max_pending: int | None = attrs.field(default=None, kw_only=True, validator=_check_max_pending)
    """How many may wait for one store, without the holder; None: no limit."""
    warn_after: float | None = attrs.field(default=1.0, kw_only=True, validator=_check_seconds)
    """Seconds of waiting after which one log record says on whom; None: never."""

    _door: Door = attrs.field(init=False, repr=False, default=attrs.Factory(_door_of, takes_self=True))

    def turn(
        self, *paths: PathLike, label: str | None = None, timeout: float | None | Unset = UNSET
    ) -> TurnRequest:
        """Ask for the turn on a store, or on several: `with` in plain code, `async with` in asyncio and trio.

        Several stores are taken in one global order (of their canonical paths), so two such turns cannot deadlock;
        the same store named twice counts once. The line is joined when the block is entered.

        `timeout` (seconds) replaces the queue's. `label` says what for, to whoever waits.

        Entering raises `LockTimeout`, `QueueFull`, `ReentrantTurn`, `StrategyMismatch`, `UnsupportedLock` or OSError,
        and then nothing is held. Cancelled while waiting, the caller leaves the line and never runs.
        """
        if not paths:
            msg = "turn() needs the path of at least one store"
            raise TypeError(msg)
        seconds = self.timeout if isinstance(timeout, Unset) else require_seconds("timeout", timeout)
        return TurnRequest(self, paths, label, seconds)

    @overload
    async def run_exclusive(
        self,
        path: PathLike,
        fn: Callable[[], Awaitable[T]],
        *,
        label: str | None = None,
        timeout: float | None | Unset = UNSET,
    ) -> T: ...

    @overload
    async def run_exclusive(
        self,
        path: PathLike,
        fn: Callable[[], T],
        *,
        label: str | None = None,
        timeout: float | None | Unset = UNSET,
    ) -> T: ...

    async def run_exclusive(
        self,
        path: PathLike,
        fn: Callable[[], Any],
        *,
        label: str | None = None,
        timeout: float | None | Unset = UNSET,
    ) -> Any:
        """Run `fn`, async or plain, in a turn of its own, in the caller's task; returns what it returns."""
        async with self.turn(path, label=label, timeout=timeout):
            result = fn()
            return await result if inspect.isawaitable(result) else result

    def pending(self, path: PathLike) -> int:
        """How many wait for a store in this process now, without the holder."""
        return _lanes.pending(canonical(path))

    def owner(self, path: PathLike) -> Owner | None:
        """Who holds a store now, in this process or another; None if nobody does or nothing is known."""
        key = canonical(path)
        return local_owner(_lanes.find(key)) or self.lock.owner(key)


def require_seconds(name: str, value: float | None) -> float | None:
    """A number of seconds from 0, or None."""
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool) and _is_duration(value)):
        return value
    shown = "one that is too large" if isinstance(value, int) and value > 0 else repr(value)
    msg = f"{name} must be None or a number of seconds from 0, got {shown}"
    raise ValueError(msg)


def _is_duration(value: float) -> bool:
    try:
        return float(value) >= 0  # NaN is not
    except OverflowError:
        return False


class TurnRequest:
    """What `queue.turn()` returns: enter it with `with` or `async with`. One object serves one turn at a time."""

    __slots__ = ("__weakref__", "_label", "_loop", "_paths", "_queue", "_tickets", "_timeout", "_user")

    def __init__(
        self, queue: PerStoreWriterQueue, paths: tuple[PathLike, ...], label: str | None, timeout: float | None
    ) -> None:
        self._queue = queue
        self._paths = paths
        self._label = label
        self._timeout = timeout
        self._tickets: list[Caller] = []
        self._user: Caller | None = None
        self._loop: Any = None

    def __repr__(self) -> str:
        label = "" if self._label is None else f", label={self._label!r}"
        state = "in use" if self._tickets else "not in use"
        return f"<TurnRequest for {', '.join(map(repr, self._paths))}{label}, {state}>"

    def __enter__(self) -> Turn:
        paths = self._paths
        keys = (canonical(paths[0]),) if len(paths) == 1 else self._keys()
        user = caller = Caller(self._queue, self._label, self._timeout)
        tickets = self._tickets
        try:
            if self._user is not None:
                raise _in_use()
            self._user = user
            for key in keys:
                if tickets:
                    caller = caller.again()
                # Both before it enters: an interrupt on its way finds it here, and one that nobody can catch lets it
                # go with this object.
                caller.grip = ref(self, caller.let_go)  # `ends_with`, without the call
                tickets.append(caller)
                caller.enter(key)
            return Turn(keys, tuple(tickets), self._label)
        except BaseException:
            if self._user is user:
                self._leave()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._leave()
        except KeyboardInterrupt:
            self._leave()
            raise

    async def __aenter__(self) -> Turn:
        keys = self._keys()
        caller = Caller(self._queue, self._label, self._timeout)
        tickets = self._tickets
        if self._user is not None:
            raise _in_use()
        self._user = caller
        self._loop = caller.loop
        try:
            for key in keys:
                if tickets:
                    caller = caller.again()
                tickets.append(caller)
                await caller.aenter(key)
        except BaseException:
            await self._aleave(caller.loop)
            raise
        return Turn(keys, tuple(tickets), self._label)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._aleave(self._loop)

    def _keys(self) -> tuple[str, ...]:
        return tuple(sorted({canonical(path) for path in self._paths}))

    def _leave(self) -> None:
        """End all turns: last in, first out, and every one of them even if one release fails. Can be repeated."""
        tickets = self._tickets
        problem: BaseException | None = None
        while tickets:
            try:
                leave_turn(tickets[-1])
            except KeyboardInterrupt as interrupt:
                problem = interrupt
                continue  # it may not have begun to leave
            except BaseException as error:  # noqa: BLE001 - the first one is raised when all have ended
                problem = problem or error
            del tickets[-1]
        self._user = None
        if problem is not None:
            try:
                raise problem
            finally:
                del problem  # it refers to this frame

    async def _aleave(self, loop: Any) -> None:
        if self._queue.lock.is_quick:
            self._leave()
            return
        _, cancelled = await off_loop(self._leave, loop)
        if cancelled is not None:
            raise cancelled


def _in_use() -> RuntimeError:
    """One user at a time: two threads that enter the same object would end each other's turns.

    Looking and claiming are plain steps, between which no other thread runs.
    """
    return RuntimeError("this turn is already in use; ask queue.turn() for another one")


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
            while (seconds := self._proceed()) is not _THERE:
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


default_queue = PerStoreWriterQueue()
"""The queue of `run_exclusive` and of stores that are given none."""


@overload
async def run_exclusive(path: PathLike, fn: Callable[[], Awaitable[T]]) -> T: ...


@overload
async def run_exclusive(path: PathLike, fn: Callable[[], T]) -> T: ...


async def run_exclusive(path: PathLike, fn: Callable[[], Any]) -> Any:
    """Run `fn`, async or plain, in a turn on a store, on the process-wide default queue; returns what it returns.

    Raises what `fn` raises, and what `PerStoreWriterQueue.turn` raises.
    """
    return await default_queue.run_exclusive(path, fn)
