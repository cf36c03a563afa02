"""Hundreds of tasks that are cancelled at random moments, beside threads: every answer is true, and nothing is left."""

from __future__ import annotations

import random
import threading
from pathlib import Path
from typing import Any

import anyio
import pytest

from helpers.lines import Worker
from storewriter import AsyncStore, LockTimeout, PerStoreWriterQueue, Store

TASKS = 600
STEPS = 12
"""A task is cancelled after so many steps of the loop, at most."""


class Outcomes:
    """What each update's function and caller have seen."""

    def __init__(self) -> None:
        self.answered: set[str] = set()
        self.ended: set[str] = set()
        """By a cancellation or a timeout: whether it was applied is for its function to say."""
        self.applied: set[str] = set()

    def adding(self, name: str) -> Any:
        def fn(state: list[str]) -> str:
            self.applied.add(name)
            state.append(name)
            return name

        return fn


async def _one(store: AsyncStore[list[str]], outcomes: Outcomes, name: str, rng: random.Random) -> None:
    timeout = rng.choice([None, None, 5.0, 0.001])
    try:
        assert await store.update(outcomes.adding(name), timeout=timeout) == name
    except LockTimeout:
        assert name not in outcomes.applied
        outcomes.ended.add(name)
    except anyio.get_cancelled_exc_class():
        outcomes.ended.add(name)
        raise
    else:
        outcomes.answered.add(name)


async def _cancelled(store: AsyncStore[list[str]], outcomes: Outcomes, name: str, rng: random.Random) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(_one, store, outcomes, name, rng)
        for _ in range(rng.randrange(STEPS)):
            await anyio.lowlevel.checkpoint()
        if rng.random() < 0.6:
            group.cancel_scope.cancel()


async def _all(path: Path, queue: PerStoreWriterQueue, outcomes: Outcomes, seed: int) -> None:
    store: AsyncStore[list[str]] = AsyncStore(path, default=list, queue=queue, durability="process")
    async with anyio.create_task_group() as group:
        for number in range(TASKS):
            group.start_soon(_cancelled, store, outcomes, f"t{number}", random.Random(seed * 1000 + number))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_was_answered_is_there_and_what_was_never_applied_is_not(
    backend: str, seed: int, tmp_path: Path, queue: PerStoreWriterQueue
) -> None:
    path = tmp_path / "state.json"
    outcomes = Outcomes()
    is_over = threading.Event()
    store: Store[list[str]] = Store(path, default=list, queue=queue, durability="process")

    def thread(name: str) -> None:
        number = 0
        while not is_over.is_set():
            number += 1
            outcomes.answered.add(store.update(outcomes.adding(f"{name}{number}")))

    workers = [Worker(lambda name=name: thread(name)) for name in ("a", "b")]
    try:
        anyio.run(_all, path, queue, outcomes, seed, backend=backend)
    finally:
        is_over.set()
        for worker in workers:
            worker.result()
    found = store.read()
    assert len(found) == len(set(found))
    assert outcomes.answered <= set(found)
    assert set(found) <= outcomes.applied
    assert set(found) - outcomes.answered <= outcomes.ended
    assert {f"t{number}" for number in range(TASKS)} <= outcomes.answered | outcomes.ended
    assert outcomes.ended
    assert any(name.startswith("t") for name in outcomes.answered)
