"""How a watch ends: by `close`, by leaving a block or a loop, by cancellation; and what it leaves behind: nothing.

That no descriptor and no thread is left is asserted after every test (see the `conftest.py` of all tests).
"""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from watching import NEVER, OFTEN, ask, put, watch

from helpers.waiting import until_async, wait_for
from storewriter import AsyncStore, Store
from storewriter._backends.files import FileBackend
from storewriter._backends.protocol import Loaded
from storewriter.watch import AsyncWatch


def test_close_ends_a_wait_in_another_thread(path: Path, way: str) -> None:
    store: Store[dict[str, Any]] = Store(path)
    states = watch(store, way)
    next(states)
    worker = ask(states)
    states.close()
    with pytest.raises(StopIteration):
        worker.result()


def test_a_closed_watch_is_over_and_may_be_closed_again(path: Path, way: str) -> None:
    states = watch(Store(path), way)
    states.close()
    states.close()
    assert list(states) == []


def test_leaving_the_loop_is_enough(path: Path, way: str) -> None:
    before = set(os.listdir("/proc/self/fd"))
    for _ in watch(Store(path), way):
        break
    gc.collect()
    assert set(os.listdir("/proc/self/fd")) <= before


def test_an_error_inside_the_loop_leaves_nothing(path: Path, way: str) -> None:
    def fail() -> None:
        for _ in watch(Store(path), way):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()


def test_two_threads_cannot_iterate_one_watch(path: Path, way: str) -> None:
    states = watch(Store(path), way)
    next(states)
    worker = ask(states)
    with pytest.raises(RuntimeError, match="another thread"):
        next(states)
    states.close()
    worker.wait()


def test_two_watches_tell_the_same(path: Path, way: str) -> None:
    store: Store[dict[str, Any]] = Store(path)
    with watch(store, way) as one, watch(store, way) as other:
        next(one), next(other)
        store.update(lambda state: state.update(n=1))
        assert next(one) == next(other) == {"n": 1}


def test_tasks_are_told_what_another_task_commits(path: Path, way: str, run: Callable[..., Any]) -> None:
    store: AsyncStore[dict[str, Any]] = AsyncStore(path)

    async def commit() -> None:
        for number in range(30):
            await store.update(lambda state, number=number: state.update(n=number))

    async def main() -> list[int]:
        seen = []
        async with watch(store, way) as states, anyio.create_task_group() as tasks:
            assert await anext(states) == {}
            tasks.start_soon(commit)
            async for state in states:
                seen.append(state["n"])
                if state["n"] == 29:
                    break
        return seen

    seen = run(main)
    assert seen == sorted(set(seen))


def test_cancelling_a_wait_loses_no_state(path: Path, way: str, run: Callable[..., Any]) -> None:
    store: AsyncStore[dict[str, Any]] = AsyncStore(path)

    async def main() -> None:
        async with watch(store, way) as states:
            await anext(states)
            for number in range(5):
                with anyio.CancelScope() as scope:
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(anext, states)
                        await until_async(lambda: states._busy)
                        await anyio.lowlevel.checkpoint()
                        scope.cancel()
                assert scope.cancelled_caught
                put(path, f'{{"n":{number}}}')
                assert await anext(states) == {"n": number}

    run(main)


def test_a_state_that_was_being_read_when_the_cancellation_came_is_told_next_time(
    path: Path, way: str, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    store: AsyncStore[dict[str, Any]] = AsyncStore(path)
    large = {"text": "x" * 200_000}
    put(path, '{"text":"' + large["text"] + '"}')
    load, reading, go_on = FileBackend.look, threading.Event(), threading.Event()

    def load_slowly(backend: FileBackend) -> Loaded:
        data = load(backend)
        reading.set()
        wait_for(go_on)
        return data

    monkeypatch.setattr(FileBackend, "look", load_slowly)

    async def main() -> None:
        told = []

        async def ask() -> None:
            told.append(await anext(states))

        async with watch(store, way) as states:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(ask)
                    await until_async(reading.is_set)
                    scope.cancel()
                    go_on.set()
            if not told:  # asyncio; trio delivers the cancellation after the state
                await ask()
            assert told == [large]

    run(main)


def test_a_large_document_is_not_read_on_the_event_loop(
    path: Path, way: str, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    store: AsyncStore[dict[str, Any]] = AsyncStore(path)
    put(path, '{"text":"' + "x" * 200_000 + '"}')
    load, threads = FileBackend.look, set[int]()

    def load_and_note(backend: FileBackend) -> Loaded:
        threads.add(threading.get_ident())
        return load(backend)

    monkeypatch.setattr(FileBackend, "look", load_and_note)

    async def main() -> None:
        async with watch(store, way) as states:
            assert len((await anext(states))["text"]) == 200_000

    run(main)
    assert threads
    assert threading.get_ident() not in threads


def test_two_tasks_cannot_iterate_one_watch(path: Path, way: str, run: Callable[..., Any]) -> None:
    store: AsyncStore[dict[str, Any]] = AsyncStore(path)

    async def main() -> None:
        async with watch(store, way) as states:
            await anext(states)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anext, states)
                await until_async(lambda: states._busy)
                with pytest.raises(RuntimeError, match="another task"):
                    await anext(states)
                with pytest.raises(RuntimeError, match="cancel the task"):
                    await states.aclose()
                tasks.cancel_scope.cancel()

    run(main)


def test_a_closed_async_watch_is_over(path: Path, way: str, run: Callable[..., Any]) -> None:
    async def main() -> list[Any]:
        states = watch(AsyncStore(path), way)
        await states.aclose()
        await states.aclose()
        return [state async for state in states]

    assert run(main) == []


def test_leaving_an_async_loop_is_enough(path: Path, way: str, run: Callable[..., Any]) -> None:
    async def main() -> None:
        before = set(os.listdir("/proc/self/fd"))
        async for _ in watch(AsyncStore(path), way):
            break
        gc.collect()
        assert set(os.listdir("/proc/self/fd")) <= before

    run(main)


def test_a_busy_watch_lets_other_tasks_run_and_can_be_cancelled(
    path: Path, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    load, count = FileBackend.look, iter(range(10**9))

    def always_new(backend: FileBackend) -> Loaded:
        return Loaded(f'{{"n":{next(count)}}}'.encode(), load(backend).stamp)

    monkeypatch.setattr(FileBackend, "look", always_new)

    async def main() -> None:
        seen = 0
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:

                async def cancel_soon() -> None:
                    scope.cancel()

                tasks.start_soon(cancel_soon)
                async with AsyncStore(path).watch(poll=OFTEN) as states:
                    async for _ in states:
                        seen += 1
                        assert seen < 1000, "the watch never let go of the loop"
        assert scope.cancelled_caught

    run(main)


def test_the_watch_needs_no_thread_with_inotify(path: Path, run: Callable[..., Any]) -> None:
    store: AsyncStore[dict[str, Any]] = AsyncStore(path)

    async def main() -> None:
        before = set(os.listdir("/proc/self/task"))
        async with store.watch(poll=NEVER) as states:
            assert isinstance(states, AsyncWatch)
            await anext(states)
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(anext, states)
                    await until_async(lambda: states._busy)
                    assert set(os.listdir("/proc/self/task")) <= before
                    scope.cancel()

    run(main)
