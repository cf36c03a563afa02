"""One suite of promises over both engines: what holds for a store in a file holds for one in PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import anyio
import pytest

from helpers.children import HOLDER, child
from helpers.histories import Recorder, appending, step, working_processes
from helpers.linearizability import is_linearizable
from helpers.lines import Worker, held, lined_up
from helpers.waiting import until, wait_for
from storewriter import (
    AsyncStore,
    EncodeError,
    LockTimeout,
    PerStoreWriterQueue,
    QueueFull,
    ReentrantTurn,
    Store,
    StoreCorrupt,
    VersionConflict,
    events,
)
from storewriter._commits import batch

Main = Callable[[], Any]
QUEUE = PerStoreWriterQueue(timeout=30.0)


def listed(place: str, **settings: Any) -> Store[list[Any]]:
    return Store(place, default=list, queue=QUEUE, **settings)


# -- order and exclusion -----------------------------------------------------------------------------------------------


def test_turns_come_in_the_order_in_which_they_were_asked_for(place: str) -> None:
    order: list[int] = []

    def take(number: int) -> None:
        with QUEUE.turn(place):
            order.append(number)

    with held(QUEUE, place):
        workers = lined_up(QUEUE, place, *(lambda number=number: take(number) for number in range(6)))  # type: ignore[misc]
    for worker in workers:
        worker.result()
    assert order == list(range(6))


def test_updates_of_one_process_are_applied_in_their_order(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one batch."""
    monkeypatch.setattr(batch, "APPLY_SECONDS", 60.0)
    store = listed(place)
    with held(QUEUE, place):
        workers = lined_up(
            QUEUE,
            place,
            *(lambda number=number: store.update(appending(number)) for number in range(8)),  # type: ignore[misc]
        )
    assert [worker.result() for worker in workers] == list(range(8))
    assert store.read() == list(range(8))


_WRITER = """
store = Store(path, default=list, queue=PerStoreWriterQueue(timeout=60))
say("ready"); hear()
for number in range(int(args[1])):
    with store.transaction() as tx:
        began = time.monotonic()
        tx.state.append([args[0], number])
        tx.state.append(began)
        tx.state[-1] = [began, time.monotonic()]
    store.update(lambda state: state.append([args[0], -number - 1]))
say("done")
"""


def test_processes_exclude_each_other_and_lose_nothing(place: str) -> None:
    with ExitStack() as stack:
        children = [stack.enter_context(child(_WRITER, place, name, 6)) for name in "abc"]
        for process in children:
            process.expect("ready")
        for process in children:
            process.tell()
        for process in children:
            process.expect("done")
    found = listed(place).read()
    for name in "abc":
        mine = [entry[1] for entry in found if entry[0] == name]
        assert mine == [sign for number in range(6) for sign in (number, -number - 1)]
    spans = [entry for entry in found if isinstance(entry[0], float)]
    assert len(spans) == 18
    assert all(before[1] <= after[0] for before, after in zip(spans, spans[1:], strict=False)), "turns overlap"


def test_a_history_of_threads_and_processes_has_an_order(place: str) -> None:
    recorder = Recorder()
    with working_processes(place, "ab", 6) as processes:
        workers = [Worker(lambda who=who: recorder.thread(listed(place), who, 6)) for who in ("s", "t")]  # type: ignore[misc]
        for worker in workers:
            worker.result()
        history = [*recorder.history, *processes.history()]
    assert len(history) == 24
    assert is_linearizable(history, (), step)


# -- failing functions -------------------------------------------------------------------------------------------------


def test_a_function_that_fails_leaves_no_trace_and_harms_no_neighbour(place: str) -> None:
    store = listed(place)

    def fail(state: list[Any]) -> None:
        state.append("phantom")
        raise ZeroDivisionError

    with held(QUEUE, place):
        calls = [lambda: store.update(appending(1)), lambda: store.update(fail), lambda: store.update(appending(2))]
        first, failing, last = lined_up(QUEUE, place, *calls)
    first.result()
    last.result()
    with pytest.raises(ZeroDivisionError):
        failing.result()
    assert store.read() == [1, 2]


def test_a_state_that_cannot_be_encoded_fails_its_own_caller(place: str) -> None:
    store = listed(place)
    store.update(appending(1))
    with pytest.raises(EncodeError):
        store.update(appending(object()))
    assert store.read() == [1]


def test_a_slow_function_delays_no_answer_of_the_one_before_it(place: str) -> None:
    """Also in a database, where the commit of the one before it ends the turn: the slow one is applied in a new one."""
    store = listed(place)
    runs, let_go = threading.Event(), threading.Event()

    def slow(state: list[Any]) -> None:
        state.append("slow")
        runs.set()
        wait_for(let_go, "the end of the slow function")

    with held(QUEUE, place):
        quick, slowly = lined_up(QUEUE, place, lambda: store.update(appending("quick")), lambda: store.update(slow))
    wait_for(runs, "the slow function")
    assert quick.result() == 0
    assert store.read() == ["quick"]
    let_go.set()
    slowly.result()
    assert store.read() == ["quick", "slow"]


