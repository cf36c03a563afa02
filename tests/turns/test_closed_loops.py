"""Event loops that end with a ticket still in line, or in a turn, or in the middle of a save."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from pathlib import Path
from typing import Any

import attrs
import pytest

from helpers.children import HOLDER, child
from helpers.lines import Worker, held, lined_up
from helpers.waiting import until, until_async, wait_for
from storewriter import AsyncStore, PerStoreWriterQueue, Store
from storewriter._platform.system import System
from storewriter.testing import Call, intercepted


def _abandoned(queue: PerStoreWriterQueue, path: Path, waiters: int) -> list[asyncio.Task[Any]]:
    """A loop that is closed while this many of its tasks stand in line; they are still referred to."""
    loop = asyncio.new_event_loop()

    async def ask() -> None:
        async with queue.turn(path, timeout=None):
            raise AssertionError

    async def main() -> list[asyncio.Task[Any]]:
        before = queue.pending(path)
        tasks = [asyncio.ensure_future(ask()) for _ in range(waiters)]
        await until_async(lambda: queue.pending(path) == before + waiters)
        return tasks

    tasks = loop.run_until_complete(main())
    loop.close()
    return tasks


def _forget(tasks: list[asyncio.Task[Any]]) -> None:
    while tasks:
        tasks.pop()._log_destroy_pending = False  # type: ignore[attr-defined]  # no name may keep a task alive
    gc.collect()


@pytest.mark.parametrize("waiters", [1, 2, 1500])
def test_waiters_of_a_closed_loop_are_passed_over(queue: PerStoreWriterQueue, path: Path, waiters: int) -> None:
    def ask() -> None:
        with queue.turn(path):
            pass

    with held(queue, path) as holding:
        tasks = _abandoned(queue, path, waiters)
        (worker,) = lined_up(queue, path, ask)
        holding.release()
        worker.result()
    with queue.turn(path, timeout=0):
        pass
    _forget(tasks)


def test_waiters_of_a_closed_loop_at_the_end_of_the_line_do_not_keep_the_lock(
    queue: PerStoreWriterQueue, path: Path
) -> None:
    with held(queue, path) as holding:
        tasks = _abandoned(queue, path, 700)
        holding.release()
    # Another thread may still be walking the line, with the lock or without.
    until(lambda: queue.pending(path) == 0 and queue.owner(path) is None, "the end of the line")
    with queue.turn(path, timeout=0):
        pass
    _forget(tasks)


def test_a_lock_that_another_process_gives_back_goes_past_a_head_whose_loop_is_closed(
    queue: PerStoreWriterQueue, path: Path
) -> None:
    """It waits for the lock when its loop is closed, and the lane's waiting thread gets the lock for it."""
    patient = attrs.evolve(queue, timeout=None, warn_after=None)  # so that the thread behind it looks at nothing

    def ask() -> None:
        with patient.turn(path):
            pass

    with child(HOLDER, path) as holder:
        holder.expect("holding")
        tasks = _abandoned(queue, path, 1)
        (worker,) = lined_up(queue, path, ask)
        holder.tell()
        worker.result()
        holder.finish()
    _forget(tasks)


def test_a_turn_whose_task_is_collected_is_given_back(queue: PerStoreWriterQueue, path: Path) -> None:
    loop = asyncio.new_event_loop()

    async def hold() -> None:
        async with queue.turn(path):
            await loop.create_future()

    async def main() -> list[asyncio.Task[Any]]:
        task = asyncio.ensure_future(hold())
        await until_async(lambda: queue.owner(path) is not None)
        return [task]

    tasks = loop.run_until_complete(main())
    loop.close()
    _forget(tasks)
    with queue.turn(path, timeout=0):
        pass


def test_asyncio_run_that_ends_with_waiters_takes_them_out_of_the_line(queue: PerStoreWriterQueue, path: Path) -> None:
    async def ask() -> None:
        async with queue.turn(path):
            raise AssertionError

    async def main() -> None:
        tasks.extend(asyncio.ensure_future(ask()) for _ in range(10))
        await until_async(lambda: queue.pending(path) == 10)

    tasks: list[asyncio.Task[Any]] = []
    with held(queue, path):
        asyncio.run(main())
        assert queue.pending(path) == 0
    assert all(task.cancelled() for task in tasks)


