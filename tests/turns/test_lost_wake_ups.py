"""A task at the head of a line whose loop is closed before it runs: the line goes on, and no caller has to ask for that.

The callers behind it have no time limit and no warning, so they never look by themselves. The tasks are still referred
to: collected, they would leave the line.
"""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, ClassVar

import anyio
import pytest

from helpers.lines import Worker, held, lined_up
from helpers.waiting import until, until_async, wait_for
from storewriter import AsyncStore, PerStoreWriterQueue, Store
from storewriter._turns import closed_loops, entering, line
from storewriter._turns.marks import in_step
from storewriter.locks import Flock, Strategy
from storewriter.testing import Call, intercepted

Tasks = list["asyncio.Task[Any]"]


def patient(lock: Strategy | None = None) -> PerStoreWriterQueue:
    return PerStoreWriterQueue(lock or Flock(), timeout=None, warn_after=None)


def ask(queue: PerStoreWriterQueue, path: Path) -> str:
    with queue.turn(path):
        return "in"


def ask_in_a_loop(queue: PerStoreWriterQueue, path: Path, backend: str) -> str:
    async def main() -> str:
        async with queue.turn(path):
            return "in"

    return anyio.run(main, backend=backend)


WAITERS: dict[str, Callable[[PerStoreWriterQueue, Path], str]] = {
    "thread": ask,
    "asyncio": lambda queue, path: ask_in_a_loop(queue, path, "asyncio"),
    "trio": lambda queue, path: ask_in_a_loop(queue, path, "trio"),
}


def forget(tasks: Tasks) -> None:
    while tasks:
        tasks.pop()._log_destroy_pending = False  # type: ignore[attr-defined]  # no name may keep a task alive
    gc.collect()


def asking(queue: PerStoreWriterQueue, path: Path, *, count: int = 1) -> tuple[asyncio.AbstractEventLoop, Tasks]:
    """A loop that has stopped while its tasks stand in line."""
    loop = asyncio.new_event_loop()

    async def take() -> None:
        async with queue.turn(path):
            raise AssertionError("a closed loop has run a task")

    async def main() -> Tasks:
        before = queue.pending(path)
        tasks = [asyncio.ensure_future(take()) for _ in range(count)]
        await until_async(lambda: queue.pending(path) == before + count)
        return tasks

    return loop, loop.run_until_complete(main())


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("kind", WAITERS)
def test_those_behind_a_task_that_was_woken_and_never_runs(kind: str, count: int, path: Path) -> None:
    """The loop has stopped, and takes the message; then it is closed."""
    queue = patient()
    with held(queue, path) as holding:
        loop, tasks = asking(queue, path, count=count)
        waiters = lined_up(queue, path, *[lambda: WAITERS[kind](queue, path)] * 2)
        holding.release()
    until(lambda: line.lanes[str(path)].head is not None and line.lanes[str(path)].head.is_async)  # type: ignore[union-attr]
    assert not any(waiter.is_done for waiter in waiters)
    loop.close()
    for waiter in waiters:
        assert waiter.result() == "in"
    forget(tasks)


def test_a_task_that_was_woken_by_another_one_of_its_loop(path: Path) -> None:
    """The first ends its turn, and the loop stops in the same round."""
    queue = patient()
    loop = asyncio.new_event_loop()

    async def main() -> Tasks:
        async with queue.turn(path):
            tasks = [asyncio.ensure_future(take())]
            await until_async(lambda: queue.pending(path) == 1)
            waiters.extend(lined_up(queue, path, lambda: ask(queue, path)))
        return tasks

    async def take() -> None:
        async with queue.turn(path):
            raise AssertionError("a closed loop has run a task")

    waiters: list[Worker] = []
    tasks = loop.run_until_complete(main())
    loop.close()
    assert waiters[0].result() == "in"
    forget(tasks)


class Broken:
    """A lock whose wait fails, once it may."""

    name = "broken"
    waits: ClassVar[bool] = True

    def __init__(self, *, is_quick: bool) -> None:
        self.is_quick = is_quick
        self.may_fail, self.has_failed = threading.Event(), False

    def attempt(self, path: str, label: str | None) -> Any:
        return Free() if self.has_failed else None

    def wait(self, path: str, label: str | None) -> Any:
        wait_for(self.may_fail)
        if not self.has_failed:
            self.has_failed = True
            raise OSError("the wait has failed")
        return Free()

    def owner(self, path: str) -> Any:
        return None


class Free:
    token: str | None = None

    def may_pass(self) -> bool:
        return True

    def check(self) -> None:
        pass

    def describe(self, label: str | None) -> None:
        pass

    def release(self) -> None:
        pass


