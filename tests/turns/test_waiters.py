"""How a task is woken from another thread: never in vain, and a cancellation that comes at the same moment is not lost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest

from helpers.lines import within
from storewriter._turns.waiters import AsyncioWaiter, ThreadWaiter, async_waiter


def new_waiter(loop: asyncio.AbstractEventLoop) -> AsyncioWaiter:
    waiter = async_waiter(loop, threading.get_ident())
    assert isinstance(waiter, AsyncioWaiter)
    return waiter


def woken_elsewhere(waiter: AsyncioWaiter) -> None:
    thread = threading.Thread(target=waiter.wake)
    thread.start()
    thread.join()


def asleep(then: Callable[[AsyncioWaiter, asyncio.Task[bool]], None]) -> Any:
    """What becomes of a sleep in a task of its own; `then` is called when it sleeps."""

    async def main() -> Any:
        waiter = new_waiter(asyncio.get_running_loop())
        task: asyncio.Task[bool] = asyncio.create_task(waiter.sleep(None))
        await asyncio.sleep(0)
        then(waiter, task)
        (result,) = await asyncio.gather(task, return_exceptions=True)
        return result

    return asyncio.run(main())


def test_a_sleeper_is_woken_from_another_thread() -> None:
    assert asleep(lambda waiter, task: woken_elsewhere(waiter)) is True


def test_a_cancellation_right_after_the_wake_up_is_raised() -> None:
    def both(waiter: AsyncioWaiter, task: asyncio.Task[bool]) -> None:
        woken_elsewhere(waiter)
        task.get_loop().call_soon(task.cancel)  # when the loop has woken it, and before it runs

    assert isinstance(asleep(both), asyncio.CancelledError)


def test_a_cancellation_right_before_the_wake_up_is_raised() -> None:
    def both(waiter: AsyncioWaiter, task: asyncio.Task[bool]) -> None:
        task.cancel()
        woken_elsewhere(waiter)

    assert isinstance(asleep(both), asyncio.CancelledError)


def test_a_cancellation_of_before_the_sleep_is_raised_although_it_is_woken_at_once() -> None:
    """A task that cancels itself: asyncio delivers that at its next wait."""

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        waiter = new_waiter(loop)

        async def cancels_itself() -> bool:
            this = asyncio.current_task()
            assert this is not None
            this.cancel()
            loop.call_soon(woken_elsewhere, waiter)  # when the cancellation is on its way, and before the task runs
            return await waiter.sleep(None)

        (result,) = await asyncio.gather(asyncio.create_task(cancels_itself()), return_exceptions=True)
        return result

    assert isinstance(asyncio.run(main()), asyncio.CancelledError)


def test_one_that_is_woken_before_it_sleeps_does_not_sleep() -> None:
    async def main() -> bool:
        waiter = new_waiter(asyncio.get_running_loop())
        woken_elsewhere(waiter)
        return await asyncio.wait_for(waiter.sleep(None), 20)

    assert asyncio.run(main())


def is_woken_while_it_makes_its_future(waiter: AsyncioWaiter, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that wakes finds no future yet."""
    loop = asyncio.get_running_loop()
    create_future = loop.create_future

    def slowly() -> asyncio.Future[Any]:
        monkeypatch.setattr(loop, "create_future", create_future)
        woken_elsewhere(waiter)
        return create_future()

    monkeypatch.setattr(loop, "create_future", slowly)


def test_one_that_is_woken_while_it_makes_its_future_does_not_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> bool:
        waiter = new_waiter(asyncio.get_running_loop())
        sleep: Coroutine[Any, Any, bool] = waiter.sleep(None)
        task = asyncio.create_task(sleep)
        is_woken_while_it_makes_its_future(waiter, monkeypatch)
        return await asyncio.wait_for(task, 20)

    assert asyncio.run(main())


def test_what_wakes_a_task_is_not_a_function_that_a_signal_handler_can_interrupt() -> None:
    """An error that is raised in the first instant of such a function would lose the wake-up."""
    scheduled: list[Any] = []

    def noted(waiter: AsyncioWaiter, task: asyncio.Task[bool]) -> None:
        loop = task.get_loop()
        real = loop.call_soon_threadsafe

        def call_soon_threadsafe(callback: Callable[..., object], *args: Any) -> Any:
            scheduled.append(callback)
            return real(callback, *args)

        loop.call_soon_threadsafe = call_soon_threadsafe  # type: ignore[method-assign,assignment]
        woken_elsewhere(waiter)

    assert asleep(noted) is True
    assert scheduled
    assert not any(hasattr(callback, "__code__") for callback in scheduled)


@pytest.mark.parametrize("moment", ["before the wait", "while it makes its future"])
def test_a_scope_that_was_cancelled_before_ends_a_wait_that_had_no_need_to_wait(
    moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that is faster than its task: the wait gives way once, so that the cancellation is delivered."""

    async def main() -> BaseException | None:
        waiter = new_waiter(asyncio.get_running_loop())
        if moment == "before the wait":
            woken_elsewhere(waiter)
        else:
            is_woken_while_it_makes_its_future(waiter, monkeypatch)
        with anyio.CancelScope() as scope:
            scope.cancel()
            return await waiter.sleep_through()
        raise AssertionError

    assert isinstance(asyncio.run(main()), asyncio.CancelledError)


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_a_thread_without_time_does_not_sleep(seconds: float) -> None:
    waiter = ThreadWaiter()
    assert within(5.0, lambda: waiter.sleep(seconds)) is False
    waiter.wake()
    assert within(5.0, lambda: waiter.sleep(seconds)) is True
