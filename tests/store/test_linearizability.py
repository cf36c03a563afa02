"""Histories of concurrent updates and reads look as if each had happened at one instant."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio

from helpers.children import child
from helpers.linearizability import Operation, is_linearizable
from helpers.lines import Worker
from storewriter import AsyncStore, PerStoreWriterQueue, Store


def step(state: Hashable, operation: Operation) -> Hashable | None:
    """The store as a tuple of what was appended."""
    assert isinstance(state, tuple)
    if operation.name == "append":
        is_possible = operation.returned is None or operation.result == len(state)
        return (*state, operation.argument) if is_possible else None
    if operation.name == "fail":
        return state
    return state if tuple(operation.result) == state else None


def test_the_checker_itself_accepts_and_refuses() -> None:
    def append(value: str, result: int, called: float, returned: float) -> Operation:
        return Operation("append", value, result, called, returned)

    def read(result: list[str], called: float, returned: float) -> Operation:
        return Operation("read", None, result, called, returned)

    overlapping = [append("a", 1, 0, 5), append("b", 0, 1, 4), read(["b"], 2, 3)]
    assert is_linearizable(overlapping, (), step)
    lost = [append("a", 0, 0, 1), append("b", 0, 2, 3)]
    assert not is_linearizable(lost, (), step)
    stale = [append("a", 0, 0, 1), read([], 2, 3)]
    assert not is_linearizable(stale, (), step)
    phantom = [read(["a"], 0, 1), append("a", 0, 2, 3)]
    assert not is_linearizable(phantom, (), step)
    died = Operation("append", "a", None, 0, None)
    assert is_linearizable([died, read([], 1, 2), read(["a"], 3, 4)], (), step)
    assert is_linearizable([died, read([], 1, 2), append("b", 0, 3, 4)], (), step)
    assert not is_linearizable([died, read(["a"], 1, 2), read([], 3, 4)], (), step)


class Recorder:
    """What was called, and what came of it."""

    def __init__(self) -> None:
        self.history: list[Operation] = []

    def did(self, name: str, argument: Any, result: Any, called: float) -> None:
        self.history.append(Operation(name, argument, result, called, time.monotonic()))

    def thread(self, store: Store[list[str]], who: str, count: int) -> None:
        for place in range(count):
            called = time.monotonic()
            if place % 3 == 2:
                self.did("read", None, store.read(), called)
            elif place % 5 == 3:
                self._fail(store, who, called)
            else:
                self.did("append", f"{who}{place}", store.update(appending(f"{who}{place}")), called)

    def _fail(self, store: Store[list[str]], who: str, called: float) -> None:
        def fn(state: list[str]) -> None:
            state.append(f"phantom of {who}")
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            store.update(fn)
        self.did("fail", None, None, called)

    async def task(self, store: AsyncStore[list[str]], who: str, count: int) -> None:
        for place in range(count):
            called = time.monotonic()
            if place % 3 == 2:
                self.did("read", None, await store.read(), called)
            else:
                self.did("append", f"{who}{place}", await store.update(appending(f"{who}{place}")), called)


def appending(value: str) -> Callable[[list[str]], int]:
    def fn(state: list[str]) -> int:
        state.append(value)
        return len(state) - 1

    return fn


@pytest.mark.parametrize("round_", range(3))
def test_threads_and_tasks_of_one_process(queue: PerStoreWriterQueue, path: Path, round_: int) -> None:
    store: Store[list[str]] = Store(path, default=list, queue=queue, durability="process")
    astore: AsyncStore[list[str]] = AsyncStore(path, default=list, queue=queue, durability="process")
    recorder = Recorder()
    start = threading.Barrier(4)

    async def tasks(kind: str) -> None:
        start.wait()
        async with anyio.create_task_group() as group:
            for place in range(3):
                group.start_soon(recorder.task, astore, f"{kind}{place}.", 6)

    def thread(name: str) -> None:
        start.wait()
        recorder.thread(store, name, 8)

    workers = [Worker(lambda: asyncio.run(tasks("asyncio"))), Worker(lambda: trio.run(tasks, "trio"))]
    workers += [Worker(lambda name=name: thread(name)) for name in ("s", "t")]
    for worker in workers:
        worker.result()
    assert len(recorder.history) == 3 * 6 * 2 + 2 * 8
    assert is_linearizable(recorder.history, (), step)


_PROCESS = """
store = Store(path, default=list, queue=PerStoreWriterQueue(timeout=30), durability="process")
history = []
def appending(value):
    def fn(state):
        state.append(value)
        return len(state) - 1
    return fn
say("ready"); hear()
for place in range(8):
    called = time.monotonic()
    if place % 3 == 2:
        history.append(["read", None, store.read(), called, time.monotonic()])
    else:
        value = args[0] + str(place)
        history.append(["append", value, store.update(appending(value)), called, time.monotonic()])
say(json.dumps(history))
"""


def test_several_processes(path: Path) -> None:
    """CLOCK_MONOTONIC is the same for all processes of a machine, so their histories can be put together."""
    contexts = [child(_PROCESS, path, name) for name in "abc"]
    processes = [context.__enter__() for context in contexts]
    try:
        for process in processes:
            process.expect("ready")
        for process in processes:
            process.tell()
        history = [Operation(*entry) for process in processes for entry in json.loads(process.hear())]
    finally:
        for context in contexts:
            context.__exit__(None, None, None)
    assert len(history) == 24
    assert is_linearizable(history, (), step)
