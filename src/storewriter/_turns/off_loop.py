"""Blocking calls of a task, each in a thread of its own: `off_loop`; and what a task does at a checkpoint.

`loop` is what `line.current_task` returned: an asyncio loop, or the module `trio`.
"""

from __future__ import annotations

import _thread
import sys
from collections.abc import Callable
from threading import get_ident
from types import ModuleType
from typing import Any, Generic, TypeVar

from storewriter._platform import threads
from storewriter._turns.waiters import Waiter, async_waiter

T = TypeVar("T")


async def pause(loop: Any) -> None:
    """Let the other tasks of this loop run once; a checkpoint."""
    if type(loop) is ModuleType:
        await loop.lowlevel.checkpoint()
        return
    from asyncio import sleep

    await sleep(0)


async def raise_if_cancelled(loop: Any) -> None:
    """Raise a cancellation that has come already; otherwise nothing, and no other task runs.

    trio delivers it at the task's next checkpoint only, and a shielded wait is none. asyncio delivers it at the next
    wait, and `off_loop` returns it: there is nothing to do here.
    """
    if type(loop) is ModuleType:  # trio
        await loop.lowlevel.checkpoint_if_cancelled()


class _Call(Generic[T]):
    """A blocking call on its way through a thread of its own."""

    __slots__ = ("_abandon", "_call", "_done", "_error", "_may_run", "_result", "_waiter")

    def __init__(self, call: Callable[[], T], waiter: Waiter, abandon: Callable[[], None] | None) -> None:
        self._call = call
        self._waiter = waiter
        self._abandon = abandon
        self._result: T | None = None
        self._error: BaseException | None = None
        self._may_run = [True]
        """Taken by the thread that runs the call, or by the task that was interrupted before it knew of a thread."""
        self._done = _thread.allocate_lock()
        self._done.acquire()

    def _take(self) -> bool:
        try:
            return self._may_run.pop()
        except IndexError:
            return False

    def run(self) -> None:
        if not self._take():
            return
        try:
            self._result = self._call()
        except BaseException as error:
            self._error = error
        self._done.release()
        if not self._waiter.wake() and self._abandon is not None:
            self._abandon()

    def join(self) -> None:
        """Wait in this thread for the end of the call; one that has not begun never will."""
        if not self._take():
            self._done.acquire()
            self._done.release()

    def answer(self) -> T:
        if self._error is not None:
            try:
                raise self._error
            finally:
                # The traceback holds this frame and this frame the call: without this, a cycle keeps both alive.
                self._error = None
        return self._result  # type: ignore[return-value]


async def off_loop(
    call: Callable[[], T], loop: Any, abandon: Callable[[], None] | None = None
) -> tuple[T, BaseException | None]:
    """Run a blocking call in a thread of its own and wait for its end, come what may.

    Returns its result and the cancellation that came meanwhile, which the caller must raise when it has cleaned up.
    If the call failed, its error is raised instead. `abandon` is called, in the thread, if the loop
    has been closed meanwhile: then this call never returns to its caller, which would clean up.
    """
    if isinstance(sys.exc_info()[1], GeneratorExit):
        # On the way out of a coroutine that is being closed, where nothing can be awaited any more.
        return call(), None
    waiter = async_waiter(loop, get_ident())
    running = _Call(call, waiter, abandon)
    try:
        threads.start(running.run)
    except RuntimeError:
        # The system gives no more threads. What is to be done here ends turns: to block the loop for a moment is
        # better than to keep all other callers waiting for ever.
        return call(), None
    except BaseException:  # a signal handler's; the thread may run already
        running.join()
        raise
    try:
        cancelled = await waiter.sleep_through()
    except BaseException:
        # The loop is being torn down under us (GeneratorExit), or a signal handler has raised an error in this task.
        # The thread still works inside our turn, so the turn must not end yet.
        running.join()
        raise
    return running.answer(), cancelled
