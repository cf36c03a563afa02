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
from storewriter import LockTimeout, Owner, PerStoreWriterQueue
from storewriter._turns import entering, line, messages
from storewriter._turns.line import Lane

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


class Costs:
    """How often the holder was looked for, and the line walked."""

    def __init__(self, lock: Shut, monkeypatch: pytest.MonkeyPatch) -> None:
        self._lock = lock
        self.walks = 0
        # What was looked up or counted is believed as long as the test runs, however slowly it does.
        monkeypatch.setattr(messages, "_OWNER_CACHE_SECONDS", 3600.0)
        monkeypatch.setattr(line, "_RECOUNT", 3600.0)
        real = Lane.in_line

        def counted(lane: Lane) -> Any:
            self.walks += 1
            return real(lane)

        monkeypatch.setattr(Lane, "in_line", counted)

    def require_few(self) -> None:
        assert self._lock.looks == 1
        assert self.walks <= 2 * line._LONG


def test_a_crowd_that_warns_of_the_same_holder_looks_for_it_once_and_not_each(
    path: Path, run: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = Shut()
    costs = Costs(lock, monkeypatch)
    queue = PerStoreWriterQueue(lock, timeout=None, warn_after=0.05)

    async def ask() -> None:
        async with queue.turn(path):
            raise AssertionError

    def warnings() -> int:
        return sum("held by pid 1 on elsewhere" in record.getMessage() for record in caplog.records)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(CROWD):
                group.start_soon(ask)
            await until_async(lambda: len(caplog.records) >= CROWD)
            group.cancel_scope.cancel()

    with caplog.at_level(logging.WARNING, "storewriter"):
        run(main)
    assert warnings() == CROWD
    costs.require_few()
    lane = line.lanes.get(str(path))
    assert lane is None or lane.head is None


def test_a_crowd_that_gives_up_looks_for_the_holder_once_and_each_is_told(
    path: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = Shut()
    costs = Costs(lock, monkeypatch)
    queue = PerStoreWriterQueue(lock, timeout=0.3, warn_after=None)
    errors: list[LockTimeout] = []

    async def ask() -> None:
        with pytest.raises(LockTimeout) as caught:
            async with queue.turn(path):
                raise AssertionError
        errors.append(caught.value)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(CROWD):
                group.start_soon(ask)

    run(main)
    assert len(errors) == CROWD
    assert all(error.owner == Owner(pid=1, host="elsewhere") and error.alive == "unknown" for error in errors)
    costs.require_few()
    assert all(0 <= error.ahead < CROWD for error in errors)
    lane = line.lanes.get(str(path))
    assert lane is None or lane.head is None


class Clock:
    """In place of the module `time`, and of an event loop's clock. It can be put forward."""

    time = staticmethod(time.time)

    def __init__(self) -> None:
        self.offset = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.offset


def test_the_loop_of_a_crowd_that_gives_up_together_runs_its_other_tasks_in_between(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(entering, "time", clock)

    async def main() -> int:
        asyncio.get_running_loop().time = clock.monotonic  # type: ignore[method-assign]
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

        queue = PerStoreWriterQueue(Shut(), timeout=1000.0, warn_after=None)
        tasks = [asyncio.create_task(ask()) for _ in range(CROWD)]
        while queue.pending(path) < CROWD:
            await asyncio.sleep(0)
        clock.offset = 2000.0  # so that all are late when the loop looks again
        other = asyncio.create_task(go_on())
        await asyncio.gather(*tasks)
        other.cancel()
        return rounds

    assert asyncio.run(main()) >= 6


def test_a_deadline_in_a_crowd_that_is_woken_in_parts_holds_for_each(path: Path) -> None:
    async def main() -> list[float]:
        waited = []  # type: ignore[var-annotated]

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
        async def ask(place: int) -> int:
            with pytest.raises(LockTimeout) as caught:
                async with queue.turn(path, timeout=0.1 if place == 150 else None):
                    pass
            return caught.value.ahead

        with held(queue, path):
            tasks = [asyncio.create_task(ask(place)) for place in range(300)]
            assert await tasks[150] == 151  # those who came before, and the holder
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())
