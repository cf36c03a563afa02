"""Checks of one key that meet in one object: the second waits for the first, whatever becomes of that."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from persistent_dedupe import AsyncPersistentDedupe, CheckResult, DedupeOptions, PersistentDedupe, document
from persistent_dedupe.runner import OneShotResult
from storewriter import CommitUncertain, PerStoreWriterQueue
from storewriter.events import BatchCommitted, subscribe

PATIENCE = 20.0
"""Seconds after which a test says that it hangs."""

anyio_backends = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@pytest.fixture
def make(gate: Any, tmp_path: Path) -> Callable[..., AsyncPersistentDedupe]:
    def make(**options: Any) -> AsyncPersistentDedupe:
        given = {"ttl": 3600, "queue": PerStoreWriterQueue(lock=gate), **options}
        return AsyncPersistentDedupe(tmp_path, DedupeOptions(**given))

    return make


def run(backend: str, main: Callable[[], Any]) -> None:
    async def bounded() -> None:
        with anyio.fail_after(PATIENCE):
            await main()

    anyio.run(bounded, backend=backend)


@anyio_backends
def test_the_second_waits_for_the_outcome_of_the_first(backend: str, gate: Any, make: Any) -> None:
    async def main() -> None:
        dedupe = make()
        results: list[tuple[str, bool]] = []

        async def check(name: str) -> None:
            results.append((name, bool(await dedupe.check_and_record("k"))))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(check, "first")
            await gate.saving.wait_async(PATIENCE)
            tasks.start_soon(check, "second")
            await anyio.wait_all_tasks_blocked()
            assert results == []
            gate.open.set()
        assert sorted(results) == [("first", True), ("second", False)]
        assert dedupe.counters.coalesced == 1

    run(backend, main)


@anyio_backends
def test_when_the_first_is_cancelled_while_it_waits_for_the_file_the_second_records(
    backend: str, gate: Any, make: Any
) -> None:
    async def main() -> None:
        dedupe = make()
        gate.open.set()
        results: list[CheckResult] = []
        scope = anyio.CancelScope()

        async def first() -> None:
            with scope:
                results.append(await dedupe.check_and_record("k"))

        async def second() -> None:
            results.append(await dedupe.check_and_record("k"))

        async with anyio.create_task_group() as tasks, PerStoreWriterQueue(lock=gate).turn(dedupe.path()):
            tasks.start_soon(first)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(second)
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
            await anyio.wait_all_tasks_blocked()
        assert [(result.is_new, result.recorded) for result in results] == [(True, True)]

    run(backend, main)


@anyio_backends
@pytest.mark.parametrize("others", [1, 3])
def test_when_the_first_is_cancelled_while_its_record_is_saved_exactly_one_is_told_new(
    backend: str, others: int, gate: Any, make: Any
) -> None:
    """The event is in the file by then: were the answer lost with the first, no caller at all would handle it.

    asyncio delivers the cancellation in place of the answer; trio gives the answer and cancels at the next checkpoint.
    """

    async def main() -> None:
        dedupe = make()
        results: list[bool] = []
        scope = anyio.CancelScope()

        async def first() -> None:
            with scope:
                await dedupe.check_and_record("k")
                results.append(True)

        async def other() -> None:
            results.append(bool(await dedupe.check_and_record("k")))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first)
            await gate.saving.wait_async(PATIENCE)
            for _ in range(others):
                tasks.start_soon(other)
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
            gate.open.set()
        assert results.count(True) == 1
        assert len(results) == (others if backend == "asyncio" else others + 1)
        assert [entry.key for entry in await dedupe.entries()] == ["k"]
        assert not await make().check_and_record("k")

    run(backend, main)


@anyio_backends
def test_when_nobody_waits_a_cancelled_check_may_have_recorded_its_key(backend: str, gate: Any, make: Any) -> None:
    """This is the case for claims: recorded, and no caller got the answer."""

    async def main() -> None:
        dedupe = make()
        scope = anyio.CancelScope()

        async def first() -> None:
            with scope:
                await dedupe.check_and_record("k")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first)
            await gate.saving.wait_async(PATIENCE)
            scope.cancel()
            gate.open.set()
        assert dedupe.counters.new == (0 if backend == "asyncio" else 1)
        assert not await dedupe.check_and_record("k")
        assert await dedupe.check_and_record("another")

    run(backend, main)


@anyio_backends
def test_failing_open_the_first_is_new_and_the_second_a_duplicate(backend: str, gate: Any, make: Any) -> None:
    async def main() -> None:
        dedupe = make()
        gate.before.append(OSError(28, "No space left on device"))
        results: list[CheckResult] = []

        async def check() -> None:
            results.append(await dedupe.check_and_record("k"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(check)
            await gate.saving.wait_async(PATIENCE)
            tasks.start_soon(check)
            await anyio.wait_all_tasks_blocked()
            gate.open.set()
        first, second = sorted(results, key=lambda result: not result.is_new)
        assert (first.is_new, first.recorded, second.is_new, second.recorded) == (True, False, False, False)
        assert first.error is second.error is not None

    run(backend, main)


@anyio_backends
def test_failing_closed_the_first_gets_the_error_and_the_second_tries_itself(
    backend: str, gate: Any, make: Any
) -> None:
    async def main() -> None:
        dedupe = make(failure="closed")
        gate.before.append(OSError(28, "No space left on device"))
        results: list[CheckResult] = []

        async def first() -> None:
            with pytest.raises(OSError, match="No space left"):
                await dedupe.check_and_record("k")

        async def second() -> None:
            results.append(await dedupe.check_and_record("k"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first)
            await gate.saving.wait_async(PATIENCE)
            tasks.start_soon(second)
            await anyio.wait_all_tasks_blocked()
            gate.open.set()
        assert [(result.is_new, result.recorded) for result in results] == [(True, True)]

    run(backend, main)


@anyio_backends
def test_a_save_whose_flush_is_uncertain_does_not_make_a_duplicate_new(
    backend: str, gate: Any, make: Any, tmp_path: Path
) -> None:
    """Two objects, one batch: one records a new key, the other finds one that is recorded; the flush fails."""

    async def main() -> None:
        gate.open.set()
        await make().check_and_record("old")
        objects = {"new": make(memory_max_size=0), "old": make(memory_max_size=0)}
        for name, dedupe in objects.items():
            await dedupe.check_and_record(f"first use by {name}")
        gate.after.append(CommitUncertain("the folder could not be flushed", path=str(tmp_path)))
        results: dict[str, CheckResult] = {}

        async def check(key: str) -> None:
            results[key] = await objects[key].check_and_record(key)

        turn = PerStoreWriterQueue(lock=gate).turn(tmp_path / "global.json")
        async with anyio.create_task_group() as tasks, turn:
            tasks.start_soon(check, "new")
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(check, "old")
            await anyio.wait_all_tasks_blocked()
        assert gate.after == []
        assert (results["new"].is_new, results["new"].recorded) == (True, False)
        assert isinstance(results["new"].error, CommitUncertain)
        assert not results["old"].is_new
        assert isinstance(results["old"].error, CommitUncertain)

    run(backend, main)


@anyio_backends
def test_checks_that_wait_together_are_answered_with_one_load_and_one_save(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store decodes its document anew for each function that could reach into it: ours cannot."""
    decoded: list[bytes] = []
    decode = document.decode
    monkeypatch.setattr(document, "decode", lambda data: decoded.append(data) or decode(data))

    async def main() -> None:
        dedupe = AsyncPersistentDedupe(tmp_path, DedupeOptions(ttl=3600))
        await dedupe.check_and_record("first use")
        decoded.clear()
        batches: list[BatchCommitted] = []
        unsubscribe = subscribe(lambda event: batches.append(event) if isinstance(event, BatchCommitted) else None)
        async with anyio.create_task_group() as tasks, PerStoreWriterQueue().turn(tmp_path / "global.json"):
            for number in range(16):
                tasks.start_soon(dedupe.check_and_record, f"key {number}")
            await anyio.wait_all_tasks_blocked()
        unsubscribe()
        assert sum(batch.size for batch in batches) == 16
        assert len(decoded) == len(batches) <= 2

    run(backend, main)


