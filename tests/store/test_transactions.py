"""A turn with the state in hand: leaves, and it is committed; raises, and nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from helpers.lines import Worker, held, lined_up
from helpers.waiting import until_async
from storewriter import AsyncStore, LockTimeout, PerStoreWriterQueue, ReentrantTurn, Store


def test_leaving_commits_and_raising_writes_nothing(path: Path) -> None:
    store = Store(path)
    with store.transaction() as tx:
        tx.state["a"] = 1
        assert store.read() == {}
    assert store.read() == {"a": 1}
    with pytest.raises(ZeroDivisionError), store.transaction() as tx:
        tx.state["a"] = 2
        raise ZeroDivisionError
    assert store.read() == {"a": 1}
    with store.transaction() as tx:
        tx.state["a"] = 3
        tx.discard()
    assert store.read() == {"a": 1}
    with store.transaction() as tx:
        tx.state = {"replaced": True}
    assert store.read() == {"replaced": True}


def test_in_tasks_too(path, run) -> None:
    async def main() -> None:
        store = AsyncStore(path)
        async with store.transaction() as tx:
            tx.state["a"] = 1
            await anyio.lowlevel.checkpoint()
            assert await store.read() == {}
        with pytest.raises(ZeroDivisionError):
            async with store.transaction() as tx:
                tx.state["a"] = 2
                raise ZeroDivisionError
        async with store.transaction() as tx:
            tx.state["a"] = 3
            tx.discard()
        with anyio.CancelScope() as scope:
            async with store.transaction() as tx:
                tx.state["a"] = 4
                scope.cancel()
                await anyio.sleep_forever()
        assert await store.read() == {"a": 1}
        async with store.transaction(timeout=0) as tx:
            tx.state = {"replaced": True}
        assert await store.read() == {"replaced": True}

    run(main)


def test_the_state_belongs_to_the_block(path: Path, run: Any) -> None:
    tx = Store(path).transaction()
    for use in (lambda: tx.state, lambda: tx.check()):
        with pytest.raises(RuntimeError, match="not open"):
            use()
    with tx:
        tx.check()
    with pytest.raises(RuntimeError, match="not open"):
        _ = tx.state


def test_a_transaction_holds_the_turn(queue: PerStoreWriterQueue, path: Path) -> None:
    store = Store(path, queue=queue)
    with store.transaction() as tx:
        tx.state["a"] = 1
        (worker,) = lined_up(queue, path, lambda: store.update(lambda state: state.update(seen=dict(state))))
        assert queue.pending(path) == 1
    worker.result()
    assert store.read() == {"a": 1, "seen": {"a": 1}}


def test_an_async_transaction_holds_the_turn(queue, path, run) -> None:
    async def main() -> None:
        store = AsyncStore(path, queue=queue)
        async with anyio.create_task_group() as group, store.transaction() as tx:
            tx.state["a"] = 1
            group.start_soon(store.update, lambda state: state.update(seen=dict(state)))
            await until_async(lambda: queue.pending(path) == 1)
        assert await store.read() == {"a": 1, "seen": {"a": 1}}

    run(main)


def test_another_store_inside_is_fine_and_the_same_one_is_refused(tmp_path: Path) -> None:
    store, other = Store(tmp_path / "a"), Store(tmp_path / "b")
    with store.transaction() as tx:
        tx.state["a"] = other.update(lambda state: state.setdefault("n", 1))
        with other.transaction() as inner:
            inner.state["n"] += 1
        for again in (
            lambda: store.update(lambda state: None),
            lambda: store.transaction().__enter__(),
            lambda: Store(tmp_path / "a").update(lambda state: None),
        ):
            with pytest.raises(ReentrantTurn):
                again()
        assert store.read() == {}
    assert (store.read(), other.read()) == ({"a": 1}, {"n": 2})


def test_entering_a_transaction_inside_itself_is_refused_and_leaves_it_alone(path: Path, run: Any) -> None:
    store = Store(path)
    tx = store.transaction()
    with tx:
        tx.state["a"] = 1
        with pytest.raises(ReentrantTurn), tx:
            raise AssertionError
        with pytest.raises(ReentrantTurn):
            store.update(lambda state: state.update(intruder=True))
        tx.check()
    assert store.read() == {"a": 1}
    with tx:
        tx.state["again"] = 2

    async def main() -> None:
        astore = AsyncStore(path)
        atx = astore.transaction()
        async with atx:
            atx.state["async"] = 3
            with pytest.raises(ReentrantTurn):
                async with atx:
                    raise AssertionError
            with pytest.raises(ReentrantTurn):
                await astore.update(lambda state: state.update(intruder=True))
            atx.check()

    run(main)
    assert store.read() == {"a": 1, "again": 2, "async": 3}


def test_another_user_of_one_transaction_object_waits_in_line_and_its_timeout_leaves_the_first_alone(
    path: Path, run: Any
) -> None:
    store = Store(path)
    tx = store.transaction(timeout=0)

    def intrude() -> None:
        with pytest.raises(LockTimeout), tx:
            raise AssertionError

    with tx:
        tx.state["a"] = 1
        Worker(intrude).result()
    assert store.read() == {"a": 1}

    async def main() -> None:
        atx = AsyncStore(path).transaction(timeout=0)

        async def aintrude() -> None:
            with pytest.raises(LockTimeout):
                async with atx:
                    raise AssertionError

        async with atx:
            atx.state["b"] = 2
            async with anyio.create_task_group() as group:
                group.start_soon(aintrude)

    run(main)
    assert store.read() == {"a": 1, "b": 2}


def test_an_open_transaction_is_not_entered_for_another_store_that_its_path_leads_to_now(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("one")
    store = Store(link)
    tx = store.transaction()
    with tx:
        tx.state["a"] = 1
        link.unlink()
        link.symlink_to("two")
        with pytest.raises(RuntimeError, match="already in use"), tx:
            raise AssertionError
        Store(tmp_path / "two").update(lambda state: state.update(free=True), timeout=0)
    assert Store(tmp_path / "one").read() == {"a": 1}


def test_another_async_store_inside_is_fine_and_the_same_one_is_refused(tmp_path, run) -> None:
    async def main() -> None:
        store, other = AsyncStore(tmp_path / "a"), AsyncStore(tmp_path / "b")
        async with store.transaction() as tx:
            tx.state["a"] = await other.update(lambda state: state.setdefault("n", 1))
            with pytest.raises(ReentrantTurn):
                await store.update(lambda state: None)
            with pytest.raises(ReentrantTurn):
                async with store.transaction():
                    pass
        assert await store.read() == {"a": 1}

    run(main)


def test_a_state_that_cannot_be_encoded_is_the_transactions_error(path: Path, run: Any) -> None:
    store = Store(path)
    with pytest.raises(ValueError, match="."), store.transaction() as tx:
        tx.state["a"] = object()
    assert store.read() == {}

    async def main() -> None:
        astore = AsyncStore(path)
        with pytest.raises(ValueError, match="."):
            async with astore.transaction() as tx:
                tx.state["a"] = object()
        await astore.update(lambda state: state.update(fine=1), timeout=1)

    run(main)
    assert store.read() == {"fine": 1}


def test_cancelled_while_waiting_it_never_begins(queue, path, run) -> None:
    async def main() -> None:
        store = AsyncStore(path, queue=queue)
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:

                async def cancel() -> None:
                    await until_async(lambda: queue.pending(path) == 1)
                    scope.cancel()

                group.start_soon(cancel)
                async with store.transaction():
                    raise AssertionError
        assert queue.pending(path) == 0

    with held(queue, path):
        run(main)
    with pytest.raises(LockTimeout), held(queue, path):
        Store(path, queue=queue).transaction(timeout=0).__enter__()


def test_without_a_thread_to_be_had_an_async_transaction_still_ends_its_turn(path, run, monkeypatch) -> None:
    """The system gives no more threads: an error, but never a turn that nobody can end."""
    import _thread

    def none_left(*args: Any) -> int:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        store = AsyncStore(path)
        transaction = store.transaction()
        tx = await transaction.__aenter__()
        tx.state["a"] = 1
        await anyio.sleep(0.1)  # until the threads that linger for the next call have gone
        monkeypatch.setattr(_thread, "start_new_thread", none_left)
        try:
            await transaction.__aexit__(None, None, None)
        except RuntimeError:
            committed = {}
        else:
            committed = {"a": 1}
        monkeypatch.undo()
        with PerStoreWriterQueue().turn(path, timeout=0):
            pass
        assert Store(path).read() == committed

    run(main)
