"""Invariant 1 and 3 inside a process: one at a time, in the order of the requests, of tasks and of threads."""

from __future__ import annotations

import asyncio
import itertools
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import anyio
import pytest
import trio

from helpers.lines import Worker, held, lined_up
from helpers.waiting import until_async
from storewriter import PerStoreWriterQueue, run_exclusive
from storewriter._turns import entering


def test_threads_get_their_turns_in_the_order_in_which_they_asked(queue: PerStoreWriterQueue, path: Path) -> None:
    order: list[int] = []

    def ask(place: int) -> None:
        with queue.turn(path):
            order.append(place)

    with held(queue, path) as holding:
        workers = lined_up(queue, path, *(lambda place=place: ask(place) for place in range(20)))
        assert order == []
        holding.release()
        for worker in workers:
            worker.result()
    assert order == list(range(20))


def test_tasks_of_one_loop_get_their_turns_in_the_order_in_which_they_asked(queue, path, run) -> None:
    async def main() -> list[int]:
        order: list[int] = []

        async def ask(place: int) -> None:
            async with queue.turn(path):
                order.append(place)

        with held(queue, path) as holding:
            async with anyio.create_task_group() as group:
                for place in range(20):
                    group.start_soon(ask, place)
                    await until_async(lambda place=place: queue.pending(path) == place + 1)
                holding.release()
        return order

    assert run(main) == list(range(20))


def test_threads_asyncio_loops_and_trio_runs_stand_in_one_line(queue: PerStoreWriterQueue, path: Path) -> None:
    order: list[int] = []
    inside = threading.Semaphore(1)

    def enter(place: int) -> None:
        assert inside.acquire(blocking=False), "two turns at once"
        order.append(place)

    def in_thread(place: int) -> None:
        with queue.turn(path):
            enter(place)
            inside.release()

    async def in_task(place: int) -> None:
        async with queue.turn(path):
            enter(place)
            await anyio.lowlevel.checkpoint()
            inside.release()

    kinds = [
        in_thread,
        lambda place: asyncio.run(in_task(place)),
        lambda place: trio.run(in_task, place),
    ]
    with held(queue, path) as holding:
        workers = lined_up(
            queue, path, *(lambda kind=kinds[place % 3], place=place: kind(place) for place in range(18))
        )
        holding.release()
        for worker in workers:
            worker.result()
    assert order == list(range(18))


def test_whoever_asks_second_never_overtakes_a_loop_that_gives_way_to_its_other_tasks(
    queue, path, run, monkeypatch
) -> None:
    monkeypatch.setattr(entering, "_GIVE_WAY", 0.0)  # it gives way at every turn

    async def main() -> list[int]:
        order: list[int] = []

        async def ask(place: int) -> None:
            asked.append(place)
            async with queue.turn(path):
                order.append(place)

        async with queue.turn(path):
            pass
        async with anyio.create_task_group() as group:
            with held(queue, path) as holding:
                for place in range(5):
                    group.start_soon(ask, place)
                await until_async(lambda: queue.pending(path) == 5)
                holding.release()
        return order

    asked: list[int] = []
    assert run(main) == asked


def test_a_turn_is_handed_over_and_never_raced_for(queue: PerStoreWriterQueue, path: Path) -> None:
    """A caller that leaves and asks again at once queues behind the one that waits."""
    order: list[str] = []

    def waiter() -> None:
        with queue.turn(path):
            order.append("waiter")

    with queue.turn(path):
        order.append("first")
        (worker,) = lined_up(queue, path, waiter)
    with queue.turn(path):
        order.append("first again")
    worker.result()
    assert order == ["first", "waiter", "first again"]


def test_two_queues_on_one_file_share_its_line(path: Path) -> None:
    one, other = PerStoreWriterQueue(timeout=20.0), PerStoreWriterQueue(timeout=20.0)
    order: list[str] = []

    def ask(queue: PerStoreWriterQueue, name: str) -> None:
        with queue.turn(path):
            order.append(name)

    with held(one, path) as holding:
        workers = lined_up(one, path, lambda: ask(other, "first"), lambda: ask(one, "second"))
        assert one.pending(path) == other.pending(path) == 2
        holding.release()
        for worker in workers:
            worker.result()
    assert order == ["first", "second"]


def test_a_failing_turn_harms_nobody_behind_it(queue: PerStoreWriterQueue, path: Path) -> None:
    order: list[str] = []

    def fail() -> None:
        with queue.turn(path):
            order.append("fails")
            raise ZeroDivisionError

    def work() -> None:
        with queue.turn(path):
            order.append("works")

    with held(queue, path) as holding:
        workers = lined_up(queue, path, work, fail, work)
        holding.release()
        for worker in workers:
            worker.wait()
    assert order == ["works", "fails", "works"]
    assert isinstance(workers[1].error, ZeroDivisionError)


def test_a_failing_task_harms_nobody_behind_it(queue, path, run) -> None:
    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            async with queue.turn(path):
                raise ZeroDivisionError
        async with queue.turn(path, timeout=1):
            pass

    run(main)


def test_different_stores_do_not_wait_for_each_other(queue: PerStoreWriterQueue, tmp_path: Path) -> None:
    with held(queue, tmp_path / "a"), queue.turn(tmp_path / "b", timeout=0):
        pass


def test_pending_counts_those_who_wait_and_not_the_holder(queue: PerStoreWriterQueue, path: Path) -> None:
    def ask() -> None:
        with queue.turn(path):
            pass

    assert queue.pending(path) == 0
    with held(queue, path) as holding:
        assert queue.pending(path) == 0
        workers = lined_up(queue, path, ask, ask, ask)
        assert queue.pending(path) == 3
        holding.release()
        for worker in workers:
            worker.result()
    assert queue.pending(path) == 0


