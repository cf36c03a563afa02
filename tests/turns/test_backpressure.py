"""`max_pending`: too many waiters are refused at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.children import HOLDER, child
from helpers.lines import held, lined_up
from storewriter import PerStoreWriterQueue, QueueFull, Store


def test_one_waiter_too_many_is_refused_at_once(path: Path) -> None:
    queue = PerStoreWriterQueue(timeout=20.0, max_pending=2)

    def ask() -> None:
        with queue.turn(path):
            pass

    with held(queue, path) as holding:
        workers = lined_up(queue, path, ask, ask)
        with pytest.raises(QueueFull, match="max_pending is 2") as caught:
            ask()
        assert (caught.value.path, caught.value.pending, caught.value.max_pending) == (str(path), 2, 2)
        assert queue.pending(path) == 2
        holding.release()
        for worker in workers:
            worker.result()
    ask()


def test_a_place_that_becomes_free_can_be_taken(path, run) -> None:
    queue = PerStoreWriterQueue(timeout=20.0, max_pending=1)

    def ask(timeout: float) -> None:
        with queue.turn(path, timeout=timeout):
            pass

    with held(queue, path) as holding:
        (impatient,) = lined_up(queue, path, lambda: ask(0.05))
        impatient.wait()
        (patient,) = lined_up(queue, path, lambda: ask(20))
        holding.release()
        patient.result()


@pytest.mark.parametrize("lock", ["flock", "marker", "lease", "none"])
def test_without_places_a_free_store_is_taken_and_a_held_one_refused(path, run, lock) -> None:
    queue = PerStoreWriterQueue(lock, timeout=20.0, max_pending=0)

    async def main() -> None:
        async with queue.turn(path):
            pass
        with held(queue, path), pytest.raises(QueueFull):
            async with queue.turn(path):
                pass

    run(main)
    with held(queue, path), pytest.raises(QueueFull), queue.turn(path):
        pass


@pytest.mark.parametrize("lock", ["flock", "marker", "lease"])
def test_without_places_a_store_held_by_another_process_is_refused_at_once(path, run, lock) -> None:
    queue = PerStoreWriterQueue(lock, timeout=20.0, max_pending=0)

    async def main() -> None:
        with pytest.raises(QueueFull):
            async with queue.turn(path):
                pass

    with child(HOLDER.replace("Queue()", f"Queue({lock!r})"), path) as holder:
        holder.expect("holding")
        with pytest.raises(QueueFull), queue.turn(path):
            pass
        run(main)
        assert queue.pending(path) == 0
        holder.tell()
        holder.finish()
    with queue.turn(path):
        pass


def test_updates_are_refused_too_and_leave_no_trace(path: Path) -> None:
    queue = PerStoreWriterQueue(timeout=20.0, max_pending=1)
    store = Store(path, queue=queue)
    with held(queue, path) as holding:
        (worker,) = lined_up(queue, path, lambda: store.update(lambda state: state.update(a=1)))
        with pytest.raises(QueueFull):
            store.update(lambda state: state.update(b=1))
        holding.release()
        worker.result()
    assert store.read() == {"a": 1}
