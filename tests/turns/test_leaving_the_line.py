"""Cancelled or too late while waiting: out of the line, never runs, and delays no ticket behind it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from pathlib import Path

import anyio
import pytest
import trio

from helpers.children import HOLDER, child
from helpers.lines import Worker, held, lined_up, within
from helpers.waiting import until, until_async
from storewriter import AsyncStore, LockTimeout, PerStoreWriterQueue, events
from storewriter._turns import line


@pytest.mark.parametrize("first", ["cancel", "release"])
def test_a_cancelled_waiter_never_runs_and_the_next_one_does(queue, path, run, first) -> None:
    """Both orders: cancelled before the turn comes free, and named for the turn but cancelled before it could run."""

    async def main() -> list[str]:
        ran: list[str] = []

        async def ask(name: str, scope: anyio.CancelScope) -> None:
            with scope:
                async with queue.turn(path):
                    ran.append(name)

        scopes = [anyio.CancelScope() for _ in range(3)]
        with held(queue, path) as holding:
            async with anyio.create_task_group() as group:
                for place, scope in enumerate(scopes):
                    group.start_soon(ask, f"task {place}", scope)
                    await until_async(lambda place=place: queue.pending(path) == place + 1)
                if first == "cancel":
                    scopes[0].cancel()
                    await until_async(lambda: queue.pending(path) == 2)
                    holding.release()
                else:
                    holding.release()
                    # The first is named, if need be by another thread; the loop stands still, so its task has not run.
                    until(lambda: queue.pending(path) == 2)
                    scopes[0].cancel()
        assert scopes[0].cancelled_caught
        return ran

    assert run(main) == ["task 1", "task 2"]


@pytest.mark.parametrize("place", ["head", "behind"])
def test_a_cancelled_task_leaves_at_once(queue, path, backend, place) -> None:
    """Also at the head, where the lane's thread waits for a lock that another process keeps."""

    async def main() -> None:
        async with anyio.create_task_group() as group:

            async def ask() -> None:
                with scope:
                    async with queue.turn(path):
                        raise AssertionError

            scope = anyio.CancelScope()
            before = queue.pending(path)
            group.start_soon(ask)
            await until_async(lambda: queue.pending(path) == before + 1)
            scope.cancel()
        assert queue.pending(path) == before

    with contextlib.ExitStack() as stack:
        if place == "behind":
            stack.enter_context(held(queue, path))
        else:
            holder = stack.enter_context(child(HOLDER, path))
            holder.expect("holding")
        within(5.0, lambda: anyio.run(main, backend=backend))
        if place == "head":
            holder.tell()
            holder.finish()


def test_the_waiter_in_the_middle_of_the_line_may_leave(queue, path, run) -> None:
    async def main() -> list[int]:
        ran: list[int] = []
        scopes = [anyio.CancelScope() for _ in range(100)]

        async def ask(place: int) -> None:
            with scopes[place]:
                async with queue.turn(path):
                    ran.append(place)

        with held(queue, path) as holding:
            async with anyio.create_task_group() as group:
                for place in range(100):
                    group.start_soon(ask, place)
                    await until_async(lambda place=place: queue.pending(path) == place + 1)
                for place in range(100):
                    if place % 10:
                        scopes[place].cancel()
                await until_async(lambda: queue.pending(path) == 10)
                holding.release()
        return ran

    assert run(main) == list(range(0, 100, 10))


def test_the_waiting_thread_goes_on_for_the_next_when_the_head_is_cancelled(queue, path, run) -> None:
    """The lock is in another process: the wait belongs to the lane, and is not begun anew."""

    async def main() -> None:
        scope = anyio.CancelScope()
        ran: list[str] = []

        async def ask(name: str, scope: anyio.CancelScope) -> None:
            with scope:
                async with queue.turn(path):
                    ran.append(name)

        threads_before = set(os.listdir("/proc/self/task"))
        async with anyio.create_task_group() as group:
            group.start_soon(ask, "cancelled", scope)
            await until_async(lambda: queue.pending(path) == 1)
            await until_async(lambda: len(set(os.listdir("/proc/self/task")) - threads_before) == 1)
            await until_async(lambda: line.lanes[str(path)].waiting_thread is line.RUNNING)
            (waiting_thread,) = set(os.listdir("/proc/self/task")) - threads_before
            group.start_soon(ask, "next", anyio.CancelScope())
            await until_async(lambda: queue.pending(path) == 2)
            scope.cancel()
            await until_async(lambda: queue.pending(path) == 1)
            assert set(os.listdir("/proc/self/task")) - threads_before == {waiting_thread}
            holder.tell()
        assert ran == ["next"]

    with child(HOLDER, path) as holder:
        holder.expect("holding")
        run(main)
        holder.expect("released")
        holder.finish()


