"""A caller that asks for a turn that it holds gets an error at once; any other caller waits."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from helpers.lines import Worker, held, lined_up
from helpers.waiting import until, until_async, wait_for
from storewriter import AsyncStore, LockTimeout, PerStoreWriterQueue, ReentrantTurn, Store
from storewriter._turns import marks


def test_a_thread_that_asks_inside_its_own_turn_is_told_so(queue: PerStoreWriterQueue, path: Path) -> None:
    with queue.turn(path, label="outer"):
        with pytest.raises(ReentrantTurn, match='"outer"') as caught, queue.turn(path):
            pass
        assert caught.value.path == str(path)
        with pytest.raises(ReentrantTurn), PerStoreWriterQueue().turn(path):
            pass  # another queue object, the same lane
    with queue.turn(path, timeout=0):
        pass


def test_a_task_that_asks_inside_its_own_turn_is_told_so(queue, path, run) -> None:
    async def main() -> None:
        async with queue.turn(path):
            with pytest.raises(ReentrantTurn):
                async with queue.turn(path):
                    pass
        async with queue.turn(path, timeout=0):
            pass

    run(main)


def test_blocking_code_inside_an_async_turn_is_told_so(queue, path, run) -> None:
    async def main() -> None:
        async with queue.turn(path):
            with pytest.raises(ReentrantTurn), queue.turn(path):
                pass

    run(main)


def test_an_event_loop_run_inside_a_blocking_turn_is_told_so(queue, path, run) -> None:
    async def main() -> None:
        with pytest.raises(ReentrantTurn):
            async with queue.turn(path):
                pass

    with queue.turn(path):
        run(main)


def test_a_blocking_call_on_the_loop_that_would_have_to_finish_first_is_told_so(queue, path, run) -> None:
    """A task of this loop holds the turn, and another one asks with a blocking call: neither could ever go on."""

    async def main() -> None:
        leave = anyio.Event()
        entered = anyio.Event()

        async def hold() -> None:
            async with queue.turn(path):
                entered.set()
                await leave.wait()

        async with anyio.create_task_group() as group:
            group.start_soon(hold)
            await entered.wait()
            with pytest.raises(ReentrantTurn, match="event loop"), queue.turn(path):
                pass
            leave.set()

    run(main)


def test_a_blocking_call_behind_a_waiting_task_of_its_loop_is_told_so(queue, path, run) -> None:
    async def main() -> None:
        async def ask() -> None:
            async with queue.turn(path):
                pass

        with held(queue, path) as holding:
            async with anyio.create_task_group() as group:
                group.start_soon(ask)
                await until_async(lambda: queue.pending(path) == 1)
                with pytest.raises(ReentrantTurn, match="event loop"), queue.turn(path):
                    pass
                holding.release()

    run(main)


def test_a_blocking_call_behind_a_blocking_turn_of_another_task_of_its_loop_is_told_so(queue, path, run) -> None:
    """That one was taken with a plain `with`, and is held over an await."""

    async def main() -> None:
        leave = anyio.Event()
        entered = anyio.Event()

        async def hold() -> None:
            with queue.turn(path):
                entered.set()
                await leave.wait()

        async with anyio.create_task_group() as group:
            group.start_soon(hold)
            await entered.wait()
            with pytest.raises(ReentrantTurn, match="event loop"), queue.turn(path):
                pass
            with pytest.raises(ReentrantTurn, match="event loop"):
                Store(path, queue=queue).update(lambda state: None)
            leave.set()
            async with queue.turn(path):  # a task that awaits may wait for it
                pass

    run(main)


def _signalled(queue: PerStoreWriterQueue, path: Path, handler: Callable[[], None]) -> None:
    """Run the handler as a signal handler of this thread, while it waits for a turn that is held."""
    problems: list[BaseException] = []
    handled = threading.Event()

    def handle(number: int, frame: object) -> None:
        try:
            handler()
        except BaseException as problem:  # noqa: BLE001 - raised by the test, and not in the middle of the wait
            problems.append(problem)
        handled.set()

    def send() -> None:
        until(lambda: queue.pending(path) == 1)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        wait_for(handled)
        holding.release()

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        with held(queue, path) as holding:
            sender = Worker(send)
            with queue.turn(path):
                pass
            sender.result()
    finally:
        signal.signal(signal.SIGUSR1, before)
    for problem in problems:
        raise problem


def test_a_signal_handler_that_asks_for_what_its_thread_waits_for_is_told_so(
    queue: PerStoreWriterQueue, path: Path
) -> None:
    """It would stand behind the one that it has interrupted."""

    def ask() -> None:
        for _ in range(2):
            with pytest.raises(ReentrantTurn, match="signal handler"), queue.turn(path, timeout=5):
                pass

    _signalled(queue, path, ask)


@pytest.mark.parametrize(
    ("mark", "doing"),
    [(marks.STEP, "was handing a turn on"), (("/a/store", None), "was waiting for it or saving it")],
)
def test_a_signal_handler_is_told_what_its_thread_was_doing(mark: marks.Mark, doing: str) -> None:
    with pytest.raises(ReentrantTurn, match=doing):
        marks.require_outside(mark, "/a/store")


def test_a_signal_handler_may_wait_for_another_store_and_is_told_so_for_the_first_one_after_that(
    queue: PerStoreWriterQueue, tmp_path: Path
) -> None:
    path, other = tmp_path / "a", tmp_path / "b"

    def ask() -> None:
        with held(queue, other) as holding:
            helper = Worker(lambda: (until(lambda: queue.pending(other) == 1), holding.release()))
            with queue.turn(other, timeout=5):
                pass
            helper.result()
        with pytest.raises(ReentrantTurn, match="signal handler"), queue.turn(path, timeout=5):
            pass

    _signalled(queue, path, ask)
    assert not any(marks.inside.values())


def test_a_child_task_of_a_holder_is_somebody_else_and_waits(queue, path, run) -> None:
    async def main() -> None:
        ran = False
        refused = anyio.Event()

        async def ask() -> None:
            nonlocal ran
            with pytest.raises(LockTimeout, match="this same process"):
                async with queue.turn(path, timeout=0.02):
                    pass
            refused.set()
            async with queue.turn(path):
                ran = True

        async with anyio.create_task_group() as group, queue.turn(path):
            group.start_soon(ask)
            await refused.wait()
            await until_async(lambda: queue.pending(path) == 1)
            assert not ran
        assert ran

    run(main)


def test_a_thread_started_by_a_holder_is_somebody_else_and_waits(queue: PerStoreWriterQueue, path: Path) -> None:
    def ask() -> str:
        with queue.turn(path):
            return "in"

    with queue.turn(path):
        (worker,) = lined_up(queue, path, ask)
    assert worker.result() == "in"


def test_another_store_may_be_asked_for_inside_a_turn(queue, tmp_path, run) -> None:
    async def main() -> None:
        async with queue.turn(tmp_path / "a"), queue.turn(tmp_path / "b", timeout=0):
            pass

    run(main)
    with queue.turn(tmp_path / "a"), queue.turn(tmp_path / "b", timeout=0):
        pass


def test_other_spellings_of_a_held_store_are_recognized(
    queue: PerStoreWriterQueue, tmp_path: Path, monkeypatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "alias.json").symlink_to(tmp_path / "real" / "state.json")
    monkeypatch.chdir(tmp_path)
    spellings = ["real/state.json", "real/../link/state.json", tmp_path / "link" / "state.json", "alias.json"]
    for held_as in spellings:
        with queue.turn(held_as):  # type: ignore[arg-type]
            for asked_as in spellings:
                with pytest.raises(ReentrantTurn), queue.turn(asked_as):  # type: ignore[arg-type]
                    pass


def test_an_update_function_that_asks_for_its_own_store_is_told_so(path: Path) -> None:
    store = Store(path)
    with pytest.raises(ReentrantTurn):
        store.update(lambda state: store.update(lambda inner: inner.update(x=1)))
    assert store.read() == {}
    store.update(lambda state: state.update(fine=True), timeout=0)


def test_an_update_function_in_a_shared_batch_that_asks_for_its_own_store_is_told_so(
    queue: PerStoreWriterQueue, path: Path
) -> None:
    store = Store(path, queue=queue)
    with held(queue, path) as holding:
        workers = lined_up(
            queue,
            path,
            lambda: store.update(lambda state: state.update(first=1)),
            lambda: store.update(lambda state: store.update(lambda inner: inner.update(nested=1))),
            lambda: store.update(lambda state: state.update(third=3)),
        )
        holding.release()
        for worker in workers:
            worker.wait()
    assert isinstance(workers[1].error, ReentrantTurn)
    assert store.read() == {"first": 1, "third": 3}


def test_an_async_update_that_asks_for_its_own_store_is_told_so(path, run) -> None:
    async def main() -> None:
        store = AsyncStore(path)

        async def nested(state: dict[str, object]) -> None:
            await store.update(lambda inner: None)

        with pytest.raises(ReentrantTurn):
            await store.update(nested)
        blocking = Store(path)
        with pytest.raises(ReentrantTurn):
            await store.update(lambda state: blocking.update(lambda inner: None))
        await store.update(lambda state: state.update(fine=True), timeout=1)
        assert await store.read() == {"fine": True}

    run(main)


def test_a_thread_ident_that_is_used_again_is_not_taken_for_its_predecessor(
    queue: PerStoreWriterQueue, path: Path
) -> None:
    """Thread identifiers are reused at once: one that had its turn must not make the next thread look re-entrant."""
    for _ in range(50):

        def use() -> None:
            with queue.turn(path):
                pass

        Worker(use).result()


def test_a_second_loop_in_another_thread_is_somebody_else(queue: PerStoreWriterQueue, path: Path) -> None:
    async def ask() -> str:
        async with queue.turn(path):
            return "in"

    async def main() -> str:
        async with queue.turn(path):
            worker = Worker(lambda: asyncio.run(ask()))
            await until_async(lambda: queue.pending(path) == 1)
        await until_async(lambda: not worker._thread.is_alive())
        return worker.result()

    assert asyncio.run(main()) == "in"
