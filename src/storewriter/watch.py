"""The states of a store as they are committed: `Watch` for plain code, `AsyncWatch` for tasks.

Promise    The current state first, then each new one that is there when the next is requested. States that were
           replaced before that are skipped, the last one never is. It does not matter which process committed it; a
           change made in an editor counts as well.
How        Listen first, then look: what comes after the look wakes, so nothing falls in between. Events (inotify, on
           Linux) only say that it is worth looking; what is compared is the content. Events or not, the file is looked
           at now and then: a look is one stat(2), unless the stat has changed or is so new that a coarse clock could
           hide another change behind it.
Does not   take turns, hold up writers, or keep a thread; a watch that has ended keeps nothing.
Fails by   StoreCorrupt for a document that cannot be read and stays so for a moment (a program may be writing into it);
           then asking again waits for the next document. NotARegularFile, OSError: at every asking until it is over.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Final, Generic, TypeVar

import anyio
import anyio.lowlevel

from storewriter import events
from storewriter._commits.document import Document, version_of
from storewriter._files import keys
from storewriter._files.folder_events import FolderEvents, open_events
from storewriter._turns.callers import current_task
from storewriter._turns.waiters import off_loop
from storewriter.backoff import Backoff
from storewriter.errors import StoreCorrupt

__all__ = ["PACE", "AsyncWatch", "Watch"]

S = TypeVar("S")

PACE: Final = Backoff(minimum=0.02, factor=1.5, maximum=1.0, jitter="none")
"""Seconds between looks: without events growing from the minimum after each new state, with events the maximum."""

_SETTLED: Final = 2.5
"""Seconds after which a stat that has not changed is trusted. The coarsest clock of a file system counts in steps of
two seconds (FAT)."""

_MOMENT: Final = 0.1
"""Seconds for which a document that cannot be read is waited for, in case a program is writing into it."""

_SMALL: Final = 1 << 16
"""Bytes up to which a document is read on the event loop: it is in the page cache, and a thread costs more."""

_TRIES: Final = 8
"""How often a path that has become a link is resolved anew in one look."""


def _stamp(found: os.stat_result) -> tuple[int, ...]:
    """What stays the same while a document is the same file with the same content."""
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class _Eye(Generic[S]):
    """The state of a watch, and its checks. Plain code: `Watch` and `AsyncWatch` differ in how they wait."""

    def __init__(self, document: Callable[[], Document], poll: Backoff, *, with_events: bool) -> None:
        self._current = document
        self._poll = poll
        self._delays = self._fresh_delays()
        self._stamp: tuple[int, ...] | None = None
        self._stamp_since = time.monotonic()
        self._version: str | None = None
        self._suspect: tuple[str, StoreCorrupt] | None = None
        self._must_load = True
        self.events: FolderEvents | None = None
        if with_events:
            self._try_events(self._open)

    def _open(self) -> None:
        self.events = open_events()

    def _try_events(self, step: Callable[[], None]) -> None:
        try:
            step()
        except OSError as error:
            # The user's inotify instances or watches are used up: looking alone is slower, and as right.
            events.log.info("%s is watched without events: %s", self._current().path, error)
            self.close()

    def close(self) -> None:
        """Give back what events need."""
        listening, self.events = self.events, None
        if listening is not None:
            listening.close()

    def _fresh_delays(self) -> Iterator[float]:
        return self._poll.delays()

    def delay(self) -> float:
        """Seconds until the next check, if no event comes before."""
        if self._suspect is not None:
            return _MOMENT
        if self.events is not None:
            return self._poll.maximum
        return next(self._delays, self._poll.maximum)

    def heard(self) -> bool:
        """Whether something may have happened since the last call."""
        if self.events is not None and self.events.heard():
            self._must_load = True
        return self._must_load

    def size(self) -> int:
        """About how many bytes a look may read."""
        return self._current().storage.size()

    def look(self) -> tuple[S] | None:
        """The state, if it is another one than was returned last."""
        document, stamp = self._listen_and_stat()
        now = time.monotonic()
        if stamp != self._stamp:
            self._stamp, self._stamp_since = stamp, now
        elif now - self._stamp_since > _SETTLED and not self._must_load and self._suspect is None:
            return None
        document, data = self._load(document)
        self._must_load = False
        version = version_of(data)
        if version == self._version:
            self._suspect = None
            return None
        return self._tell(document, data, version)

    def _listen_and_stat(self) -> tuple[Document, tuple[int, ...] | None]:
        document = self._current()
        listening = self.events
        if listening is not None:
            self._try_events(lambda: listening.aim(document.path))
        try:
            return document, _stamp(os.lstat(document.path))
        except OSError:
            # Absent, or another error: the load raises what applies.
            return document, None

    def _load(self, document: Document) -> tuple[Document, bytes | None]:
        for _ in range(_TRIES):
            try:
                return document, document.storage.load()
            except OSError as error:
                if error.errno != errno.ELOOP:
                    raise
            # It has become a link since its path was resolved.
            keys.forget()
            document, _ = self._listen_and_stat()
        return document, document.storage.load()

    def _tell(self, document: Document, data: bytes | None, version: str) -> tuple[S] | None:
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
    """The committed states of a store, for plain code: `for state in store.watch(): ...`.

    Asking for the next state waits for it, for ever if need be. `close()` ends the wait and the iteration, from any
    thread; so does leaving a `with` block. One thread iterates at a time (RuntimeError otherwise). A watch that is
    simply dropped (`break` out of the loop) is closed, too.
    """

    def __init__(self, document: Callable[[], Document], *, poll: Backoff = PACE, events: bool = True) -> None:
        self._closed = False
        self._busy = threading.Lock()
        # Whatever waits for the first is woken by closing the second.
        self._end, self._closing = socket.socketpair()
        self._eye = _Eye[S](document, poll, with_events=events)

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
        eye = self._eye
        while not self._closed:
            news = eye.look()
            if news is not None:
                return news[0]
            until = time.monotonic() + eye.delay()
            while not self._closed and not eye.heard() and (left := until - time.monotonic()) > 0:
                self._wait(left)
        raise StopIteration

    def _wait(self, seconds: float) -> None:
        listening = self._eye.events
        poll = select.poll()
        poll.register(self._end, select.POLLIN)
        if listening is not None:
            poll.register(listening, select.POLLIN)
        poll.poll(seconds * 1000)

    def close(self) -> None:
        """End the iteration, also one that waits in another thread, and give back descriptors."""
        self._closed = True
        self._closing.close()
        self._give_back_if_over()

    def _give_back_if_over(self) -> None:
        # The iterating thread does it at its end: a descriptor must not be closed under a wait.
        if self._closed and self._busy.acquire(blocking=False):
            try:
                self._eye.close()
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
        if hasattr(self, "_eye"):
            self.close()


class AsyncWatch(Generic[S]):
    """The committed states of a store, for tasks of asyncio and trio.

    `async with store.watch() as states: async for state in states: ...`

    Cancellation ends a wait at once and loses no state: the next iteration returns it. One task iterates at a time
    (RuntimeError otherwise). Leaving the block, or `aclose()`, gives back its descriptors; a watch that is simply
    dropped is closed, too.
    """

    def __init__(self, document: Callable[[], Document], *, poll: Backoff = PACE, events: bool = True) -> None:
        self._closed = False
        self._busy = False
        self._news: tuple[S] | None = None
        """Seen when the cancellation came."""
        self._eye = _Eye[S](document, poll, with_events=events)

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
        eye = self._eye
        while True:
            news = await self._look()
            if news is not None:
                return news[0]
            with anyio.move_on_after(eye.delay()):
                await self._hear()

    async def _look(self) -> tuple[S] | None:
        news, self._news = self._news, None
        if news is not None:
            return news
        if self._eye.size() <= _SMALL:
            return self._eye.look()
        _, loop = current_task()
        news, cancelled = await off_loop(self._eye.look, loop)
        if cancelled is not None:
            self._news = news
            raise cancelled
        return news

    async def _hear(self) -> None:
        """Wait until something may have happened."""
        while not self._eye.heard():
            listening = self._eye.events
            if listening is None:
                await anyio.sleep_forever()
            else:
                await anyio.wait_readable(listening.fileno())

    async def aclose(self) -> None:
        """End the iteration and give back descriptors. Only while no task waits in it (RuntimeError)."""
        if self._busy:
            raise RuntimeError("this watch is being iterated by a task; cancel the task instead")
        self._closed = True
        self._eye.close()

    async def __aenter__(self) -> AsyncWatch[S]:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if hasattr(self, "_eye"):
            self._eye.close()