def test_a_callback_may_check_the_very_key_whose_error_it_is_told(tmp_path: Path) -> None:
    """It is called when no caller waits for the check any more."""
    (tmp_path / "global.json").mkdir()
    seen: list[bool] = []
    dedupe = PersistentDedupe(
        tmp_path,
        DedupeOptions(ttl=3600, on_disk_error=lambda _: seen.append(bool(dedupe.check_and_record("k")))),
    )
    assert dedupe.check_and_record("k")
    assert seen == [False]


def test_of_many_threads_exactly_one_is_told_new_per_key(tmp_path: Path) -> None:
    dedupe = PersistentDedupe(tmp_path, DedupeOptions(ttl=3600, durability="process", memory_max_size=10))
    start = threading.Barrier(8)
    told: list[str] = []

    def check() -> None:
        start.wait(PATIENCE)
        told.extend(key for key in map(str, range(40)) if dedupe.check_and_record(key))

    threads = [threading.Thread(target=check) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told, key=int) == list(map(str, range(40)))


@anyio_backends
def test_tasks_of_several_event_loops_may_share_one_object(backend: str, tmp_path: Path) -> None:
    dedupe = AsyncPersistentDedupe(tmp_path, DedupeOptions(ttl=3600, durability="process", memory_max_size=10))
    start = threading.Barrier(3)
    told: list[str] = []

    async def check() -> None:
        told.extend([key for key in map(str, range(20)) if await dedupe.check_and_record(key)])

    def loop() -> None:
        start.wait(PATIENCE)
        run(backend, check)

    threads = [threading.Thread(target=loop) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told, key=int) == list(map(str, range(20)))


