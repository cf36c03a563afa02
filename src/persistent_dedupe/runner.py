"""How the operations wait: written once, as coroutines that run in plain threads and in tasks.

How        For tasks, a `Runner` waits in the event loop. For threads it does its blocking work at once, so that its
           coroutines never suspend and `run_here` can drive them in plain code. A `OneShotResult` is what callers wait
           for: set once, from any thread; waiting consumes nothing, and an error without a waiter makes no noise.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future, InvalidStateError
from typing import Any, Generic, TypeVar

import anyio
import attrs

from persistent_dedupe.keys import Place
from persistent_dedupe.options import DedupeOptions
from storewriter import AsyncStore, PerStoreWriterQueue, Store
from storewriter.codecs import Codec

__all__ = ["OneShotResult", "Runner", "StoreRunner", "run_here"]


T = TypeVar("T")


class OneShotResult(Generic[T]):
    """Set once, from any thread."""

    def __init__(self) -> None:
        self._future: Future[T] = Future()

    def set(self, result: T) -> None:
        """Give all waiters the result. The first result counts; later ones are ignored."""
        with contextlib.suppress(InvalidStateError):
            self._future.set_result(result)

    def set_to_outcome_of(self, work: Callable[[], T]) -> None:
        """Give all waiters what a call returns, or what it raises."""
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            self._future.set_exception(error)
        else:
            self.set(result)

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


@attrs.frozen
class StoreRunner(Generic[S]):
    """One store, awaited by threads and tasks alike."""

    path: Place
    """How messages name the document: the path of a file, or a name that is no URL."""
    _store: Store[S] | AsyncStore[S]

    async def read(self) -> S:
        """See `storewriter.Store.read`."""
        return self._store.read() if isinstance(self._store, Store) else await self._store.read()

    async def update(self, change: Callable[[S], T], label: str) -> T:
        """See `storewriter.Store.update`."""
        if isinstance(self._store, Store):
            return self._store.update(change, label=label)
        return await self._store.update(change, label=label)

    async def set_aside(self) -> str | None:
        """Move a document that cannot be decoded aside; return where it is now, None if it can be decoded by now.

        Also one that may be intact: events must not be refused because a file is not ours, and it is kept.
        """
        if isinstance(self._store, Store):
            return self._store.recover(force=True).moved_to
        return (await self._store.recover(force=True)).moved_to


@attrs.frozen
class Runner:
    """The surroundings of one object's operations."""

    options: DedupeOptions
    is_for_tasks: bool
    """Whether the operations run in tasks of asyncio or trio, whose event loop nothing here blocks."""

    def store(
        self, place: Place, default: Callable[[], S], codec: Codec[S], queue: PerStoreWriterQueue
    ) -> StoreRunner[S]:
        """The store at a place."""
        make = AsyncStore[S] if self.is_for_tasks else Store[S]
        # Shared: the states are objects of this package that take in and give out text, numbers and frozen records
        # only, so the checks that wait together can go on with one of them, and it is decoded once for all.
        store = make(place, default, codec, durability=self.options.durability, queue=queue, isolation="shared")
        # A URL may hold a password, which its store's path does not.
        return StoreRunner(store.path if isinstance(place, str) else place, store)

    async def work(self, work: Callable[[], T]) -> T:
        """Run blocking work."""
        if not self.is_for_tasks:
            return work()
        # A thread of its own: no pool that others could fill, and no thread that stays behind.
        outcome = OneShotResult[T]()
        threading.Thread(target=outcome.set_to_outcome_of, args=(work,), daemon=True).start()
        return await outcome.wait_async()

    async def wait(self, outcome: OneShotResult[T], timeout: float | None = None) -> T:
        """Wait for an outcome. Raises TimeoutError after `timeout` seconds."""
        return await outcome.wait_async(timeout) if self.is_for_tasks else outcome.wait(timeout)

    async def sleep(self, seconds: float) -> None:
        """Sleep."""
        if self.is_for_tasks:
            await anyio.sleep(seconds)
        else:
            time.sleep(seconds)  # noqa: ASYNC251 - there is no event loop

    async def to_the_end(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run a coroutine that a cancellation of the caller must not interrupt."""
        with anyio.CancelScope(shield=True) if self.is_for_tasks else contextlib.nullcontext():
            await work()


def run_here(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine over a `Runner` for threads to its end, in this thread."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    msg = "the core suspended in plain code: its runner is one for tasks"
    raise RuntimeError(msg)
