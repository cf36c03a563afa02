"""Histories of concurrent updates and reads look as if each had happened at one instant."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import anyio
import pytest
import trio

from helpers.histories import Recorder, step, working_processes
from helpers.linearizability import Operation, is_linearizable
from helpers.lines import Worker
from storewriter import AsyncStore, PerStoreWriterQueue, Store


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


def test_several_processes(path: Path) -> None:
    with working_processes(path, "abc", 8) as processes:
        history = processes.history()
    assert len(history) == 24
    assert is_linearizable(history, (), step)