def test_a_slow_function_keeps_its_place_in_the_line(place: str) -> None:
    """In a database it is applied in a second turn, before the functions that came after it."""
    store = listed(place)
    runs, let_go = threading.Event(), threading.Event()

    def slow(state: list[Any]) -> None:
        state.append("slow")
        runs.set()
        wait_for(let_go, "the end of the slow function")

    with held(QUEUE, place):
        calls = [appending("quick"), slow, appending("behind"), appending("last")]
        workers = lined_up(QUEUE, place, *(lambda fn=fn: store.update(fn) for fn in calls))  # type: ignore[misc]
    wait_for(runs, "the slow function")
    workers[0].result()
    let_go.set()
    for worker in workers:
        worker.result()
    assert store.read() == ["quick", "slow", "behind", "last"]


def test_shared_isolation_keeps_the_same_promises(place: str) -> None:
    store = listed(place, isolation="shared")

    def fail(state: list[Any]) -> None:
        state.append("phantom")
        raise ZeroDivisionError

    with held(QUEUE, place):
        calls = [lambda: store.update(appending(1)), lambda: store.update(fail), lambda: store.update(appending(2))]
        workers = lined_up(QUEUE, place, *calls)
    for worker in workers:
        worker.wait()
    assert isinstance(workers[1].error, ZeroDivisionError)
    assert store.read() == [1, 2]


# -- cancellation, deadlines, limits -----------------------------------------------------------------------------------


def test_cancelled_in_line_it_is_never_applied(place: str, run: Callable[[Main], Any]) -> None:
    async def main() -> None:
        store: AsyncStore[list[Any]] = AsyncStore(place, default=list, queue=QUEUE)
        with held(QUEUE, place):
            async with anyio.create_task_group() as group:
                group.start_soon(store.update, appending("cancelled"))
                while QUEUE.pending(place) < 1:
                    await anyio.sleep(0.001)
                group.cancel_scope.cancel()
        await store.update(appending("kept"))
        assert await store.read() == ["kept"]

    run(main)


def test_cancelled_while_it_is_committed_it_is_committed(place: str, run: Callable[[Main], Any]) -> None:
    async def main() -> None:
        store: AsyncStore[list[Any]] = AsyncStore(place, default=list, queue=QUEUE)
        with anyio.CancelScope() as scope:

            def fn(state: list[Any]) -> None:
                state.append("kept")
                scope.cancel()

            await store.update(fn)
            await anyio.sleep(0)  # trio's cancellation is delivered at the next checkpoint
        assert scope.cancelled_caught
        assert await store.read() == ["kept"]

    run(main)


def test_tasks_of_a_loop_share_batches_and_each_gets_its_own_answer(place: str, run: Callable[[Main], Any]) -> None:
    sizes: list[int] = []

    def note(event: object) -> None:
        if isinstance(event, events.BatchCommitted):
            sizes.append(event.size)

    async def main() -> None:
        store: AsyncStore[list[Any]] = AsyncStore(place, default=list, queue=QUEUE)
        answers: dict[int, int] = {}

        async def one(number: int) -> None:
            answers[number] = await store.update(appending(number))

        async with anyio.create_task_group() as group:
            for number in range(30):
                group.start_soon(one, number)
        state = await store.read()
        assert sorted(state) == list(range(30))
        assert all(state[answer] == number for number, answer in answers.items())

    unsubscribe = events.subscribe(note)
    try:
        run(main)
    finally:
        unsubscribe()
    assert sum(sizes) == 30
    assert len(sizes) < 30


def test_a_deadline_names_the_holder_in_another_process(place: str) -> None:
    with child(HOLDER, place, "nightly digest") as holder:
        holder.expect("holding")
        with pytest.raises(LockTimeout, match=f'pid {holder.pid} on .*"nightly digest".*') as caught:
            listed(place).update(appending(1), timeout=0.2)
        assert caught.value.owner is not None
        assert caught.value.owner.pid == holder.pid
        holder.tell()
        holder.expect("released")
    assert listed(place).read() == []


def test_a_free_store_is_taken_without_waiting_and_a_held_one_is_not(place: str, run: Callable[[Main], Any]) -> None:
    listed(place).update(appending(1), timeout=0)

    async def main() -> None:
        store: AsyncStore[list[Any]] = AsyncStore(place, default=list, queue=QUEUE)
        await store.update(appending(2), timeout=0)
        with child(HOLDER, place) as holder:
            holder.expect("holding")
            with pytest.raises(LockTimeout):
                await store.update(appending(3), timeout=0)
        assert await store.read() == [1, 2]

    run(main)


def test_too_many_waiters_and_a_second_turn_inside_the_first_are_refused(place: str) -> None:
    full = PerStoreWriterQueue(max_pending=0)
    with QUEUE.turn(place):
        with pytest.raises(QueueFull):
            Worker(lambda: Store(place, queue=full).update(len)).result()
        with pytest.raises(ReentrantTurn):
            listed(place).update(appending(1))


