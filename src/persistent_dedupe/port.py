"""What the one core needs of its surroundings, and the two that give it: threads and tasks.

How        The core is written as coroutines over a `Port`. `TaskPort` waits in the event loop; `ThreadPort` does its
           blocking work at once, so that its coroutines never suspend and `run_here` can drive them in plain code.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, Protocol, TypeVar

import anyio
import attrs

from persistent_dedupe.latch import Latch
from persistent_dedupe.openclaw import queue_for
from persistent_dedupe.options import DedupeOptions
from storewriter import AsyncStore, Store
from storewriter.codecs import Codec

__all__ = ["Port", "StorePort", "TaskPort", "ThreadPort", "run_here"]

S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)
T = TypeVar("T")


class StorePort(Protocol[S_co]):
    """One store."""

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


class Port(Protocol):
    """The surroundings of the core."""

    def store(self, path: Path, default: Callable[[], S], codec: Codec[S], *, has_neighbours: bool) -> StorePort[S]:
        """The store at a path. `has_neighbours`: other programs know this kind of file (`openclaw.py`)."""
        ...

    async def work(self, work: Callable[[], T]) -> T:
        """Run blocking work."""
        ...

    async def wait(self, latch: Latch[T], timeout: float | None) -> T:
        """Wait for a latch. Raises TimeoutError."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Sleep."""
        ...

    async def to_the_end(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run a coroutine that a cancellation of the caller must not interrupt."""
        ...


def run_here(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine over a `ThreadPort` to its end, in this thread."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    msg = "the core suspended in plain code: its port is not a ThreadPort"
    raise RuntimeError(msg)


_ISOLATION: Final = "shared"
"""The states are objects of this package that take in and give out text, numbers and frozen records only, so the checks
that wait together can go on with one of them: one decoding for all."""


@attrs.frozen
class _ThreadStore(StorePort[S]):
    store: Store[S]

    async def read(self) -> S:
        return self.store.read()

    async def update(self, change: Callable[[S], T], label: str) -> T:
        return self.store.update(change, label=label)

    async def recover(self) -> str | None:
        return self.store.recover(force=True).moved_to


class ThreadPort:
    """Plain code: every call blocks its thread."""

    def __init__(self, options: DedupeOptions) -> None:
        self._options = options
        self._durability: Literal["power", "process"] = options.durability

    def store(self, path: Path, default: Callable[[], S], codec: Codec[S], *, has_neighbours: bool) -> StorePort[S]:
        """See `Port`."""
        queue = queue_for(path, self._options, has_neighbours=has_neighbours)
        return _ThreadStore(Store(path, default, codec, durability=self._durability, queue=queue, isolation=_ISOLATION))

    async def work(self, work: Callable[[], T]) -> T:
        """See `Port`."""
        return work()

    async def wait(self, latch: Latch[T], timeout: float | None) -> T:
        """See `Port`."""
        return latch.wait(timeout)

    async def sleep(self, seconds: float) -> None:
        """See `Port`."""
        time.sleep(seconds)  # noqa: ASYNC251 - this coroutine never runs in an event loop

    async def to_the_end(self, work: Callable[[], Awaitable[T]]) -> T:
        """See `Port`."""
        return await work()


@attrs.frozen
class _TaskStore(StorePort[S]):
    store: AsyncStore[S]

    async def read(self) -> S:
        return await self.store.read()

    async def update(self, change: Callable[[S], T], label: str) -> T:
        return await self.store.update(change, label=label)

    async def recover(self) -> str | None:
        return (await self.store.recover(force=True)).moved_to


async def _off_loop(work: Callable[[], T]) -> T:
    """Run blocking work in a thread of its own: no pool that others could fill, and no thread that stays behind."""
    latch = Latch[Callable[[], T]]()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            raised = error
            latch.set(lambda: _raise(raised))
        else:
            latch.set(lambda: result)

    threading.Thread(target=run, daemon=True).start()
    return (await latch.wait_async())()


def _raise(error: BaseException) -> NoReturn:
    raise error


class TaskPort:
    """Tasks of asyncio and trio: nothing here blocks their event loop."""

    def __init__(self, options: DedupeOptions) -> None:
        self._options = options
        self._durability: Literal["power", "process"] = options.durability

    def store(self, path: Path, default: Callable[[], S], codec: Codec[S], *, has_neighbours: bool) -> StorePort[S]:
        """See `Port`."""
        queue = queue_for(path, self._options, has_neighbours=has_neighbours)
        return _TaskStore(
            AsyncStore(path, default, codec, durability=self._durability, queue=queue, isolation=_ISOLATION)
        )

    async def work(self, work: Callable[[], T]) -> T:
        """See `Port`."""
        return await _off_loop(work)

    async def wait(self, latch: Latch[T], timeout: float | None) -> T:
        """See `Port`."""
        return await latch.wait_async(timeout)

    async def sleep(self, seconds: float) -> None:
        """See `Port`."""
        await anyio.sleep(seconds)

    async def to_the_end(self, work: Callable[[], Awaitable[T]]) -> T:
        """See `Port`."""
        with anyio.CancelScope(shield=True):
            return await work()
        raise AssertionError  # a scope that is never cancelled swallows nothing
