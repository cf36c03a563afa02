"""A blocking call of a task, in a thread of its own: its answer, and what comes in the middle of it.

The event loop of each test runs in a thread that the test gives up after `SOON`: a call that is never answered could not
be ended otherwise, because no cancellation ends the wait for it.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest

from helpers.lines import within
from helpers.waiting import until, until_async, wait_for
from storewriter._platform import threads
from storewriter._turns.line import current_task
from storewriter._turns.off_loop import off_loop

SOON = 5.0
"""Seconds."""


class Interrupted(BaseException):
    """Raised by a signal handler."""


@pytest.fixture
def run(backend: str) -> Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]:
    return lambda main: within(SOON, lambda: anyio.run(main, backend=backend))


async def away(call: Callable[[], Any], abandon: Callable[[], None] | None = None) -> Any:
    return await off_loop(call, current_task()[1], abandon)


def test_the_call_runs_in_another_thread_and_its_result_comes_back(run: Any) -> None:
    abandoned: list[bool] = []

    async def main() -> None:
        ran_in, cancelled = await away(threading.get_ident, lambda: abandoned.append(True))
        assert ran_in != threading.get_ident()
        assert cancelled is None

    run(main)
    assert abandoned == [], "its task is there"


def test_an_error_of_the_call_is_raised_and_is_in_no_cycle(run: Any) -> None:
    """A turn that ends when its object goes would not end before the garbage collector runs."""

    class Kept:
        pass

    kept: list[weakref.ref[Kept]] = []

    def fail() -> None:
        one = Kept()
        kept.append(weakref.ref(one))
        raise ZeroDivisionError

    async def main() -> None:
        gc.disable()
        try:
            try:
                await away(fail)
            except ZeroDivisionError:
                pass
            else:
                raise AssertionError
            assert kept[0]() is None
        finally:
            gc.enable()

    run(main)


def test_a_cancellation_waits_for_the_end_of_the_call(backend: str, run: Any) -> None:
    begun, go_on = threading.Event(), threading.Event()
    answers: list[Any] = []

    def work() -> str:
        begun.set()
        wait_for(go_on, "the cancellation")
        return "done"

    async def main() -> None:
        async def ask() -> None:
            with scope:
                answers.append(await away(work))

        scope = anyio.CancelScope()
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await until_async(begun.is_set)
            scope.cancel()
            for _ in range(5):
                await anyio.lowlevel.checkpoint()
            assert answers == []
            go_on.set()

    run(main)
    ((result, cancelled),) = answers
    assert result == "done"
    # trio delivers a cancellation by itself, at the next checkpoint.
    assert isinstance(cancelled, asyncio.CancelledError) is (backend == "asyncio")


def test_without_another_thread_the_call_is_made_here(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads, "start", start)

    async def main() -> None:
        assert await away(threading.get_ident) == (threading.get_ident(), None)

    run(main)


def test_interrupted_before_a_thread_has_the_call_it_is_never_made(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[bool] = []
    started: list[Callable[[], None]] = []

    def start(call: Callable[[], None]) -> None:
        started.append(call)
        raise Interrupted

    monkeypatch.setattr(threads, "start", start)

    async def main() -> None:
        try:
            await away(lambda: made.append(True))
        except Interrupted:
            return
        raise AssertionError

    run(main)
    started[0]()  # it comes to a thread all the same
    assert made == []


def test_interrupted_in_the_middle_of_the_call_it_is_waited_for(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it works on is the task's turn, which must not end meanwhile."""
    begun, go_on = threading.Event(), threading.Event()
    steps: list[str] = []
    start = threads.start

    def start_and_fail(call: Callable[[], None]) -> None:
        start(call)
        wait_for(begun, "the call")
        threading.Timer(0.01, go_on.set).start()
        raise Interrupted

    def work() -> None:
        begun.set()
        wait_for(go_on, "the interrupt")
        steps.append("done")

    monkeypatch.setattr(threads, "start", start_and_fail)

    async def main() -> None:
        try:
            await away(work)
        except Interrupted:
            steps.append("raised")

    run(main)
    assert steps == ["done", "raised"]


def test_a_task_that_is_gone_is_answered_by_abandon() -> None:
    """Its loop is closed while the call runs."""
    begun, go_on, abandoned = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        wait_for(go_on, "the end of the loop")

    def close_meanwhile() -> None:
        loop = asyncio.new_event_loop()
        task = loop.create_task(off_loop(work, loop, abandoned.set))
        loop.run_until_complete(until_async(begun.is_set))
        loop.close()
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        go_on.set()
        until(abandoned.is_set, "the call that gives up for the task")
        del task

    within(SOON, close_meanwhile)
    gc.collect()


def test_a_coroutine_that_is_being_closed_makes_the_call_itself() -> None:
    """Nothing can be awaited any more then."""
    ran_in: list[int] = []

    async def work() -> None:
        loop = asyncio.get_running_loop()
        try:
            await asyncio.sleep(SOON)
        finally:
            ran_in.append((await off_loop(threading.get_ident, loop))[0])

    def main() -> None:
        async def begin() -> None:
            await asyncio.sleep(0)
            coroutine = work()
            coroutine.send(None)
            coroutine.close()

        asyncio.run(begin())
        assert ran_in == [threading.get_ident()]

    within(SOON, main)
