"""A turn with the state in hand: leaves, and it is committed; raises, and nothing is written."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio

from helpers.lines import Worker, held, lined_up
from helpers.waiting import PATIENCE, until_async
from storewriter import AsyncStore, LockTimeout, PerStoreWriterQueue, ReentrantTurn, Store
from storewriter._turns.line import current_task
from storewriter.testing import Call, intercepted


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


def test_in_a_scope_that_was_cancelled_before_nothing_is_applied(path, run) -> None:
    applied: list[str] = []

    async def change(state: dict[str, Any]) -> None:
        applied.append("async function")

    async def main() -> None:
        store = AsyncStore(path)

        async def transaction() -> None:
            async with store.transaction():
                applied.append("transaction")

        for attempt in (
            transaction,
            lambda: store.update(change),
            lambda: store.update(lambda state: applied.append("function")),
            lambda: store.transform(lambda state: {"applied": True}),
        ):
            for _ in range(3):  # whether the loop is given way to depends on the time
                with anyio.CancelScope() as scope:
                    scope.cancel()
                    await attempt()
                assert scope.cancelled_caught
        await store.update(lambda state: None, timeout=0)

    run(main)
    assert applied == []
    assert not path.exists()


def test_a_task_of_asyncio_that_has_a_cancellation_coming_applies_nothing(path: Path) -> None:
    applied: list[str] = []

    async def change(state: dict[str, Any]) -> None:
        applied.append("async function")

    async def main() -> None:
        store = AsyncStore(path)

        async def transaction() -> None:
            async with store.transaction():
                applied.append("transaction")

        for attempt in (
            transaction,
            lambda: store.update(change),
            lambda: store.update(lambda state: applied.append("function")),
        ):
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await attempt()
            task.uncancel()
            # The rest of what a cancelled task does is done.
            await store.update(lambda state: state.update(n=state.get("n", 0) + 1))

    asyncio.run(main())
    assert applied == []
    assert Store(path).read() == {"n": 3}


@pytest.mark.parametrize("how", ["transaction", "async function", "function"])
def test_cancelled_while_the_document_is_being_read_it_is_never_applied(path, run, how: str) -> None:
    big = {"text": "x" * 200_000}  # too large to be read on the loop
    Store(path).transform(lambda _: big)

    async def main() -> None:
        scope = anyio.CancelScope()
        from_thread = into_the_loop()

        def around(call: Call, proceed: Callable[[], Any]) -> Any:
            if call.name == "read":
                from_thread(scope.cancel)
            return proceed()

        store = AsyncStore(path, system=intercepted(around))
        with scope:
            if how == "transaction":
                async with store.transaction() as tx:
                    tx.state["applied"] = True
            elif how == "function":
                await store.update(lambda state: state.update(applied=True))
            else:

                async def change(state: dict[str, Any]) -> None:
                    state["applied"] = True

                await store.update(change)
        assert scope.cancelled_caught

    run(main)
    assert Store(path).read() == big


def into_the_loop() -> Callable[[Callable[[], object]], None]:
    """Runs something on the loop of the present task, from another thread, and waits for it."""
    _, loop = current_task()
    soon = loop.lowlevel.current_trio_token().run_sync_soon if loop is trio else loop.call_soon_threadsafe

    def run_there(work: Callable[[], object]) -> None:
        done = threading.Event()
        soon(lambda: (work(), done.set()))
        assert done.wait(PATIENCE)

    return run_there


def test_on_trio_a_turn_is_not_entered_in_a_scope_that_was_cancelled_before(queue, path) -> None:
    async def main() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            async with queue.turn(path):
                raise AssertionError
        assert scope.cancelled_caught
        assert queue.pending(path) == 0
        async with queue.turn(path, timeout=0):
            pass

    trio.run(main)


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
    """The system gives no more threads: an error, but never a turn that cannot be ended."""
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