def test_one_request_object_serves_one_turn_at_a_time(queue: PerStoreWriterQueue, path: Path) -> None:
    """Shared between threads it would end the other one's turn: it says so instead, also while it still waits."""
    request = queue.turn(path)

    def use() -> None:
        with request:
            pass

    with held(queue, path) as holding:
        (worker,) = lined_up(queue, path, use)
        with pytest.raises(RuntimeError, match="already in use"), request:
            pass
        holding.release()
        worker.result()
    use()  # and afterwards it can be used again


def test_two_threads_that_enter_one_request_at_once_never_both_get_through(path: Path) -> None:
    """The second one comes before each instruction of the first one's way in, as it may without the interpreter's lock."""
    code = type(PerStoreWriterQueue().turn(path)).__enter__.__code__
    queue = PerStoreWriterQueue(timeout=0)
    outcomes = Counter[str]()
    sys._getframe().f_trace_opcodes = True  # CPython 3.12 asks some frame for this when a tracer is set
    for place in itertools.count(1):
        request = queue.turn(path)
        seconds: list[Worker] = []
        count = 0

        def each(frame: FrameType, event: str, arg: object) -> Any:
            nonlocal count
            count += event == "opcode"
            if count == place and not seconds:
                seconds.append(Worker(request.__enter__))
                seconds[0].wait()
            return each

        def called(frame: FrameType, event: str, arg: object) -> Any:
            if frame.f_code is not code:
                return None
            frame.f_trace = each
            frame.f_trace_opcodes = True
            return each

        first: BaseException | None = None
        before = sys.gettrace()
        sys.settrace(called)
        try:
            request.__enter__()
        except RuntimeError as error:
            first = error
        finally:
            sys.settrace(before)
        if not seconds:
            break
        refused = [error for error in (first, seconds[0].error) if error is not None]
        assert len(refused) == 1, (place, refused)
        assert "already in use" in str(refused[0])
        assert queue.owner(path) is not None
        request.__exit__(None, None, None)
        outcomes["second" if first else "first"] += 1
    request.__exit__(None, None, None)
    assert min(outcomes["first"], outcomes["second"]) > 3, outcomes


def test_run_exclusive_returns_what_plain_and_async_functions_return(queue, path, run) -> None:
    async def one() -> int:
        await anyio.lowlevel.checkpoint()
        return 1

    async def main() -> tuple[int, int, int]:
        return (
            await queue.run_exclusive(path, one),
            await queue.run_exclusive(path, lambda: 2, label="two"),
            await run_exclusive(path, lambda: one()),
        )

    assert run(main) == (1, 2, 1)


def test_run_exclusive_excludes(queue, path, run) -> None:
    async def main() -> int:
        inside = 0
        most = 0

        async def work() -> None:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            await anyio.lowlevel.checkpoint()
            inside -= 1

        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(queue.run_exclusive, path, work)
        return most

    assert run(main) == 1


def test_async_with_outside_of_a_task_says_so(queue: PerStoreWriterQueue, path: Path) -> None:
    entering = queue.turn(path).__aenter__()
    with pytest.raises(RuntimeError, match="needs a task"):
        entering.send(None)


def test_many_threads_and_tasks_are_never_inside_together(queue: PerStoreWriterQueue, path: Path) -> None:
    """Intervals of real turns, recorded by their callers, do not overlap; and every caller had its turns."""
    intervals: list[tuple[int, int]] = []
    start = threading.Barrier(6)

    def thread() -> None:
        start.wait()
        for _ in range(50):
            with queue.turn(path):
                began = time.monotonic_ns()
                intervals.append((began, time.monotonic_ns()))

    async def tasks() -> None:
        async def one() -> None:
            for _ in range(10):
                async with queue.turn(path):
                    began = time.monotonic_ns()
                    await anyio.lowlevel.checkpoint()
                    intervals.append((began, time.monotonic_ns()))

        start.wait()
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(one)

    workers = [Worker(thread) for _ in range(4)]
    workers += [Worker(lambda: asyncio.run(tasks())), Worker(lambda: trio.run(tasks))]
    for worker in workers:
        worker.result()
    assert len(intervals) == 4 * 50 + 2 * 50
    assert all(end <= begin for (_, end), (begin, _) in zip(intervals, intervals[1:], strict=False))


def test_a_turn_object_tells_its_stores_and_ends_with_the_block(queue: PerStoreWriterQueue, tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    with queue.turn(b, a, a, label="why") as turn:
        assert turn.paths == (str(a), str(b))
        assert turn.path == str(a)
        assert turn.label == "why"
        turn.check()
    with pytest.raises(RuntimeError, match="has ended"):
        turn.check()


def test_bad_arguments_are_refused_before_anything_is_queued(queue: PerStoreWriterQueue, path: Path) -> None:
    with pytest.raises(TypeError, match="at least one"):
        queue.turn()
    for bad in ["", "a\0b", "/"]:
        with pytest.raises(ValueError, match="path"), queue.turn(bad):
            pass
    for bad_timeout in [-1, float("nan"), "soon", True]:
        with pytest.raises(ValueError, match="timeout"):
            queue.turn(path, timeout=bad_timeout)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="timeout"):
            PerStoreWriterQueue(timeout=bad_timeout)  # type: ignore[arg-type]
    for bad_limit in [-1, 1.5, True]:
        with pytest.raises(ValueError, match="max_pending"):
            PerStoreWriterQueue(max_pending=bad_limit)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="strategy"):
        PerStoreWriterQueue(lock="hope")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="protocol"):
        PerStoreWriterQueue(lock=object())  # type: ignore[arg-type]