@pytest.mark.parametrize("is_quick", [True, False])
def test_those_behind_a_task_that_never_hears_that_its_lock_has_failed(is_quick: bool, path: Path) -> None:
    lock: Any = Broken(is_quick=is_quick)
    queue = patient(lock)
    loop, tasks = asking(queue, path)
    waiters = lined_up(queue, path, lambda: ask(queue, path), lambda: ask(queue, path))
    lane = line.lanes[str(path)]
    lock.may_fail.set()
    until(lambda: lane.head is not None and lane.head.state is line.FAILED)
    loop.close()
    for waiter in waiters:
        assert waiter.result() == "in"
    forget(tasks)


@pytest.mark.parametrize("is_quick", [True, False])
def test_those_behind_a_task_that_was_to_try_the_lock_and_never_does(is_quick: bool, path: Path) -> None:
    """The one before it hears that the lock has failed, and names it; it has no lock yet."""
    lock: Any = Broken(is_quick=is_quick)
    queue = patient(lock)
    first = Worker(lambda: ask(queue, path))
    until(lambda: queue.pending(path) == 1)
    loop, tasks = asking(queue, path)
    waiters = lined_up(queue, path, lambda: ask(queue, path))
    lane = line.lanes[str(path)]
    lock.may_fail.set()
    first.wait()
    assert isinstance(first.error, OSError)
    assert lane.head is not None
    assert lane.head.state is line.AT_HEAD
    loop.close()
    assert waiters[0].result() == "in"
    forget(tasks)


# -- in every await of an operation -----------------------------------------------------------------------------------


async def update(store: AsyncStore[Any]) -> None:
    await store.update(lambda state: state.update(n=1))


async def transaction(store: AsyncStore[Any]) -> None:
    async with store.transaction() as tx:
        tx.state["n"] = 1


async def recover(store: AsyncStore[Any]) -> None:
    await store.recover()


async def turn(store: AsyncStore[Any]) -> None:
    async with store._queue.turn(store.path):
        pass


Operation = Callable[[AsyncStore[Any]], Coroutine[Any, Any, None]]
_ROUNDS = 40


