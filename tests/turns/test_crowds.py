"""A crowd that warns and gives up together: its event loop goes on, and every error names the holder."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from helpers.lines import held
from helpers.waiting import until_async
from storewriter import LockTimeout, Owner, PerStoreWriterQueue, _lanes
from storewriter._lanes import Lane

CROWD = 800


class Shut:
    """Another process holds it, and to find its name costs a look."""

    name = "own"
    is_quick = True

    def __init__(self) -> None:
        self.looks = 0

    def attempt(self, path: str, label: str | None) -> Any:
        return None

    def owner(self, path: str) -> Owner:
        self.looks += 1
        return Owner(pid=1, host="elsewhere")


async def _give_up_together(queue: PerStoreWriterQueue, path: Path) -> list[LockTimeout]:
    errors: list[LockTimeout] = []

    async def ask() -> None:
        try:
            async with queue.turn(path):
                raise AssertionError
        except LockTimeout as error:
            errors.append(error)

    async with anyio.create_task_group() as group:
        for _ in range(CROWD):
            group.start_soon(ask)
    return errors


def test_a_crowd_that_waits_for_the_same_holder_looks_for_it_a_few_times_and_not_each(
    path: Path, run: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = Shut()
    queue = PerStoreWriterQueue(lock, timeout=0.6, warn_after=0.3)
    walks = 0
    real = Lane.in_line

    def counted(lane: Lane) -> Any:
        nonlocal walks
        walks += 1
        return real(lane)

    monkeypatch.setattr(Lane, "in_line", counted)
    with caplog.at_level(logging.WARNING, "storewriter"):
        errors = run(lambda: _give_up_together(queue, path))
    assert len(errors) == CROWD
    warnings = [record for record in caplog.records if "held by pid 1 on elsewhere" in record.getMessage()]
    assert len(warnings) == CROWD
    assert all(error.owner == Owner(pid=1, host="elsewhere") and error.alive == "unknown" for error in errors)
    assert lock.looks < CROWD / 4
    assert walks < CROWD / 4
    assert all(0 <= error.ahead < CROWD for error in errors)
    assert _lanes.find(str(path)) is None or _lanes.find(str(path)).head is None


def test_the_loop_of_a_crowd_that_gives_up_together_runs_its_other_tasks_in_between(path: Path) -> None:
    async def main() -> int:
        rounds = 0

        async def go_on() -> None:
            nonlocal rounds
            while True:
                if any(task.done() for task in tasks):
                    rounds += 1
                await asyncio.sleep(0)

        async def ask() -> None:
            with pytest.raises(LockTimeout):
                async with queue.turn(path):
                    pass

        queue = PerStoreWriterQueue(Shut(), timeout=0.3, warn_after=None)
        tasks = [asyncio.create_task(ask()) for _ in range(CROWD)]
        await until_async(lambda: queue.pending(path) == CROWD)
        time.sleep(0.4)  # so that all are late when the loop looks again
        other = asyncio.create_task(go_on())
        await asyncio.gather(*tasks)
        other.cancel()
        return rounds

    assert asyncio.run(main()) >= 6


def test_a_deadline_in_a_crowd_that_is_woken_in_parts_holds_for_each(path: Path) -> None:
    async def main() -> list[float]:
        waited = []

        async def ask() -> None:
            with pytest.raises(LockTimeout) as caught:
                async with queue.turn(path):
                    pass
            waited.append(caught.value.waited)

        queue = PerStoreWriterQueue(timeout=0.2, warn_after=None)
        with held(queue, path):
            await asyncio.gather(*(ask() for _ in range(CROWD)))
        return waited

    waited = asyncio.run(main())
    assert len(waited) == CROWD
    assert min(waited) >= 0.2


def test_the_places_in_a_long_line_are_counted_right(queue: PerStoreWriterQueue, path: Path) -> None:
    async def main() -> None:
        ahead: dict[int, int] = {}

        async def ask(place: int) -> None:
            with pytest.raises(LockTimeout) as caught:
                async with queue.turn(path, timeout=0.3 if place == 150 else 0.5):
                    pass
            ahead[place] = caught.value.ahead

        with held(queue, path):
            await asyncio.gather(*(ask(place) for place in range(300)))
        assert ahead[150] == 151  # those who came before, and the holder

    asyncio.run(main())