# -- the outcome itself


def test_a_latch_wakes_a_thread_and_keeps_its_first_result() -> None:
    outcome = OneShotResult[int]()
    with pytest.raises(TimeoutError):
        outcome.wait(0.001)
    threading.Thread(target=outcome.set, args=(1,)).start()
    assert outcome.wait(PATIENCE) == 1
    outcome.set(2)
    assert outcome.wait(0) == 1


@anyio_backends
def test_a_latch_wakes_tasks_from_another_thread(backend: str) -> None:
    async def main() -> None:
        outcome = OneShotResult[int]()
        results: list[int] = []

        async def wait() -> None:
            results.append(await outcome.wait_async())

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            threading.Thread(target=outcome.set, args=(7,)).start()
        assert results == [7, 7, 7]
        assert await outcome.wait_async() == 7

    run(backend, main)


@anyio_backends
def test_a_waiter_that_gave_up_does_not_disturb_the_latch(backend: str) -> None:
    async def main() -> None:
        outcome = OneShotResult[int]()
        with pytest.raises(TimeoutError):
            await outcome.wait_async(0.001)
        with anyio.move_on_after(0.001):
            await outcome.wait_async()
        outcome.set(3)
        assert await outcome.wait_async() == 3

    run(backend, main)


@anyio_backends
def test_a_latch_outlives_the_event_loop_of_a_waiter(backend: str, caplog: pytest.LogCaptureFixture) -> None:
    outcome = OneShotResult[int]()

    async def main() -> None:
        with anyio.move_on_after(0.001):
            await outcome.wait_async()

    run(backend, main)
    outcome.set(5)
    assert outcome.wait(0) == 5
    assert caplog.records == []
