"""The states of a store as they are committed: `Watch` for plain code, `AsyncWatch` for tasks.

Promise    The current state first, then each new one that is there when the next is requested. States that were
           replaced before that are skipped, the last one never is. It does not matter which process committed it; a
           change made in an editor counts as well.
How        Listen first, then look: what comes after the look wakes, so nothing falls in between. Events only say that
           it is worth looking; what is compared is the content. Events or not, the backend is asked now and then
           (`_backends.protocol.News`).
Does not   take turns, hold up writers, or keep a thread; a watch that has ended keeps nothing.
Fails by   StoreCorrupt for a document that cannot be read and stays so for a moment (a program may be writing into it);
           then asking again waits for the next document. NotARegularFile, OSError: at every asking until it is over.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Final, Generic, TypeVar

import anyio
import anyio.lowlevel

from storewriter._backends.protocol import Backend, Loaded, Moved, News
from storewriter._commits.document import Document, version_of
from storewriter._turns.line import current_task
from storewriter._turns.off_loop import off_loop
from storewriter.backoff import Backoff
from storewriter.errors import StoreCorrupt

__all__ = ["PACE", "AsyncWatch", "Watch"]

S = TypeVar("S")

PACE: Final = Backoff(minimum=0.02, factor=1.5, maximum=1.0, jitter="none")
"""Seconds between looks: without events growing from the minimum after each new state, with events the maximum."""

_HALF_WRITTEN_SECONDS: Final = 0.1
"""Seconds for which a document that cannot be read is waited for, in case a program is writing into it."""

_TRIES: Final = 8
"""How often a path that has become a link is resolved anew in one look."""


class _Poller(Generic[S]):
    """The state of a watch, and its looks. Plain code: `Watch` and `AsyncWatch` differ in how they wait."""

    def __init__(self, document: Callable[[], Document], poll: Backoff, *, with_events: bool) -> None:
        self._current = document
        self._poll = poll
        self._with_events = with_events
        self._delays = self._fresh_delays()
        self._version: str | None = None
        self._suspect: tuple[str, StoreCorrupt] | None = None
        self._must_load = True
        self._backend: Backend[Any, Any] | None = None
        self._news: News | None = None
        self._news_of(self._current())

    def _news_of(self, document: Document) -> News:
        """The news of the backend where the address leads now."""
        news = self._news
        if news is None or document.backend is not self._backend:
            self.close()
            news = self._news = document.backend.news(events=self._with_events)
            self._backend, self._must_load = document.backend, True
        return news

    def close(self) -> None:
        """Give back what events need."""
        news, self._news = self._news, None
        if news is not None:
            news.close()

    def _fresh_delays(self) -> Iterator[float]:
        return self._poll.delays()

    def delay(self) -> float:
        """Seconds until the next look, if no event comes before."""
        if self._suspect is not None:
            return _HALF_WRITTEN_SECONDS
        if self.fileno() is not None:
            return self._poll.maximum
        return next(self._delays, self._poll.maximum)

    def fileno(self) -> int | None:
        """What becomes readable when something may have happened."""
        return None if self._news is None else self._news.fileno()

    def heard(self) -> bool:
        """Whether something may have happened since the last call."""
        if self._news is not None and self._news.heard():
            self._must_load = True
        return self._must_load

    def looks_quickly(self) -> bool:
        """Whether a look may run on an event loop."""
        return self._current().backend.loads_quickly()

    def look(self) -> tuple[S] | None:
        """The state, if it is another one than was returned last."""
        document, found = self._load()
        if found is None:
            return None
        self._must_load = False
        version = version_of(found.data)
        if version == self._version:
            self._suspect = None
            return None
        return self._decode(document, found.data, version)

    def _load(self) -> tuple[Document, Loaded | None]:
        for _ in range(_TRIES):
            document = self._current()
            try:
                return document, self._look_at(document)
            except Moved:
                continue
        document = self._current()
        return document, self._look_at(document)

    def _look_at(self, document: Document) -> Loaded | None:
        news = self._news_of(document)
        return news.look(must_load=self._must_load or self._suspect is not None)

    def _decode(self, document: Document, data: bytes | None, version: str) -> tuple[S] | None:
        suspect, self._suspect = self._suspect, None
        if suspect is not None and suspect[0] == version:
            self._version = version  # raised once
            raise suspect[1]
        try:
            state = document.decode(data)
        except StoreCorrupt as error:
            self._suspect = (version, error)
            return None
        self._version = version
        self._delays = self._fresh_delays()
        return (state,)


class Watch(Generic[S]):
    """The committed states of a store, for plain code; made by `Store.watch`.

    Example:
        with store.watch() as states:
            for state in states:
                show(state)

    The first state comes at once. Asking for the next one waits for it, for ever if need be. Each state is the caller's
    own object. `close()`, from any thread, ends the wait and the iteration, and so does leaving the block. One thread
    iterates at a time. A watch that is simply dropped (`break` out of the loop) is closed, too.

    Asking for a state raises:
        StoreCorrupt: The document cannot be decoded, and stayed so for 0.1 s. Once; asking again waits for the next.
        NotARegularFile, OSError: The document cannot be read. Each time, until it can be.
        RuntimeError: Another thread iterates.
    """

    def __init__(self, document: Callable[[], Document], *, poll: Backoff = PACE, events: bool = True) -> None:
        self._closed = False
        self._busy = threading.Lock()
        # Whatever waits for the first is woken by closing the second.
        self._end, self._closing = socket.socketpair()
        self._poller = _Poller[S](document, poll, with_events=events)

    def __iter__(self) -> Watch[S]:
        return self

    def __next__(self) -> S:
        if not self._busy.acquire(blocking=False):
            raise RuntimeError("this watch is being iterated by another thread; give each thread a watch of its own")
        try:
            return self._next()
        finally:
            self._busy.release()
            self._give_back_if_over()

    def _next(self) -> S:
        poller = self._poller
        while not self._closed:
            news = poller.look()
            if news is not None:
                return news[0]
            until = time.monotonic() + poller.delay()
            while not self._closed and not poller.heard() and (left := until - time.monotonic()) > 0:
                self._wait(left)
        raise StopIteration

    def _wait(self, seconds: float) -> None:
        listening = self._poller.fileno()
        poll = select.poll()
        poll.register(self._end, select.POLLIN)
        if listening is not None:
            poll.register(listening, select.POLLIN)
        poll.poll(seconds * 1000)

    def close(self) -> None:
        """End the iteration, also one that waits in another thread, and close the descriptors. Can be repeated."""
        self._closed = True
        self._closing.close()
        self._give_back_if_over()

    def _give_back_if_over(self) -> None:
        # The iterating thread does it at its end: a descriptor must not be closed under a wait.
        if self._closed and self._busy.acquire(blocking=False):
            try:
                self._poller.close()
                self._end.close()
            finally:
                self._busy.release()

    def __enter__(self) -> Watch[S]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_poller"):
            self.close()


class AsyncWatch(Generic[S]):
    """The committed states of a store, for tasks of asyncio and trio; made by `AsyncStore.watch`.

    Example:
        async with store.watch() as states:
            async for state in states:
                show(state)

    The same states and errors as `Watch`. Cancellation ends a wait at once and loses no state: the next iteration
    returns it. One task iterates at a time (RuntimeError otherwise). Leaving the block, or `aclose()`, closes its
    descriptors; a watch that is simply dropped is closed, too.
    """

    def __init__(self, document: Callable[[], Document], *, poll: Backoff = PACE, events: bool = True) -> None:
        self._closed = False
        self._busy = False
        self._news: tuple[S] | None = None
        """Seen when the cancellation came."""
        self._poller = _Poller[S](document, poll, with_events=events)

    def __aiter__(self) -> AsyncWatch[S]:
        return self

    async def __anext__(self) -> S:
        if self._closed:
            raise StopAsyncIteration
        if self._busy:
            raise RuntimeError("this watch is being iterated by another task; give each task a watch of its own")
        self._busy = True
        try:
            await anyio.lowlevel.checkpoint()
            return await self._next()
        finally:
            self._busy = False

    async def _next(self) -> S:
        poller = self._poller
        while True:
            news = await self._look()
            if news is not None:
                return news[0]
            with anyio.move_on_after(poller.delay()):
                await self._hear()

    async def _look(self) -> tuple[S] | None:
        news, self._news = self._news, None
        if news is not None:
            return news
        if self._poller.looks_quickly():
            return self._poller.look()
        _, loop = current_task()
        news, cancelled = await off_loop(self._poller.look, loop)
        if cancelled is not None:
            self._news = news
            raise cancelled
        return news

    async def _hear(self) -> None:
        """Wait until something may have happened."""
        while not self._poller.heard():
            listening = self._poller.fileno()
            if listening is None:
                await anyio.sleep_forever()
            else:
                await anyio.wait_readable(listening)

    async def aclose(self) -> None:
        """End the iteration and close the descriptors. Can be repeated.

        Raises:
            RuntimeError: A task waits in it; cancel that task instead.
        """
        if self._busy:
            raise RuntimeError("this watch is being iterated by a task; cancel the task instead")
        self._closed = True
        self._poller.close()

    async def __aenter__(self) -> AsyncWatch[S]:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if hasattr(self, "_poller"):
            self._poller.close()