def test_the_turn_of_a_process_that_is_killed_is_free(place: str) -> None:
    with child(HOLDER, place) as holder:
        holder.expect("holding")
        holder.kill()
        listed(place).update(appending(1))
    assert listed(place).read() == [1]


# -- the rest of the interface -----------------------------------------------------------------------------------------


def test_compare_and_swap(place: str) -> None:
    store = listed(place)
    state, version = store.read_versioned()
    assert state == []
    store.update(appending(1), expect=version)
    with pytest.raises(VersionConflict):
        store.update(appending(2), expect=version)
    assert store.read() == [1]


def test_the_version_is_that_of_the_content_in_every_engine(place: str, tmp_path: Any) -> None:
    store, other = listed(place), listed(str(tmp_path / "other.json"))
    for one in (store, other):
        one.update(appending(1))
    assert store.read_versioned()[1] == other.read_versioned()[1]


def test_transactions_commit_or_leave_no_trace(place: str, run: Callable[[Main], Any]) -> None:
    store = listed(place)
    with store.transaction(label="first") as tx:
        tx.state.append(1)
        tx.check()
    with pytest.raises(ZeroDivisionError), store.transaction() as tx:
        tx.state.append(2)
        raise ZeroDivisionError
    with store.transaction() as tx:
        tx.state.append(3)
        tx.discard()

    async def main() -> None:
        astore: AsyncStore[list[Any]] = AsyncStore(place, default=list, queue=QUEUE)
        async with astore.transaction() as atx:
            atx.state.append(4)

        async def fn(state: list[Any]) -> str:
            await anyio.sleep(0)
            state.append(5)
            return "five"

        assert await astore.update(fn) == "five"

    run(main)
    assert store.read() == [1, 4, 5]


def test_nothing_changed_nothing_written(place: str) -> None:
    written: list[bool] = []

    def note(event: object) -> None:
        if isinstance(event, events.BatchCommitted):
            written.append(event.written)

    store = listed(place)
    unsubscribe = events.subscribe(note)
    try:
        store.update(appending(1))
        store.update(len)
    finally:
        unsubscribe()
    assert written == [True, False]


def test_watchers_see_the_last_state(place: str) -> None:
    store = listed(place)
    store.update(appending(1))
    with closing(store.watch()) as states:
        seen: Iterator[list[Any]] = iter(states)
        assert next(seen) == [1]
        with child("Store(path, default=list).update(lambda state: state.append(2)); say('done')", place) as other:
            other.expect("done")
            assert next(seen) == [1, 2]


def test_a_watching_task_sees_the_last_state(place: str, run: Callable[[Main], Any]) -> None:
    async def main() -> None:
        store: AsyncStore[list[Any]] = AsyncStore(place, default=list, queue=QUEUE)
        async with store.watch() as states:
            assert await states.__anext__() == []
            await store.update(appending(1))
            assert await states.__anext__() == [1]

    run(main)


def test_a_corrupt_document_is_an_error_and_comes_back_when_asked_for(place: str) -> None:
    raw: Store[bytes] = Store(place, default=bytes, codec=_Raw(), queue=QUEUE, backups=2)
    store = listed(place, backups=2)
    store.update(appending(1))
    store.update(appending(2))
    raw.transform(lambda _: b"[1, 2")
    for attempt in (store.read, lambda: store.update(appending(3))):
        with pytest.raises(StoreCorrupt, match="would move it to .*corrupt-1 and restore the newest good backup"):
            attempt()
    recovery = store.recover()
    assert recovery.outcome == "restored"
    assert store.read() == [1, 2]
    assert store.recover().outcome == "healthy"


class _Raw:
    def decode(self, data: bytes) -> bytes:
        return data

    def encode(self, state: bytes) -> bytes:
        return state


def test_several_stores_of_several_engines_in_one_turn(place: str, tmp_path: Any) -> None:
    beside = str(tmp_path / "beside.json")
    done: list[int] = []

    def take(*places: str) -> None:
        for _ in range(5):
            with QUEUE.turn(*places) as turn:
                turn.check()
                assert len(turn.paths) == 2
                done.append(1)

    workers = [Worker(lambda: take(place, beside)), Worker(lambda: take(beside, place))]
    for worker in workers:
        worker.result()
    assert len(done) == 10


def test_a_turn_excludes_updates_and_names_its_store(place: str) -> None:
    store = listed(place)
    with QUEUE.turn(place, label="maintenance") as turn:
        assert turn.path == store.path
        assert "password" not in turn.path
        worker = Worker(lambda: store.update(appending(1)))
        until(lambda: QUEUE.pending(place) == 1, "the update waits")
        assert store.read() == []
        owner = QUEUE.owner(place)
        assert owner is not None
        assert owner.label == "maintenance"
    worker.result()
    assert store.read() == [1]
