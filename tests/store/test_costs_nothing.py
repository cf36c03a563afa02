"""Idle stores cost nothing, and a busy one does not hold up the event loop."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest

from helpers.children import HOLDER, child
from helpers.waiting import PATIENCE, until, until_async
from storewriter import AsyncStore, PerStoreWriterQueue, Store
from storewriter._platform.system import SYSTEM, System
from storewriter._turns import line

Durability = Literal["power", "process"]


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))


_TOUCH_THOUSANDS = """
import gc, tracemalloc
from storewriter import Store
from storewriter._turns import line

queue = PerStoreWriterQueue(timeout=20.0)

def touch(first, last):
    for place in range(first, last):
        name = f"{path}/{place % 100}/{place}"  # no Path: pathlib interns its parts
        with queue.turn(name):
            pass
        if place % 8 == 0:
            Store(name, queue=queue, durability="process").update(lambda state: state.update(a=1))
    gc.collect()

def left():
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

touch(0, 100)  # whatever is allocated once is allocated now
before = left()
tracemalloc.start()
touch(100, 4096)
touch(4096, 8192)
some = tracemalloc.get_traced_memory()[0]
touch(8192, 12288)
more = tracemalloc.get_traced_memory()[0]
say(len(line.lanes), left() == before, more - some)
"""


def test_thousands_of_stores_touched_once_leave_nothing(tmp_path: Path) -> None:
    """What is remembered of paths is thrown away as a whole when it is of 512: after 4,096 more it is as full as before.

    In a process of its own: what other tests left in the tables of this one decides when a table grows.
    """
    with child(_TOUCH_THOUSANDS, tmp_path) as process:
        lanes, as_before, grown = process.hear(patience=4 * PATIENCE).split()
        process.finish()
    assert lanes == "0"
    assert as_before == "True", "descriptors or threads are left"
    assert int(grown) < 20_000, f"{grown} bytes for 4,096 more stores"


@pytest.mark.parametrize("durability", ["process", "power"])
def test_nothing_is_open_between_two_updates_of_a_large_store(durability: Durability, tmp_path: Path) -> None:
    gc.collect()
    before = _descriptors(), _threads()
    store = Store(tmp_path / "state.json", durability=durability)
    for number in range(5):
        store.update(lambda state, number=number: state.update({"x": "x" * 50_000, "number": number}))
        assert (_descriptors(), _threads()) == before
    assert store.read()["number"] == 4


def test_contended_stores_leave_nothing(queue, tmp_path, run) -> None:
    async def main() -> None:
        async def one(path: Path) -> None:
            async with queue.turn(path):
                await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as group:
            for place in range(300):
                group.start_soon(one, tmp_path / str(place % 30))

    gc.collect()
    before = _descriptors(), _threads()
    run(main)
    gc.collect()
    assert not line.lanes
    until(lambda: (_descriptors(), _threads()) == before, "the end of all threads and descriptors")


_MANY = 50
"""Turns of the loop: many more than an update takes."""


class LoopRuns:
    """Whether the loop runs while something else waits."""

    def __init__(self) -> None:
        self.turns = 0
        self.has_run = threading.Event()

    def count_from_here(self) -> None:
        self.turns = 0
        self.has_run.clear()

    def wait(self) -> None:
        """Until the loop has run, in what must not keep it from that."""
        assert self.has_run.wait(PATIENCE), "the loop stands still"

    async def beat(self) -> None:
        while True:
            await anyio.sleep(0.001)
            self.turns += 1
            if self.turns > _MANY:
                self.has_run.set()


async def _beside(loop: LoopRuns, work: Callable[[], Awaitable[object]]) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(loop.beat)
        await work()
        group.cancel_scope.cancel()


def test_the_loop_runs_on_while_a_contended_store_is_waited_for(queue, path, run) -> None:
    loop = LoopRuns()

    async def wait() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(AsyncStore(path, queue=queue).update, lambda state: state.update(a=1))
            await until_async(lambda: queue.pending(path) == 20)
            loop.count_from_here()
            await until_async(loop.has_run.is_set, "turns of the loop")
            assert queue.pending(path) == 20
            holder.tell()

    with child(HOLDER, path) as holder:
        holder.expect("holding")
        run(lambda: _beside(loop, wait))
        holder.finish()


def test_the_loop_runs_on_while_a_flush_takes_its_time(path, run, monkeypatch) -> None:
    loop = LoopRuns()
    flushes = []
    real_fsync = os.fsync

    def fsync(fd: int) -> None:
        loop.count_from_here()
        loop.wait()
        flushes.append(fd)
        real_fsync(fd)

    monkeypatch.setattr(System, "flush", staticmethod(fsync))
    monkeypatch.setattr(System, "flush_folder", staticmethod(fsync))
    store = AsyncStore(path)
    run(lambda: _beside(loop, lambda: store.update(lambda state: state.update(a=1))))
    assert flushes


def test_the_loop_runs_on_while_large_documents_are_read_and_written(path, run, monkeypatch) -> None:
    """Decoding and encoding are done on the loop; how long they take is measured by the benchmark of stalls."""
    loop = LoopRuns()
    calls = []
    store: AsyncStore[dict[str, object]] = AsyncStore(path, durability="process")

    def slowly(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def slow(*arguments: Any) -> Any:
            loop.count_from_here()
            loop.wait()
            calls.append(name)
            return call(*arguments)

        return slow

    async def save() -> None:
        records = {str(place): {"text": "x" * 200, "n": place} for place in range(20_000)}
        await store.update(lambda state: state.update(records=records))
        for name in ("read", "write"):
            monkeypatch.setattr(System, name, staticmethod(slowly(name, getattr(SYSTEM, name))))
        await store.update(lambda state: state.update(n=1))

    run(lambda: _beside(loop, save))
    assert {"read", "write"} <= set(calls)


@pytest.mark.parametrize("updates", [2000])
def test_updates_that_need_no_waiting_let_the_other_tasks_run(path, run, updates) -> None:
    async def main() -> int:
        queue = PerStoreWriterQueue(timeout=20.0)
        others = 0

        async def other() -> None:
            nonlocal others
            while True:
                await anyio.lowlevel.checkpoint()
                others += 1

        async with anyio.create_task_group() as group:
            group.start_soon(other)
            for _ in range(updates):
                async with queue.turn(path):
                    pass
            group.cancel_scope.cancel()
        return others

    assert run(main) >= 2