def test_a_newcomer_inherits_the_wait_of_a_lane_that_everybody_had_left(queue, path, run) -> None:
    async def main() -> None:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:

                async def give_up() -> None:
                    await until_async(lambda: queue.pending(path) == 1)
                    scope.cancel()

                group.start_soon(give_up)
                async with queue.turn(path):
                    raise AssertionError
        assert queue.pending(path) == 0
        async with anyio.create_task_group() as group:

            async def let_go() -> None:
                await until_async(lambda: queue.pending(path) == 1)
                holder.tell()

            group.start_soon(let_go)
            async with queue.turn(path):
                pass

    with child(HOLDER, path) as holder:
        holder.expect("holding")
        run(main)
        holder.finish()


def test_a_lock_that_nobody_wants_any_more_is_given_back(queue: PerStoreWriterQueue, path: Path) -> None:
    """The waiting thread gets the lock after the last waiter has given up: another process must get it at once."""
    with child(HOLDER, path) as holder:
        holder.expect("holding")
        with pytest.raises(LockTimeout), queue.turn(path, timeout=0.05):
            pass
        holder.tell()
        holder.finish()
        with child(HOLDER, path) as other:
            other.expect("holding")
            other.tell()
            other.finish()
    until(lambda: not line.lanes, "the end of the lane")


def test_inside_a_turn_cancellation_unwinds_the_body_and_gives_the_turn_back(queue, path, run) -> None:
    async def main() -> None:
        with anyio.CancelScope() as scope:
            async with queue.turn(path):
                scope.cancel()
                await anyio.sleep_forever()
        assert scope.cancelled_caught
        async with queue.turn(path, timeout=1):
            pass

    run(main)


def test_a_bare_task_cancel_leaves_the_line_too(queue: PerStoreWriterQueue, path: Path) -> None:
    async def main() -> None:
        async def ask() -> None:
            async with queue.turn(path):
                raise AssertionError

        with held(queue, path):
            task = asyncio.create_task(ask())
            await until_async(lambda: queue.pending(path) == 1)
            task.cancel("enough")
            with pytest.raises(asyncio.CancelledError, match="enough"):
                await task
            assert queue.pending(path) == 0

    asyncio.run(main())


def test_asyncio_timeout_and_wait_for_see_their_own_timeout(queue: PerStoreWriterQueue, path: Path) -> None:
    async def ask() -> None:
        async with queue.turn(path):
            raise AssertionError

    async def main() -> None:
        with held(queue, path):
            with pytest.raises(TimeoutError) as caught:
                async with asyncio.timeout(0.02):
                    await ask()
            assert not isinstance(caught.value, LockTimeout)
            with pytest.raises(TimeoutError) as caught:
                await asyncio.wait_for(ask(), 0.02)
            assert not isinstance(caught.value, LockTimeout)
            assert queue.pending(path) == 0

    asyncio.run(main())


def test_an_outer_scope_wins_over_the_timeout_even_at_the_same_moment(queue, path, run) -> None:
    async def main() -> None:
        with held(queue, path):
            with anyio.CancelScope() as scope:
                scope.cancel()
                async with queue.turn(path, timeout=0):
                    raise AssertionError
            assert scope.cancelled_caught
            with pytest.raises(TimeoutError) as caught, anyio.fail_after(0.05):
                async with queue.turn(path, timeout=0.05):
                    raise AssertionError
            assert not isinstance(caught.value, LockTimeout)

    run(main)


