"""Everything at once: threads, two event loops and another process, cancellations and timeouts at any moment."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio

from helpers.children import child
from helpers.lines import Worker
from storewriter import AsyncStore, LockTimeout, PerStoreWriterQueue, Store
from storewriter._turns import line

_OTHER = """
store = Store(path, default=list, queue=PerStoreWriterQueue(timeout=30), durability="process")
done = 0
say("ready")
while not os.path.exists(path + ".stop"):
    store.update(lambda state: state.append(f"other {done}"))
    done += 1
say(done)
"""


class Storm:
    """Callers with names that no two updates share, and what each was told."""

    def __init__(self, path: Path, seed: int) -> None:
        queue = PerStoreWriterQueue(timeout=20.0)
        self.store: Store[list[str]] = Store(path, default=list, queue=queue, durability="process")
        self.astore: AsyncStore[list[str]] = AsyncStore(path, default=list, queue=queue, durability="process")
        self.queue = queue
        self.path = path
        self.seed = seed
        self.acknowledged: list[str] = []
        self.refused: list[str] = []
        self.unknown: list[str] = []

    def thread(self, who: str) -> None:
        dice = random.Random(f"{self.seed} {who}")
        for place in range(60):
            name = f"{who} {place}"
            try:
                self.store.update(lambda state, name=name: state.append(name), timeout=dice.choice([0, 0.001, 20.0]))
            except LockTimeout:
                self.refused.append(name)
            else:
                self.acknowledged.append(name)

    async def task(self, who: str, dice: random.Random) -> None:
        for place in range(15):
            name = f"{who} {place}"
            started = False

            def fn(state: list[str], name: str = name) -> None:
                nonlocal started
                started = True
                state.append(name)

            async def afn(state: list[str], name: str = name) -> None:
                await anyio.lowlevel.checkpoint()
                fn(state, name)
                await anyio.lowlevel.checkpoint()

            delay = dice.choice([0, 0, 0.0005, 0.002, 20.0])
            with anyio.CancelScope() as scope:
                scope.deadline = anyio.current_time() + delay
                kind = dice.choice(["update", "async", "transaction", "turn"])
                if kind == "update":
                    await self.astore.update(fn)
                elif kind == "async":
                    await self.astore.update(afn)
                elif kind == "transaction":
                    async with self.astore.transaction() as tx:
                        await anyio.lowlevel.checkpoint()
                        fn(tx.state)
                else:
                    async with self.queue.turn(self.path):
                        await anyio.lowlevel.checkpoint()
                    continue
                self.acknowledged.append(name)
            if scope.cancelled_caught:
                (self.unknown if started else self.refused).append(name)

    async def tasks(self, who: str) -> None:
        async with anyio.create_task_group() as group:
            for place in range(8):
                group.start_soon(self.task, f"{who} {place}", random.Random(f"{self.seed} {who} {place}"))


@pytest.mark.parametrize("seed", range(4))
def test_nothing_acknowledged_is_lost_and_nothing_refused_is_there(path: Path, seed: int) -> None:
    storm = Storm(path, seed)
    with child(_OTHER, path) as other:
        other.expect("ready")
        workers = [Worker(lambda who=who: storm.thread(who)) for who in ("thread 1", "thread 2")]
        workers.append(Worker(lambda: asyncio.run(storm.tasks("asyncio"))))
        workers.append(Worker(lambda: trio.run(storm.tasks, "trio")))
        for worker in workers:
            worker.result()
        Path(f"{path}.stop").touch()
        done = int(other.hear())
        other.finish()
    state = storm.store.read()
    assert len(set(state)) == len(state), "something was applied twice"
    assert [name for name in state if name.startswith("other")] == [f"other {place}" for place in range(done)]
    assert set(storm.acknowledged) <= set(state)
    assert not set(storm.refused) & set(state)
    ours = {name for name in state if not name.startswith("other")}
    assert ours <= set(storm.acknowledged) | set(storm.unknown)
    assert len(storm.acknowledged) > 50
    assert len(storm.refused) > 10
    assert not line.lanes
    with storm.queue.turn(path, timeout=0):
        pass


def test_a_loop_that_is_shut_down_in_the_middle_of_it_all_leaves_the_others_unharmed(path: Path) -> None:
    """asyncio.run cancels everything on its way out; the threads beside it go on."""
    storm = Storm(path, 99)

    async def main() -> None:
        for place in range(30):
            task: Any = asyncio.ensure_future(storm.tasks(f"asyncio {place}"))
            tasks.append(task)
            await asyncio.sleep(0.001)

    tasks: list[Any] = []
    worker = Worker(lambda: storm.thread("thread"))
    asyncio.run(main())
    worker.result()
    state = storm.store.read()
    assert len(set(state)) == len(state)
    assert set(storm.acknowledged) <= set(state)
    assert not set(storm.refused) & set(state)