def test_a_save_that_outlives_its_loop_is_finished_before_the_next_turn_begins(
    queue: PerStoreWriterQueue, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task is torn down while a thread writes its document: no other writer may write beside that thread."""
    saving, go_on = threading.Event(), threading.Event()
    real_replace = os.replace
    first = True

    def slow_replace(source: str, target: str) -> None:
        nonlocal first
        if first:
            first = False
            saving.set()
            wait_for(go_on)
        real_replace(source, target)

    monkeypatch.setattr(System, "rename", staticmethod(slow_replace))
    loop = asyncio.new_event_loop()
    store = AsyncStore(path, queue=queue)

    async def main() -> list[asyncio.Task[Any]]:
        task = asyncio.ensure_future(store.update(lambda state: state.update(torn=1)))
        await until_async(saving.is_set)
        return [task]

    tasks = loop.run_until_complete(main())
    loop.close()
    neighbour = Worker(lambda: Store(path, queue=queue).update(lambda state: state.update(neighbour=1)))
    until(lambda: queue.pending(path) == 1)
    tearing_down = Worker(lambda: _forget(tasks))
    neighbour._thread.join(0.05)
    assert neighbour._thread.is_alive(), "somebody was let in beside a save"
    go_on.set()
    tearing_down.result()
    neighbour.result()
    assert Store(path).read()["neighbour"] == 1


def test_followers_of_a_loop_that_dies_during_the_save_are_applied_once(
    queue: PerStoreWriterQueue, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saving, go_on = threading.Event(), threading.Event()
    real_replace = os.replace

    def slow_replace(source: str, target: str) -> None:
        saving.set()
        wait_for(go_on)
        real_replace(source, target)

    monkeypatch.setattr(System, "rename", staticmethod(slow_replace))
    loop = asyncio.new_event_loop()
    store = AsyncStore(path, default=list, queue=queue)  # type: ignore[var-annotated]

    async def main() -> list[asyncio.Task[Any]]:
        tasks = []
        with held(queue, path) as holding:
            for place in range(3):
                tasks.append(asyncio.ensure_future(store.update(lambda state, place=place: state.append(place))))
                await until_async(lambda place=place: queue.pending(path) == place + 1)
            holding.release()
            await until_async(saving.is_set)
        return tasks

    tasks = loop.run_until_complete(main())
    loop.close()
    go_on.set()
    _forget(tasks)
    Store(path, default=list, queue=queue).update(lambda state: state.append("after"))  # type: ignore[arg-type]
    state = Store(path, default=list).read()  # type: ignore[var-annotated]
    assert state.count("after") == 1
    assert all(state.count(place) <= 1 for place in range(3)), state


@pytest.mark.parametrize("operation", ["update", "transaction", "recover"])
def test_a_loop_that_is_closed_during_a_load_does_not_keep_the_turn(
    queue: PerStoreWriterQueue, path: Path, operation: str
) -> None:
    """Its tasks are still referred to, so nothing but the thread that loads can end the turn."""
    path.write_text('{"large": "%s"}' % ("x" * (1 << 17)))
    reads, is_closed = threading.Event(), threading.Event()

    def around(call: Call, proceed: Any) -> Any:
        if call.name == "read" and not reads.is_set():
            reads.set()
            wait_for(is_closed, "the end of the loop")
        return proceed()

    store: AsyncStore[Any] = AsyncStore(path, queue=queue, system=intercepted(around))

    async def main() -> None:
        if operation == "update":
            await store.update(lambda state: state.clear())
        elif operation == "recover":
            await store.recover()
        else:
            async with store.transaction():
                pass

    loop = asyncio.new_event_loop()
    tasks = [loop.create_task(main())]
    loop.run_until_complete(asyncio.sleep(0))
    while not reads.is_set():
        loop.run_until_complete(asyncio.sleep(0.001))
    loop.close()
    is_closed.set()
    Store(path, queue=queue).update(lambda state: state.clear())
    _forget(tasks)


@pytest.mark.parametrize("is_waiting", [True, False])
def test_a_task_that_was_woken_on_a_loop_that_never_runs_again_is_passed_over(
    queue: PerStoreWriterQueue, path: Path, is_waiting: bool
) -> None:
    """The loop has stopped, and takes the message; then it is closed."""

    def ask() -> None:
        with queue.turn(path, timeout=10.0):
            pass

    loop = asyncio.new_event_loop()

    async def take() -> None:
        async with queue.turn(path, timeout=None):
            raise AssertionError

    async def main() -> list[asyncio.Task[Any]]:
        task = asyncio.ensure_future(take())
        await until_async(lambda: queue.pending(path) == 1)
        return [task]

    with held(queue, path) as holding:
        tasks = loop.run_until_complete(main())
        workers = lined_up(queue, path, ask) if is_waiting else []
        holding.release()
    loop.close()
    for worker in workers or [Worker(ask)]:
        worker.result()
    _forget(tasks)


@pytest.mark.parametrize("timeout", [30.0, None])
def test_a_turn_is_given_back_although_tasks_that_are_gathered_with_its_task_wait_behind_it(
    path: Path, timeout: float | None
) -> None:
    """What waits in the line leads to its task, to those that are gathered with it, and so to the one with the turn."""
    queue = PerStoreWriterQueue(timeout=timeout, warn_after=None)
    loop = asyncio.new_event_loop()

    async def hold(store: AsyncStore) -> None:
        async with store.transaction():
            await asyncio.gather(*[ask(store) for _ in range(3)])

    async def ask(store: AsyncStore) -> None:
        await store.update(lambda state: state.clear())

    async def main() -> list[asyncio.Task[Any]]:
        task = asyncio.ensure_future(hold(AsyncStore(path, queue=queue)))  # noqa: F841, RUF006
        await until_async(lambda: queue.pending(path) == 3)
        return [other for other in asyncio.all_tasks() if other is not asyncio.current_task()]

    tasks = loop.run_until_complete(main())
    loop.close()
    del loop
    _forget(tasks)
    with queue.turn(path, timeout=1.0):
        pass


@pytest.mark.parametrize("timeout", [30.0, None])
def test_a_task_that_waits_is_kept_by_its_loop_although_nothing_else_refers_to_it(
    path: Path, timeout: float | None
) -> None:
    queue = PerStoreWriterQueue(timeout=timeout, warn_after=None)
    done: list[int] = []

    async def ask(number: int) -> None:
        async with queue.turn(path):
            done.append(number)

    async def main() -> None:
        async with queue.turn(path):
            for number in range(3):
                asyncio.ensure_future(ask(number))  # noqa: RUF006  # that is the point
            await until_async(lambda: queue.pending(path) == 3)
            gc.collect()
        await until_async(lambda: len(done) == 3)

    asyncio.run(main())
    assert done == [0, 1, 2]
