"""A result that is set once and that threads and tasks of any event loop may wait for, or not.

Promise    Waiting consumes nothing; a waiter that stops affects no other one; an error without a waiter
           makes no noise.
How        `concurrent.futures.Future`, which is silent about unobserved errors; a waiting task is woken through its
           own event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import Generic, TypeVar

import anyio

__all__ = ["Latch"]

T = TypeVar("T")


class Latch(Generic[T]):
    """Set once, from any thread."""

    def __init__(self) -> None:
        self._future: Future[T] = Future()

    def set(self, result: T) -> None:
        """Give all waiters the result. The first result counts; later ones are ignored."""
        with contextlib.suppress(InvalidStateError):
            self._future.set_result(result)

    def result(self) -> T | None:
        """The result, or None as long as there is none."""
        return self._future.result() if self._future.done() else None

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
    """The door through which other threads reach the event loop of the running task."""
    # asyncio first: unless this is a task of trio, that module may be half imported, by another thread. In guest mode a
    # task of trio runs in a callback of an asyncio loop, and is no task of it.
    loop = asyncio._get_running_loop()
    if loop is not None and asyncio.current_task(loop) is not None:
        return loop.call_soon_threadsafe
    run_sync_soon: Callable[[Callable[[], None]], object] = (
        sys.modules["trio"].lowlevel.current_trio_token().run_sync_soon
    )
    return run_sync_soon
