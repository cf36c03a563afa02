"""A waiter can leave, and its deadline counts, until its own function is applied: whatever its neighbours' functions do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from helpers.lines import Worker, held, lined_up
from helpers.waiting import until, until_async, wait_for
from storewriter import AsyncStore, LockTimeout, PerStoreWriterQueue, Store
from storewriter._turns import line


def append(place: int) -> Callable[[list[int]], None]:
    return lambda state: state.append(place)


@pytest.fixture
def store(queue: PerStoreWriterQueue, path: Path) -> Store[list[int]]:
    return Store(path, default=list, queue=queue)


class Slow:
    """A function that runs until it is let go."""

    def __init__(self) -> None:
        self.runs = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, state: list[int]) -> None:
        self.runs.set()
        wait_for(self.go_on, "the end of a slow function")
        state.append(0)


def pass_deadline_of_the_first(path: str) -> None:
    """The time of the first ticket behind the head is over, from now on."""
    waiting = line.lanes[path].queue
    assert waiting is not None
    first = waiting[0]
    assert first.waiter is not None
    first.deadline = first.asked
    first.waiter.wake()


@pytest.mark.parametrize("timeout", [0, 0.3])
@pytest.mark.parametrize("leads", [True, False])
def test_a_deadline_counts_while_a_neighbours_function_runs(
    leads: bool, timeout: float, store: Store[list[int]], queue: PerStoreWriterQueue
) -> None:
    """Whether the slow function's caller has the lock itself, or is in a batch that another thread has begun."""
    slow, first = Slow(), Slow()
    workers = [] if leads else [Worker(lambda: store.update(first))]
    for _ in workers:
        wait_for(first.runs, "the first function")
    workers.append(Worker(lambda: store.update(slow)))
    if not leads:
        until(lambda: queue.pending(store.path) == 1, "the second in line")
        first.go_on.set()
    wait_for(slow.runs, "the slow function")
    try:
        patient = Worker(lambda: store.update(append(2)))
        until(lambda: queue.pending(store.path) == 1, "a patient waiter")
        with pytest.raises(LockTimeout):
            store.update(append(1), timeout=timeout)
        assert not slow.go_on.is_set()  # it has come back while the function still runs
        assert queue.pending(store.path) == 1
    finally:
        slow.go_on.set()
    for worker in [*workers, patient]:
        worker.result()
    assert store.read() == [*([] if leads else [0]), 0, 2]


def test_a_deadline_that_passes_before_the_turn_keeps_a_waiter_out_of_the_batch(
    store: Store[list[int]], queue: PerStoreWriterQueue
) -> None:
    """The late one is the first behind the slow function, and those behind it are applied without it."""
    slow = Slow()
    workers = [Worker(lambda: store.update(slow))]
    wait_for(slow.runs, "the slow function")
    try:
        late, *behind = lined_up(
            queue,
            store.path,
            *(lambda place=place: store.update(append(place)) for place in (1, 2, 3)),  # type: ignore[misc]
        )
        pass_deadline_of_the_first(store.path)
        late.wait()
        assert queue.pending(store.path) == 2
    finally:
        slow.go_on.set()
    for worker in [*workers, *behind]:
        worker.result()
    assert isinstance(late.error, LockTimeout)
    assert sorted(store.read()) == [0, 2, 3]


def test_a_deadline_counts_in_those_who_were_in_line_before_the_slow_function_began(
    store: Store[list[int]], queue: PerStoreWriterQueue
) -> None:
    slow = Slow()
    with held(queue, store.path) as holding:
        workers = lined_up(
            queue,
            store.path,
            lambda: store.update(slow),
            lambda: store.update(append(1), timeout=1.0),
            lambda: store.update(append(2)),
        )
        holding.release()
        wait_for(slow.runs, "the slow function")
        try:
            workers[1].wait()
            assert queue.pending(store.path) == 1
        finally:
            slow.go_on.set()
        workers[0].result()
        workers[2].result()
    assert isinstance(workers[1].error, LockTimeout)
    assert store.read() == [0, 2]


def test_what_waits_for_a_thread_that_was_let_go_leaves_it_its_full_time(
    store: Store[list[int]], queue: PerStoreWriterQueue
) -> None:
    """A deadline that has not passed is none of the batch's business: all three are in it."""
    slow = Slow()
    workers = [Worker(lambda: store.update(slow))]
    wait_for(slow.runs, "the slow function")
    for place in (1, 2):
        workers.append(Worker(lambda place=place: store.update(append(place), timeout=20)))  # type: ignore[misc]
        until(lambda place=place: queue.pending(store.path) == place, "another one in line")  # type: ignore[misc]
    slow.go_on.set()
    for worker in workers:
        worker.result()
    assert store.read() == [0, 1, 2]


@pytest.mark.parametrize("victims", [[1], [2], [1, 2], [3]])
def test_a_task_can_be_cancelled_until_its_own_function_is_applied(
    victims: list[int], queue: PerStoreWriterQueue, path: Path, run: Any
) -> None:
    """The function of the first task cancels others of its batch: they stand in line, and leave it."""

    async def main() -> list[int]:
        store: AsyncStore[list[int]] = AsyncStore(path, default=list, queue=queue)
        scopes = [anyio.CancelScope() for _ in range(4)]
        ended: list[int] = []

        def cancel_others(state: list[int]) -> None:
            state.append(0)
            for victim in victims:
                scopes[victim].cancel()

        async def ask(place: int) -> None:
            with scopes[place]:
                await store.update(cancel_others if place == 0 else append(place))
                ended.append(place)
            assert scopes[place].cancelled_caught == (place in victims)

        async with anyio.create_task_group() as group:
            async with queue.turn(path):
                for place in range(4):
                    group.start_soon(ask, place)
                    await until_async(lambda place=place: queue.pending(path) == place + 1)  # type: ignore[misc]
        assert sorted(ended) == [place for place in range(4) if place not in victims]
        return await store.read()

    assert queue.pending(path) == 0
    state = run(main)
    assert state[0] == 0
    # Who was cancelled before its own function was applied is in no document; who was applied first, in all of them.
    assert sorted(state) == [place for place in range(4) if place not in victims]


def test_a_task_is_cancelled_while_another_one_loads(queue: PerStoreWriterQueue, path: Path, run: Any) -> None:
    """A large document is loaded off the loop: the second task leaves meanwhile, before any function is applied."""
    from storewriter.testing import Call, intercepted

    reading, go_on = threading.Event(), threading.Event()

    def around(call: Call, proceed: Callable[[], Any]) -> Any:
        if call.name == "read" and not reading.is_set():
            reading.set()
            wait_for(go_on, "the end of a slow read")
        return proceed()

    padding = "x" * 200_000
    Store(path).update(lambda state: state.update(padding=padding))

    async def main() -> dict[str, Any]:
        store = AsyncStore(path, queue=queue, system=intercepted(around))
        scope = anyio.CancelScope()

        async def first() -> None:
            await store.update(lambda state: state.update(first=1))

        async def second() -> None:
            with scope:
                await store.update(lambda state: state.update(second=1))
            assert scope.cancelled_caught

        async with anyio.create_task_group() as group:
            async with queue.turn(path):
                group.start_soon(first)
                await until_async(lambda: queue.pending(path) == 1)
                group.start_soon(second)
                await until_async(lambda: queue.pending(path) == 2)
            await until_async(reading.is_set)
            scope.cancel()
            await until_async(lambda: queue.pending(path) == 0)
            go_on.set()
        return await store.read()

    assert run(main) == {"padding": padding, "first": 1}
