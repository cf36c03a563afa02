"""How the operations wait: written once as coroutines over a `Runner`, they run in plain threads and in tasks.

How        `TaskRunner` waits in the event loop. `ThreadRunner` does its blocking work at once, so that its coroutines
           never suspend and `run_here` can drive them in plain code. A `OneShotResult` is what callers wait for: set
           once, from any thread; waiting consumes nothing, and an error without a waiter makes no noise.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future, InvalidStateError
from typing import Any, Final, Generic, Literal, NoReturn, Protocol, TypeVar

import anyio
import attrs

from persistent_dedupe.keys import Place
from persistent_dedupe.location import queue_for
from persistent_dedupe.options import DedupeOptions
from storewriter import AsyncStore, Store
from storewriter.codecs import Codec

__all__ = ["OneShotResult", "Runner", "StoreRunner", "TaskRunner", "ThreadRunner", "run_here"]


T = TypeVar("T")


class OneShotResult(Generic[T]):
    """Set once, from any thread."""

    def __init__(self) -> None:
        self._future: Future[T] = Future()

    def set(self, result: T) -> None:
        """Give all waiters the result. The first result counts; later ones are ignored."""
        with contextlib.suppress(InvalidStateError):
            self._future.set_result(result)

    def wait(self, timeout: float | None = None) -> T:
        """Block this thread for the result. Raises TimeoutError after `timeout` seconds."""
        return self._future.result(timeout)

    async def wait_async(self, timeout: float | None = None) -> T:
        """Wait in a task. Raises TimeoutError after `timeout` seconds; cancelling the task affects no other waiter."""
        event = anyio.Event()
        self._future.add_done_callback(_waking(event))
        with anyio.fail_after(timeout):
            await event.wait()
        return self._future.result()


def _waking(event: anyio.Event) -> Callable[[object], None]:
    """A callback for any thread that sets the event in the loop of the task that called this."""
    schedule = _scheduler()

    def wake(_: object) -> None:
        try:
            schedule(event.set)
        except RuntimeError:
            return  # That loop has ended, and the waiting task with it.

    return wake


def _scheduler() -> Callable[[Callable[[], None]], object]:
    """What schedules a callback in the event loop of the running task, from any thread."""
    # asyncio first: unless this is a task of trio, that module may be half imported, by another thread. In guest mode a
    # task of trio runs in a callback of an asyncio loop, and is no task of it.
    loop = asyncio._get_running_loop()
    if loop is not None and asyncio.current_task(loop) is not None:
        return loop.call_soon_threadsafe
    run_sync_soon: Callable[[Callable[[], None]], object] = (
        sys.modules["trio"].lowlevel.current_trio_token().run_sync_soon
    )
    return run_sync_soon


S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)


class StoreRunner(Protocol[S_co]):
    """One store."""

    @property
    def path(self) -> str:
        """See `storewriter.Store.path`."""
        ...

    async def read(self) -> S_co:
        """See `storewriter.Store.read`."""
        ...

    async def update(self, change: Callable[[S_co], T], label: str) -> T:
        """See `storewriter.Store.update`."""
        ...

    async def recover(self) -> str | None:
        """See `storewriter.Store.recover`; returns where the corrupt document is now, None if there was none.

        Also one that may be intact: events must not be refused because a file is not ours, and it is kept.
        """
        ...


class Runner(Protocol):
    """The surroundings of the core."""

    def store(self, place: Place, default: Callable[[], S], codec: Codec[S], *, has_neighbours: bool) -> StoreRunner[S]:
        """The store at a place. `has_neighbours`: OpenClaw knows this kind of file."""
        ...

    async def work(self, work: Callable[[], T]) -> T:
        """Run blocking work."""
        ...

    async def wait(self, outcome: OneShotResult[T], timeout: float | None) -> T:
        """Wait for an outcome. Raises TimeoutError."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Sleep."""
        ...

    async def to_the_end(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run a coroutine that a cancellation of the caller must not interrupt."""
        ...


def run_here(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine over a `ThreadRunner` to its end, in this thread."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    msg = "the core suspended in plain code: its runner is not a ThreadRunner"
    raise RuntimeError(msg)


_ISOLATION: Final = "shared"
"""The states are objects of this package that take in and give out text, numbers and frozen records only, so the checks
that wait together can go on with one of them: one decoding for all."""


@attrs.frozen
class _ThreadStore(StoreRunner[S]):
    store: Store[S]

    @property
    def path(self) -> str:
        return self.store.path

    async def read(self) -> S:
        return self.store.read()

    async def update(self, change: Callable[[S], T], label: str) -> T:
        return self.store.update(change, label=label)

    async def recover(self) -> str | None:
        return self.store.recover(force=True).moved_to


class ThreadRunner:
    """Plain code: every call blocks its thread."""

    def __init__(self, options: DedupeOptions) -> None:
        self._options = options
        self._durability: Literal["power", "process"] = options.durability

    def store(self, place: Place, default: Callable[[], S], codec: Codec[S], *, has_neighbours: bool) -> StoreRunner[S]:
        """See `Runner`."""
        queue = queue_for(place, self._options, has_neighbours=has_neighbours)
        return _ThreadStore(
            Store(place, default, codec, durability=self._durability, queue=queue, isolation=_ISOLATION)
        )

    async def work(self, work: Callable[[], T]) -> T:
        """See `Runner`."""
        return work()

    async def wait(self, outcome: OneShotResult[T], timeout: float | None) -> T:
        """See `Runner`."""
        return outcome.wait(timeout)

    async def sleep(self, seconds: float) -> None:
        """See `Runner`."""
        time.sleep(seconds)  # noqa: ASYNC251 - this coroutine never runs in an event loop

    async def to_the_end(self, work: Callable[[], Awaitable[T]]) -> T:
        """See `Runner`."""
        return await work()


@attrs.frozen
class _TaskStore(StoreRunner[S]):
    store: AsyncStore[S]

    @property
    def path(self) -> str:
        return self.store.path

    async def read(self) -> S:
        return await self.store.read()

    async def update(self, change: Callable[[S], T], label: str) -> T:
        return await self.store.update(change, label=label)

    async def recover(self) -> str | None:
        return (await self.store.recover(force=True)).moved_to


async def _off_loop(work: Callable[[], T]) -> T:
    """Run blocking work in a thread of its own: no pool that others could fill, and no thread that stays behind."""
    outcome = OneShotResult[Callable[[], T]]()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            raised = error
            outcome.set(lambda: _raise(raised))
        else:
            outcome.set(lambda: result)

    threading.Thread(target=run, daemon=True).start()
    return (await outcome.wait_async())()


def _raise(error: BaseException) -> NoReturn:
    raise error


class TaskRunner:
    """Tasks of asyncio and trio: nothing here blocks their event loop."""

    def __init__(self, options: DedupeOptions) -> None:
        self._options = options
        self._durability: Literal["power", "process"] = options.durability

    def store(self, place: Place, default: Callable[[], S], codec: Codec[S], *, has_neighbours: bool) -> StoreRunner[S]:
        """See `Runner`."""
        queue = queue_for(place, self._options, has_neighbours=has_neighbours)
        return _TaskStore(
            AsyncStore(place, default, codec, durability=self._durability, queue=queue, isolation=_ISOLATION)
        )

    async def work(self, work: Callable[[], T]) -> T:
        """See `Runner`."""
        return await _off_loop(work)

    async def wait(self, outcome: OneShotResult[T], timeout: float | None) -> T:
        """See `Runner`."""
        return await outcome.wait_async(timeout)

    async def sleep(self, seconds: float) -> None:
        """See `Runner`."""
        await anyio.sleep(seconds)

    async def to_the_end(self, work: Callable[[], Awaitable[T]]) -> T:
        """See `Runner`."""
        with anyio.CancelScope(shield=True):
            return await work()
        raise AssertionError  # a scope that is never cancelled swallows nothing