def _one_round(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_soon(loop.stop)
    loop.run_forever()


def _has_message(loop: Any) -> bool:
    return len(loop._ready) > 0


@pytest.mark.parametrize("gives_way", [False, True])
@pytest.mark.parametrize("size", [10, 100_000])
@pytest.mark.parametrize("operation", [update, transaction, recover, turn])
def test_a_loop_that_is_closed_in_any_await_of_an_operation(
    operation: Operation, size: int, gives_way: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it waits for the next round of its loop, or for a thread that has ended and said so."""
    queue = patient()

    def must_give_way(thread: int, now: float) -> bool:
        return gives_way

    monkeypatch.setattr(entering, "_must_give_way", must_give_way)
    is_done, rounds = False, 0
    for rounds in range(1, _ROUNDS):
        path = tmp_path / f"{rounds}.json"
        path.write_text('{"padding": "%s"}' % ("x" * size))
        loop = asyncio.new_event_loop()
        tasks = [loop.create_task(operation(AsyncStore(path, queue=queue, durability="process")))]
        for _ in range(rounds):
            _one_round(loop)
            if not tasks[0].done():  # it waits for the next round, or for a thread
                until(lambda: _has_message(loop), "a message for the loop")
        is_done = tasks[0].done()
        loop.close()
        assert Worker(lambda: ask(queue, path)).result() == "in"
        forget(tasks)
        assert Store(path).read()["padding"] == "x" * size
        if is_done:
            break
    assert is_done
    assert rounds > 1 or (operation is turn and not gives_way)  # which does not wait at all


class Slow(Broken):
    """A lock whose first attempt may take a while; then it is free."""

    def __init__(self, *, is_free: bool) -> None:
        super().__init__(is_quick=False)
        self.has_failed = True
        self.is_free = is_free
        self.begun, self.may_go_on = threading.Event(), threading.Event()

    def attempt(self, path: str, label: str | None) -> Any:
        if self.begun.is_set():
            return Free()
        self.begun.set()
        wait_for(self.may_go_on)
        return Free() if self.is_free else None

    def wait(self, path: str, label: str | None) -> Any:
        return Free()


@pytest.mark.parametrize("is_free", [True, False])
@pytest.mark.parametrize("is_closed_first", [True, False])
def test_a_loop_that_is_closed_during_the_only_attempt_of_a_task(
    is_closed_first: bool, is_free: bool, path: Path
) -> None:
    """A limit of zero, and a thread makes the attempt. The message of its end comes too late, or is lost."""
    lock: Any = Slow(is_free=is_free)
    queue = patient(lock)

    async def take() -> None:
        async with queue.turn(path, timeout=0):
            raise AssertionError("a closed loop has run a task")

    loop = asyncio.new_event_loop()
    tasks: Tasks = [loop.create_task(take())]
    _one_round(loop)
    wait_for(lock.begun)
    (waiter,) = lined_up(queue, path, lambda: ask(queue, path))
    if is_closed_first:
        loop.close()
    lock.may_go_on.set()
    if not is_closed_first:
        until(lambda: _has_message(loop), "a message for the loop")
        loop.close()
    assert waiter.result() == "in"
    forget(tasks)


# -- how it is noticed ------------------------------------------------------------------------------------------------


def test_the_block_of_a_turn_is_its_users_although_its_loop_is_closed(path: Path) -> None:
    """A thread of the user's may go on in there. The turn ends when the task is collected."""
    queue = patient()
    loop = asyncio.new_event_loop()
    is_in = threading.Event()

    async def hold() -> None:
        async with queue.turn(path):
            is_in.set()
            await loop.create_future()

    tasks: Tasks = [loop.create_task(hold())]
    while not is_in.is_set():  # it may give way to other tasks first
        _one_round(loop)
    (waiter,) = lined_up(queue, path, lambda: ask(queue, path))
    loop.close()
    waiter._thread.join(0.05)
    assert not waiter.is_done
    forget(tasks)
    assert waiter.result() == "in"


def _lost(path: Path) -> tuple[asyncio.AbstractEventLoop, Tasks, Worker]:
    queue = patient()
    with held(queue, path) as holding:
        loop, tasks = asking(queue, path)
        (waiter,) = lined_up(queue, path, lambda: ask(queue, path))
        holding.release()
    return loop, tasks, waiter


def test_an_interrupt_that_ends_the_look_where_it_begins(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the callback of a weak reference it is dropped; a thread looks instead."""
    loop, tasks, waiter = _lost(path)

    def trace(frame: Any, event: str, argument: Any) -> None:
        if frame.f_code is closed_loops._closed.__code__:
            raise KeyboardInterrupt

    dropped: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", dropped.append)
    before = sys.gettrace()
    sys.settrace(trace)
    loop.close()
    sys.settrace(before)
    assert len(dropped) == 1
    assert waiter.result() == "in"
    dropped.clear()
    forget(tasks)


def test_a_loop_that_is_closed_in_the_middle_of_a_step(path: Path) -> None:
    """As by the garbage collector: the thread may hold the mutex of the lanes, so another one looks."""
    loop, tasks, waiter = _lost(path)

    def close() -> None:
        with line.mutex:
            loop.close()
            assert not waiter.is_done

    in_step(close)
    assert waiter.result() == "in"
    forget(tasks)


def test_a_loop_is_watched_once_and_can_be_collected(queue: PerStoreWriterQueue, path: Path) -> None:
    async def main() -> None:
        for _ in range(3):
            async with queue.turn(path):
                pass

    before = len(closed_loops.watched)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    first = closed_loops.watched[id(loop)]
    loop.run_until_complete(main())
    assert closed_loops.watched[id(loop)] is first
    loop.close()
    del loop
    for _ in range(3):
        asyncio.run(main())
    gc.collect()
    assert len(closed_loops.watched) == before
    assert first[0]() is first[1]() is None


def test_the_timer_begins_anew_when_it_is_due(queue: PerStoreWriterQueue, path: Path) -> None:
    """A day later, say."""
    loop = asyncio.new_event_loop()

    async def main() -> None:
        async with queue.turn(path):
            pass

    loop.run_until_complete(main())
    until_closed = closed_loops.watched[id(loop)][0]()
    assert until_closed is not None
    timers: list[tuple[float, Any]] = []
    loop.call_later = lambda delay, call, *args, **_: timers.append((delay, call))  # type: ignore[method-assign,assignment,return-value]
    until_closed()
    assert timers == [(closed_loops._LATER, until_closed)]
    timers.clear()
    del until_closed
    loop.close()
    assert id(loop) not in closed_loops.watched


_NEVER_CLOSED = """
import asyncio, sys
from storewriter import PerStoreWriterQueue
async def main():
    async with PerStoreWriterQueue().turn(sys.argv[1]):
        pass
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
"""


def test_a_program_that_never_closes_its_loop_ends_quietly(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _NEVER_CLOSED, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == done.stderr == ""


def test_a_load_whose_end_the_loop_never_hears_of(path: Path) -> None:
    """Others wait behind it already. The thread that has loaded has said so, and the loop is closed."""
    path.write_text('{"large": "%s"}' % ("x" * (1 << 17)))
    queue = patient()
    reads, may_go_on = threading.Event(), threading.Event()

    def around(call: Call, proceed: Callable[[], Any]) -> Any:
        if call.name == "read" and not reads.is_set():
            reads.set()
            wait_for(may_go_on)
        return proceed()

    store: AsyncStore[Any] = AsyncStore(path, queue=queue, system=intercepted(around))
    loop = asyncio.new_event_loop()
    tasks: Tasks = [loop.create_task(update(store))]
    while not reads.is_set():
        loop.run_until_complete(asyncio.sleep(0.001))
    (waiter,) = lined_up(queue, path, lambda: ask(queue, path))
    may_go_on.set()
    until(lambda: _has_message(loop), "a message for the loop")
    assert not waiter.is_done
    loop.close()
    assert waiter.result() == "in"
    forget(tasks)