def test_in_a_scope_of_trio_that_is_cancelled_already_nobody_gets_a_free_store(
    queue: PerStoreWriterQueue, path: Path
) -> None:
    """As with trio's own locks. asyncio tells of a cancellation only at the next await that really waits."""

    async def main() -> None:
        store = AsyncStore(path, queue=queue)

        async def change(state: dict[str, int]) -> None:
            raise AssertionError

        with trio.CancelScope() as scope:
            scope.cancel()
            async with queue.turn(path):
                raise AssertionError
        assert scope.cancelled_caught
        with trio.CancelScope() as scope:
            scope.cancel()
            async with store.transaction():
                raise AssertionError
        assert scope.cancelled_caught
        with trio.CancelScope() as scope:
            scope.cancel()
            await store.update(change)
        assert scope.cancelled_caught
        with trio.CancelScope(shield=True):
            async with queue.turn(path, timeout=0):
                pass

    trio.run(main)


def test_what_is_cancelled_before_it_asks_is_never_applied(path, run) -> None:
    async def main() -> None:
        store = AsyncStore(path)

        async def change(state: dict[str, int]) -> None:
            state["async"] = 1

        async def transact() -> None:
            async with store.transaction() as tx:
                tx.state["transaction"] = 1

        for call in (lambda: store.update(lambda state: state.update(plain=1)), lambda: store.update(change), transact):
            with anyio.CancelScope() as scope:
                scope.cancel()
                await call()
            assert scope.cancelled_caught
        assert await store.read() == {}

    run(main)


def test_an_outer_scope_wins_when_both_deadlines_have_passed_before_anybody_looked(queue, path, run) -> None:
    async def main() -> None:
        async def let_both_pass(scope: anyio.CancelScope) -> None:
            await until_async(lambda: queue.pending(path) == 1)
            (waiting,) = line.lanes[str(path)].queue
            waiting.deadline = time.monotonic() - 0.001
            scope.deadline = anyio.current_time() - 0.001
            assert waiting.waiter is not None
            waiting.waiter.wake()

        with held(queue, path):
            async with anyio.create_task_group() as group:
                with anyio.move_on_after(20) as scope:
                    group.start_soon(let_both_pass, scope)
                    async with queue.turn(path, timeout=20):
                        raise AssertionError
            assert scope.cancelled_caught

    run(main)


def test_a_timed_out_waiter_never_runs_and_the_next_one_does(queue: PerStoreWriterQueue, path: Path) -> None:
    ran: list[str] = []

    def ask(name: str, timeout: float) -> None:
        with queue.turn(path, timeout=timeout):
            ran.append(name)

    with held(queue, path) as holding:
        workers = lined_up(queue, path, lambda: ask("patient", 20), lambda: ask("impatient", 0.05))
        with pytest.raises(LockTimeout):
            workers[1].result()
        assert queue.pending(path) == 1
        holding.release()
        workers[0].result()
    assert ran == ["patient"]


@pytest.mark.parametrize("lock", ["flock", "marker", "lease", "none"])
def test_a_timeout_of_zero_takes_a_free_store_or_none(path, run, lock) -> None:
    queue = PerStoreWriterQueue(lock, timeout=20)

    async def main() -> None:
        async with queue.turn(path, timeout=0):
            pass
        with held(queue, path), pytest.raises(LockTimeout):
            async with queue.turn(path, timeout=0):
                pass

    run(main)
    with queue.turn(path, timeout=0):
        pass
    with held(queue, path), pytest.raises(LockTimeout), queue.turn(path, timeout=0):
        pass


def test_the_timeout_of_a_turn_on_several_stores_covers_all_of_them(tmp_path: Path) -> None:
    """The first store came free when most of the time had gone: the second gets the rest, and not all of it again."""
    queue = PerStoreWriterQueue(timeout=20.0, warn_after=None)
    with held(queue, tmp_path / "a") as first, held(queue, tmp_path / "b"):
        waiter = Worker(lambda: queue.turn(tmp_path / "a", tmp_path / "b", timeout=15.0).__enter__())
        until(lambda: queue.pending(tmp_path / "a") == 1)
        (on_a,) = line.lanes[str(tmp_path / "a")].queue
        first.release()
        until(lambda: queue.pending(tmp_path / "b") == 1)
        (on_b,) = line.lanes[str(tmp_path / "b")].queue
        assert (on_b.asked, on_b.deadline) == (on_a.asked, on_a.deadline)
        on_b.deadline = 0.0
        assert on_b.waiter is not None
        on_b.waiter.wake()
        with pytest.raises(LockTimeout) as caught:
            waiter.result()
    assert caught.value.path == str(tmp_path / "b")


