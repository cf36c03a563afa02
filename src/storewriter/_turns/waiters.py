"""How a caller of each kind sleeps until it is woken: a plain thread, an asyncio task, a trio task.

Promise    `wake()` may be called from any thread, any number of times, before, during or after `sleep()`, and is never
           lost. It returns False if the sleeper's event loop is closed: then the sleeper never wakes up.
How        A thread sleeps on a lock; a task on a future or event of its own loop, reached through the loop's own
           thread-safe door when the waker runs elsewhere.
Does not   depend on what is waited for.
"""

from __future__ import annotations

import _thread
import sys
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from threading import get_ident
from types import ModuleType
from typing import Any, Final, Protocol


class Waiter(Protocol):
    """What the lanes need of a sleeper."""

    def wake(self) -> bool:
        """Wake the sleeper, now or when it goes to sleep. False: it never will."""
        ...

    def is_leaving(self) -> bool:
        """Whether its sleep has ended otherwise: it was cancelled, or its time is over, and it has yet to run."""
        ...


class AsyncWaiter(Waiter, Protocol):
    """A sleeper that is a task."""

    async def sleep(self, seconds: float | None) -> bool:
        """True when woken, False when `seconds` have passed. Cancellation is raised.

        It waits for a round of the loop even if it was woken before: otherwise, a cancellation that came before would
        not be delivered.
        """
        ...

    async def sleep_through(self) -> BaseException | None:
        """Sleep until woken whatever comes; returns the cancellation that came meanwhile, to be raised later."""
        ...


class ThreadWaiter:
    """A thread."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = _thread.allocate_lock()
        self._lock.acquire()

    def wake(self) -> bool:
        """See `Waiter`."""
        try:
            self._lock.release()
        except RuntimeError:  # already woken, and not yet awake
            pass
        return True

    def is_leaving(self) -> bool:
        """See `Waiter`; always False: the end of a thread's own wait is seen by the thread only."""
        return False

    def sleep(self, seconds: float | None) -> bool:
        """True when woken, False when `seconds` have passed. KeyboardInterrupt is raised in the main thread."""
        if seconds is None:
            return self._lock.acquire()
        if seconds <= 0:
            return self._lock.acquire(False)
        return self._lock.acquire(timeout=min(seconds, _thread.TIMEOUT_MAX))

    def sleep_through(self) -> BaseException | None:
        """Sleep until woken whatever comes; returns the interrupt that came meanwhile."""
        interrupt: BaseException | None = None
        while True:
            try:
                self._lock.acquire()
            except KeyboardInterrupt as error:
                interrupt = error
            else:
                return interrupt


_AT_ONCE: Final = 100
"""Sleepers of a loop that are woken in one of its rounds at most, as long as there are not thousands."""


