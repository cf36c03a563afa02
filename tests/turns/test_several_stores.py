"""Turns on several stores: one global order, all or nothing."""

from __future__ import annotations

import threading
from pathlib import Path

import anyio
import pytest

from helpers.children import child
from helpers.lines import Worker, held
from storewriter import LockTimeout, PerStoreWriterQueue
from storewriter._turns import line


def test_opposite_orders_do_not_deadlock_between_threads(queue: PerStoreWriterQueue, tmp_path: Path) -> None:
    names = [tmp_path / name for name in "abc"]
    start = threading.Barrier(4)

    def work(order: list[Path]) -> int:
        start.wait()
        for _ in range(50):
            with queue.turn(*order):
                pass
        return 50

    orders = [names, names[::-1], [names[1], names[0], names[2]], [names[2], names[0]]]
    assert [worker.result() for worker in [Worker(lambda order=order: work(order)) for order in orders]] == [50] * 4


def test_opposite_orders_do_not_deadlock_between_tasks(queue, tmp_path, run) -> None:
    async def main() -> int:
        done = 0

        async def work(*order: Path) -> None:
            nonlocal done
            for _ in range(20):
                async with queue.turn(*order):
                    await anyio.lowlevel.checkpoint()
            done += 1

        async with anyio.create_task_group() as group:
            group.start_soon(work, tmp_path / "a", tmp_path / "b")
            group.start_soon(work, tmp_path / "b", tmp_path / "a")
        return done

    assert run(main) == 2


def test_opposite_orders_do_not_deadlock_between_processes(tmp_path: Path) -> None:
    code = """
queue = PerStoreWriterQueue(timeout=20)
order = [os.path.join(path, name) for name in args]
say("ready"); hear()
for _ in range(200):
    with queue.turn(*order):
        pass
say("done")
"""
    with child(code, tmp_path, "a", "b") as one, child(code, tmp_path, "b", "a") as other:
        for process in (one, other):
            process.expect("ready")
        for process in (one, other):
            process.tell()
        for process in (one, other):
            process.expect("done")
            process.finish()


def test_when_one_of_them_does_not_come_none_is_kept(queue, tmp_path, run) -> None:
    a, b, c = (tmp_path / name for name in "abc")

    async def main() -> None:
        with pytest.raises(LockTimeout) as caught:
            async with queue.turn(c, a, b, timeout=0.05):
                pass
        assert caught.value.path == str(b)

    with held(queue, b):
        with pytest.raises(LockTimeout), queue.turn(c, a, b, timeout=0.05):
            pass
        run(main)
        assert list(line.lanes) == [str(b)]
        with queue.turn(a, c, timeout=0):
            pass


def test_cancelled_between_two_of_them_none_is_kept(queue, tmp_path, run) -> None:
    a, b = tmp_path / "a", tmp_path / "b"

    async def main() -> None:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:

                async def cancel() -> None:
                    while queue.pending(b) < 1:
                        await anyio.sleep(0.001)
                    scope.cancel()

                group.start_soon(cancel)
                async with queue.turn(a, b):
                    raise AssertionError
        async with queue.turn(a, timeout=0):
            pass

    with held(queue, b):
        run(main)