def test_the_deadline_holds_however_busy_the_shared_thread_pool_is(queue: PerStoreWriterQueue, path: Path) -> None:
    async def main() -> None:
        busy = threading.Event()
        loop = asyncio.get_running_loop()
        pool = [loop.run_in_executor(None, busy.wait) for _ in range(64)]
        with child(HOLDER, path) as holder:
            holder.expect("holding")
            with pytest.raises(LockTimeout):
                async with queue.turn(path, timeout=0.1):
                    pass
            holder.tell()
            async with queue.turn(path):
                pass
        busy.set()
        await asyncio.gather(*pool)

    asyncio.run(main())


def test_lock_timeout_names_a_holder_in_this_process(queue: PerStoreWriterQueue, path: Path) -> None:
    def ask() -> None:
        with queue.turn(path):
            pass

    with held(queue, path, label="nightly digest") as holding:
        (worker,) = lined_up(queue, path, ask)
        with pytest.raises(LockTimeout) as caught, queue.turn(path, timeout=0.05, label="mine"):
            pass
        holding.release()
        worker.result()
    error = caught.value
    assert isinstance(error, TimeoutError)
    assert error.path == str(path)
    assert error.sidecar == str(path.parent / ".state.json.lock")
    assert error.ahead == 2
    assert error.timeout == 0.05
    assert error.waited >= 0.05
    assert error.alive == "alive"
    assert error.owner is not None
    assert (error.owner.pid, error.owner.label) == (os.getpid(), "nightly digest")
    for part in (str(path), str(os.getpid()), "nightly digest", "2 ahead", "this same process"):
        assert part in str(error)


def test_lock_timeout_names_a_holder_in_another_process(queue: PerStoreWriterQueue, path: Path, run) -> None:
    async def in_task() -> LockTimeout:
        with pytest.raises(LockTimeout) as caught:
            async with queue.turn(path, timeout=0.05):
                pass
        return caught.value

    with child(HOLDER, path, "nightly digest") as holder:
        holder.expect("holding")
        with pytest.raises(LockTimeout) as caught, queue.turn(path, timeout=0.05):
            pass
        for error in (caught.value, run(in_task)):
            owner = error.owner
            assert owner is not None
            assert (owner.pid, owner.label, owner.host) == (holder.pid, "nightly digest", os.uname().nodename)
            assert owner.command is not None
            assert "-c" in owner.command
            assert error.alive == "alive"
            assert error.ahead == 0
            assert owner.held_for() is not None
            for part in (f"pid {holder.pid}", "nightly digest", "nobody ahead"):
                assert part in str(error)
        holder.tell()
        holder.finish()


def test_the_owner_of_a_passed_on_lock_is_the_one_who_has_it_now(queue: PerStoreWriterQueue, path: Path) -> None:
    """The hold went from one turn to the next inside the holding process: the label must have followed."""
    code = """
queue = PerStoreWriterQueue()
def second():
    with queue.turn(path, label="second"):
        say("second holds")
        hear()
with queue.turn(path, label="first"):
    thread = threading.Thread(target=second)
    thread.start()
    while queue.pending(path) < 1:
        time.sleep(0.001)
thread.join()
with queue.turn(path):
    say("unlabelled holds")
    hear()
"""
    with child(code, path) as holder:
        for line, label in (("second holds", "second"), ("unlabelled holds", None)):
            holder.expect(line)
            owner = queue.owner(path)
            assert owner is not None
            assert (owner.pid, owner.label) == (holder.pid, label)
            holder.tell()
        holder.finish()
    assert queue.owner(path) is None


def test_one_warning_says_on_whom_a_caller_waits(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    queue = PerStoreWriterQueue(timeout=20.0, warn_after=0.02)
    seen: list[events.Event] = []
    unsubscribe = events.subscribe(seen.append)

    def ask() -> None:
        with queue.turn(path, label="me"):
            pass

    try:
        with held(queue, path, label="slow") as holding:
            (worker,) = lined_up(queue, path, ask)
            until(lambda: any(isinstance(event, events.TurnWaited) for event in seen))
            holding.release()
            worker.wait()
    finally:
        unsubscribe()
    records = [record.getMessage() for record in caplog.records if record.name == "storewriter"]
    assert len(records) == 1
    for part in (str(path), "slow", "me", str(os.getpid())):
        assert part in records[0]