class _Alarms:
    """The deadlines of all sleepers of one asyncio loop, on one timer.

    Most sleeps end long before their deadline, so setting one must cost next to nothing: it is an entry in a table.
    The timer is set for the earliest of the deadlines, and looks through the table when it fires.
    """

    __slots__ = ("__weakref__", "at", "loop", "sleepers")

    def __init__(self, loop: Any) -> None:
        self.loop = loop
        self.sleepers: dict[Any, float] = {}
        """By future, when to wake it. Sleepers write here themselves: a call would cost more than the entry."""
        self.at = float("inf")
        """For when the timer is set."""

    def ring_at(self, at: float) -> None:
        # Twice: an error of a signal handler that ends the first call in its first instant does not end the second one.
        self.loop.call_at(at, self._ring, at)
        self.loop.call_at(at, self._ring, at)
        self.at = at  # at the end: interrupted before, the next sleeper sets the timer

    def _ring(self, at: float) -> None:
        if at != self.at:
            return  # an earlier timer was set after this one, and has looked already
        now = self.loop.time()
        late = [future for future, when in self.sleepers.items() if when <= now]
        # Of many, some at a time: each logs or raises, and the loop's other tasks must run in between.
        for future in late[: max(_AT_ONCE, len(late) // 32)]:
            _expire(future)
            self.sleepers.pop(future, None)
        if self.sleepers:
            self.ring_at(min(self.sleepers.values()))
        else:
            self.at = float("inf")


_alarms: dict[int, weakref.ref[_Alarms]] = {}
"""By thread, which runs one loop at a time. Weakly: the loop's own timer keeps them alive while a task sleeps, and a
loop that is closed drops its timers, and with them the futures, the tasks and the turns that those may hold."""


def _alarms_of(loop: Any, thread: int) -> _Alarms:
    reference = _alarms.get(thread)
    alarms = None if reference is None else reference()
    if alarms is None or alarms.loop is not loop:
        for other, known in list(_alarms.items()):
            if known() is None:
                _alarms.pop(other, None)
        alarms = _Alarms(loop)
        _alarms[thread] = weakref.ref(alarms)
    return alarms


class AsyncioWaiter:
    """A task of an asyncio loop.

    That it was woken is noted first, by the thread that wakes. What the loop runs then is written in C, so a signal
    handler can raise nothing before it has had its effect: a wake-up is never lost. The future is cancelled only if the
    task is: a cancellation that comes together with the wake-up is raised.
    """

    __slots__ = ("_future", "_loop", "_thread", "_woken")

    _loop: Any
    _thread: int
    _woken: bool
    _future: Callable[[], Any]
    """Returns the future on which the task sleeps, or None.

    A weak reference, if there is a deadline: the loop's alarms have the future then. A future leads to its task, and
    the task to those that are gathered with it. In a loop that is closed, the one that has the turn may be among them;
    it must be collectable, though this waiter stands in the line.
    """

    def wake(self) -> bool:
        """See `Waiter`."""
        loop = self._loop
        if get_ident() == self._thread:
            # Checked before the future is touched: a future that cannot notify its closed loop may drop its task
            # at once; the end of that task wakes the next in line, and so on, in a recursion without limit.
            if loop.is_closed():
                return False
            self._woken = True
            future = self._future()
            if future is not None and not future.done():
                future.set_result(None)
            return True
        self._woken = True
        future = self._future()
        if future is None:  # not asleep: it looks whether it was woken before it goes to sleep
            return not loop.is_closed()
        try:
            # `if not future.done(): future.set_result(False)`, without a function of our own.
            loop.call_soon_threadsafe(any, map(future.set_result, iter(future.done, True)))
        except RuntimeError:
            return False
        return True

    def is_leaving(self) -> bool:
        """See `Waiter`."""
        future = self._future()
        return not self._woken and future is not None and future.done()

    async def sleep(self, seconds: float | None) -> bool:
        """See `AsyncWaiter`."""
        if self._woken:
            await _give_way()
        else:
            loop = self._loop
            future = loop.create_future()
            sleepers: dict[Any, float] = {}
            if seconds is None:
                self._future = lambda: future
            else:
                self._future = weakref.ref(future)
                alarms = _alarms_of(loop, self._thread)
                sleepers = alarms.sleepers
                at = sleepers[future] = loop.time() + seconds
                if at < alarms.at:
                    alarms.ring_at(at)
            try:
                # Again: another thread may have looked for the future before it was there.
                if self._woken:
                    await _give_way()
                else:
                    await future
            finally:
                self._future = _no_future
                sleepers.pop(future, None)
        if self._woken:
            self._woken = False
            return True
        return False

    async def sleep_through(self) -> BaseException | None:
        """See `AsyncWaiter`."""
        from asyncio import CancelledError

        try:
            await self.sleep(None)
        except CancelledError as error:
            cancelled = error
        else:
            return None
        # An anyio scope delivers its cancellation again and again until the task leaves; the shield spares the loop
        # that. The shield does not stop a bare `task.cancel()`, hence the loop.
        while True:
            try:
                with _anyio_shield():
                    await self.sleep(None)
            except CancelledError:
                continue
            return cancelled


async def _give_way() -> None:
    """Let the loop run once."""
    from asyncio import sleep

    await sleep(0)


def _anyio_shield() -> AbstractContextManager[object]:
    """A block in which no anyio scope around it cancels this task of asyncio.

    Nothing is imported for that, because an import can fail, for want of a descriptor for example, and this must not:
    where the backend of anyio is not loaded, or is being loaded by another thread, there is no scope around this task.
    """
    backend = sys.modules.get("anyio._backends._asyncio")
    if backend is None or getattr(backend.__spec__, "_initializing", False):
        return nullcontext()
    shield: AbstractContextManager[object] = sys.modules["anyio"].CancelScope(shield=True)
    return shield


def _no_future() -> None:
    """Of a task that does not sleep."""


def _expire(future: Any) -> None:
    if not future.done():
        future.set_result(None)


class TrioWaiter:
    """A task of a trio run."""

    __slots__ = ("_is_leaving", "_task", "_thread", "_token", "_trio", "_woken")

    def __init__(self, trio: Any) -> None:
        self._trio = trio
        self._token = trio.lowlevel.current_trio_token()
        self._thread = get_ident()
        self._woken = False
        self._task: Any = None
        """The task while it sleeps."""
        self._is_leaving = False

    def wake(self) -> bool:
        """See `Waiter`."""
        if get_ident() == self._thread and self._trio.lowlevel.in_trio_run():
            self._wake_here()
            return True
        try:
            self._token.run_sync_soon(self._wake_here)
        except self._trio.RunFinishedError:
            return False
        return True

    def is_leaving(self) -> bool:
        """See `Waiter`."""
        return self._is_leaving

    def _wake_here(self) -> None:
        self._woken = True
        task, self._task = self._task, None
        if task is not None:
            self._trio.lowlevel.reschedule(task)

    def _leave(self, _: object) -> Any:
        """Called by trio at the moment of a cancellation, or when the time is over."""
        self._task, self._is_leaving = None, True
        return self._trio.lowlevel.Abort.SUCCEEDED

    async def sleep(self, seconds: float | None) -> bool:
        """See `AsyncWaiter`."""
        if not self._woken:
            self._is_leaving = False
            self._task = self._trio.lowlevel.current_task()
            with self._trio.CancelScope(relative_deadline=float("inf") if seconds is None else max(0, seconds)):
                await self._trio.lowlevel.wait_task_rescheduled(self._leave)
            self._is_leaving = False
        woken = self._woken
        self._woken = False
        return woken

    async def sleep_through(self) -> BaseException | None:
        """See `AsyncWaiter`; trio delivers the cancellation by itself at the next checkpoint."""
        with self._trio.CancelScope(shield=True):
            await self.sleep(None)
        return None


class _NoWaiter:
    """The waiter of a caller that is gone: `wake` returns False."""

    def wake(self) -> bool:
        """See `Waiter`."""
        return False

    def is_leaving(self) -> bool:
        """See `Waiter`."""
        return True


NO_WAITER: Final = _NoWaiter()


# Below, `loop` is what `line.current_task` returned: an asyncio loop, or the module `trio`. (Asking a loop for a
# name that it has not got costs three times as much as asking for its type.)


def async_waiter(loop: Any, thread: int) -> AsyncioWaiter | TrioWaiter:
    """A waiter for the current task, which runs in this thread. Slots are filled here, as in `line.new_ticket`."""
    if type(loop) is ModuleType:
        return TrioWaiter(loop)
    waiter = AsyncioWaiter()
    waiter._loop = loop
    waiter._thread = thread
    waiter._woken = False
    waiter._future = _no_future
    return waiter


def domain_of(loop: Any) -> object:
    """The identity of an event loop."""
    if type(loop) is ModuleType:
        token: object = loop.lowlevel.current_trio_token()
        return token
    return loop
