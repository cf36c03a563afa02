"""Updates that wait in line are committed together, and only the disk shows it."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import attrs
import pytest
import trio

from helpers.counting import Counted
from helpers.lines import Worker, held, lined_up
from helpers.waiting import until_async
from storewriter import AsyncStore, LockLost, PerStoreWriterQueue, Store, VersionConflict, events
from storewriter._commits import batch
from storewriter._platform.system import System
from storewriter.codecs import JsonCodec
from storewriter.locks import InProcess

LARGE = 1 << 14


@pytest.fixture(autouse=True)
def _a_batch_ends_with_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not with its time: on a busy machine a thread may get the interpreter after more than that."""
    monkeypatch.setattr(batch, "APPLY_SECONDS", 60.0)


def together(queue: PerStoreWriterQueue, path: Path, *calls: Any) -> list[Worker]:
    """Call them from threads that stand behind each other in line, and let them go all at once."""
    with held(queue, path) as holding:
        workers = lined_up(queue, path, *calls)
        holding.release()
        for worker in workers:
            worker.wait()
    return workers


async def tasks_together(queue: PerStoreWriterQueue, path: Path, *calls: Any) -> list[Any]:
    """The same with tasks; results or errors in order."""
    outcomes: list[Any] = [None] * len(calls)

    async def run(place: int, call: Any) -> None:
        try:
            outcomes[place] = await call()
        except Exception as error:  # noqa: BLE001 - an outcome like any other
            outcomes[place] = error

    with held(queue, path) as holding:
        async with anyio.create_task_group() as group:
            for place, call in enumerate(calls):
                group.start_soon(run, place, call)
                await until_async(lambda place=place: queue.pending(path) == place + 1)
            holding.release()
    return outcomes


@contextlib.contextmanager
def batches() -> Iterator[list[events.BatchCommitted]]:
    seen: list[events.BatchCommitted] = []
    unsubscribe = events.subscribe(
        lambda event: seen.append(event) if isinstance(event, events.BatchCommitted) else None
    )
    try:
        yield seen
    finally:
        unsubscribe()


def test_threads_that_wait_are_committed_by_one_save(queue: PerStoreWriterQueue, path: Path) -> None:
    path.write_text("[]")  # the first document in a folder would flush the folders above, too
    system = Counted()
    store: Store[list[int]] = Store(path, default=list, queue=queue, system=system)  # type: ignore[arg-type, call-overload]

    def append(place: int) -> int:
        def fn(state: list[int]) -> int:
            state.append(place)
            return len(state)

        return store.update(fn)

    with batches() as seen:
        workers = together(queue, path, *(lambda place=place: append(place) for place in range(30)))
    assert [worker.result() for worker in workers] == list(range(1, 31))
    assert store.read() == list(range(30))
    assert system.calls["rename"] == 1
    assert system.calls["flush"] == 1
    assert system.calls["flush_folder"] == 1
    assert [(batch.size, batch.failed, batch.written) for batch in seen] == [(30, 0, True)]


def test_a_thread_lets_those_into_its_batch_that_were_answered_with_it(
    queue: PerStoreWriterQueue, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They ask again at once, but need a processor first: the first of them gives way once. One that is alone does not,
    nor one behind which as many wait already, nor one that shares no batch."""
    path.write_text("[]")
    store: Store[list[int]] = Store(path, default=list, queue=queue)
    late = [lambda: store.update(lambda state: state.append(9))]
    workers: list[Worker] = []
    gave_way: list[int] = []

    def give_way() -> None:
        gave_way.append(queue.pending(path))
        workers.extend(lined_up(queue, path, *late))
        late.clear()

    def two() -> None:
        together(queue, path, *[lambda: store.update(lambda state: state.append(2))] * 2)

    monkeypatch.setattr(batch, "give_way", give_way)
    with batches() as seen:
        store.update(lambda state: state.append(1))
        two()
        store.update(lambda state: state.append(1), expect=store.read_versioned()[1])
        two()
        assert not gave_way
        store.update(lambda state: state.append(1))
        assert gave_way == [0]
        workers[0].wait()
        two()
        assert gave_way == [0]
        store.update(lambda state: state.append(1))
        assert gave_way == [0, 0]
        store.update(lambda state: state.append(1))
    assert gave_way == [0, 0]
    assert [batch.size for batch in seen] == [1, 2, 1, 2, 2, 2, 1, 1]
    assert store.read() == [1, 2, 2, 1, 2, 2, 1, 9, 2, 2, 1, 1]


def test_tasks_that_wait_are_committed_by_one_save(queue, path, run) -> None:
    path.write_text("[]")
    system = Counted()

    async def main() -> None:
        store: AsyncStore[list[int]] = AsyncStore(path, default=list, queue=queue, system=system)  # type: ignore[arg-type, call-overload]

        def append(place: int) -> Any:
            def fn(state: list[int]) -> int:
                state.append(place)
                return len(state)

            return lambda: store.update(fn)

        assert await tasks_together(queue, path, *map(append, range(30))) == list(range(1, 31))
        assert await store.read() == list(range(30))

    run(main)
    assert system.calls["rename"] == system.calls["flush"] == system.calls["flush_folder"] == 1


def test_nobody_is_answered_before_the_save(queue: PerStoreWriterQueue, path: Path, monkeypatch) -> None:
    store = Store(path, queue=queue)
    answered: list[int] = []
    before_the_rename: list[list[int]] = []
    real_replace = os.replace

    def replace(source: str, target: str) -> None:
        before_the_rename.append(list(answered))
        real_replace(source, target)

    def ask(place: int) -> None:
        store.update(lambda state: state.update({str(place): place}))
        assert Store(path).read()[str(place)] == place
        answered.append(place)

    monkeypatch.setattr(System, "rename", staticmethod(replace))
    for worker in together(queue, path, *(lambda place=place: ask(place) for place in range(5))):
        worker.result()
    assert before_the_rename == [[]]
    assert sorted(answered) == list(range(5))


@pytest.mark.parametrize("failing", [0, 2, 4])
def test_a_failing_function_fails_its_own_caller_and_leaves_no_trace(
    queue: PerStoreWriterQueue, path: Path, failing: int
) -> None:
    store = Store(path, queue=queue)

    def change(place: int) -> str:
        def fn(state: dict[str, int]) -> str:
            state[str(place)] = place
            if place == failing:
                raise ZeroDivisionError(place)
            return f"result {place}"

        return store.update(fn)

    workers = together(queue, path, *(lambda place=place: change(place) for place in range(5)))
    for place, worker in enumerate(workers):
        if place == failing:
            assert isinstance(worker.error, ZeroDivisionError)
        else:
            assert worker.result() == f"result {place}"
    assert store.read() == {str(place): place for place in range(5) if place != failing}
    assert list(store.read()) == [str(place) for place in range(5) if place != failing]


def test_a_failing_function_leaves_no_trace_in_what_its_neighbour_put_in(
    queue: PerStoreWriterQueue, path: Path
) -> None:
    store = Store(path, queue=queue)
    items = ["a"]

    def spoil(state: dict[str, list[str]]) -> None:
        state["items"].append("spoilt")
        raise ZeroDivisionError

    workers = together(
        queue, path, lambda: store.update(lambda state: state.update(items=items)), lambda: store.update(spoil)
    )
    assert isinstance(workers[1].error, ZeroDivisionError)
    assert store.read() == {"items": ["a"]}
    assert items == ["a"]


def test_everyone_may_fail_and_nothing_is_written(queue: PerStoreWriterQueue, path: Path) -> None:
    store = Store(path, queue=queue)

    def fail(state: dict[str, int]) -> None:
        state["x"] = 1
        raise ZeroDivisionError

    workers = together(queue, path, *[lambda: store.update(fail)] * 4)
    assert all(isinstance(worker.error, ZeroDivisionError) for worker in workers)
    assert len({id(worker.error) for worker in workers}) == 4
    assert not path.exists()


@pytest.mark.parametrize("culprit", [0, 1, 2])
def test_a_state_that_cannot_be_encoded_fails_its_own_caller_only(
    queue: PerStoreWriterQueue, path: Path, culprit: int
) -> None:
    store = Store(path, queue=queue)

    def change(place: int) -> None:
        store.update(lambda state: state.update({str(place): object() if place == culprit else place}))

    workers = together(queue, path, *(lambda place=place: change(place) for place in range(3)))
    assert [worker.error is not None for worker in workers] == [place == culprit for place in range(3)]
    assert isinstance(workers[culprit].error, ValueError)
    assert store.read() == {str(place): place for place in range(3) if place != culprit}


def _link(state: dict[str, Any]) -> None:
    state["previous"] = state.setdefault("current", [])


def _extend(state: dict[str, Any]) -> int:
    state["current"].append(1)
    return len(state["previous"])


def _put_tuple(state: dict[str, Any]) -> None:
    state["tuple"] = (1, 2)


def _use_tuple(state: dict[str, Any]) -> str:
    state["tuple"].append(3)
    return type(state["tuple"]).__name__


def _raise(state: dict[str, Any]) -> None:
    state["previous"].append("failed")
    raise ZeroDivisionError


_SEQUENCES = {
    "a list that is linked to a second place": [_link, _extend],
    "a tuple that becomes a list": [_put_tuple, _use_tuple],
    "both": [_link, _extend, _put_tuple, _use_tuple],
    "a failure behind a link": [_link, _extend, _raise, _extend],
    "a failure between two links": [_link, _raise, _extend, _link, _extend, _raise],
    "a function that fails only by what another left in memory": [_link, _put_tuple, _use_tuple, _use_tuple, _extend],
}


@pytest.mark.parametrize("size", [0, LARGE])
@pytest.mark.parametrize("functions", _SEQUENCES.values(), ids=list(_SEQUENCES))
def test_a_batch_is_the_same_as_one_after_the_other(
    queue: PerStoreWriterQueue, tmp_path: Path, functions: list[Any], size: int
) -> None:
    """References inside the state, tuples and other things that only the process knows do not survive an update."""

    def outcome(call: Any) -> Any:
        try:
            return call()
        except ZeroDivisionError as error:
            return repr(error)

    alone, shared = Store(tmp_path / "alone", queue=queue), Store(tmp_path / "shared", queue=queue)
    for store in (alone, shared):
        store.update(lambda state: state.update(padding="x" * size))
    expected = [outcome(lambda fn=fn: alone.update(fn)) for fn in functions]
    workers = together(queue, tmp_path / "shared", *(lambda fn=fn: shared.update(fn) for fn in functions))
    assert [outcome(worker.result) for worker in workers] == expected
    assert shared.read() == alone.read()


def test_transform_and_update_share_a_batch(queue: PerStoreWriterQueue, path: Path) -> None:
    store = Store(path, queue=queue)
    with batches() as seen:
        workers = together(
            queue,
            path,
            lambda: store.update(lambda state: state.update(a=1)),
            lambda: store.transform(lambda state: {**state, "b": 2}),
            lambda: store.update(lambda state: state.update(c=3)),
        )
    assert workers[1].result() == {"a": 1, "b": 2}
    assert store.read() == {"a": 1, "b": 2, "c": 3}
    assert len(seen) == 1


def test_a_transaction_or_a_bare_turn_in_line_splits_the_batch(queue: PerStoreWriterQueue, path: Path) -> None:
    store: Store[list[str]] = Store(path, default=list, queue=queue)

    def transaction() -> None:
        with store.transaction() as tx:
            tx.state.append("transaction")

    def turn() -> None:
        with queue.turn(path):
            pass

    with batches() as seen:
        together(
            queue,
            path,
            lambda: store.update(lambda state: state.append("a")),
            lambda: store.update(lambda state: state.append("b")),
            transaction,
            lambda: store.update(lambda state: state.append("c")),
            turn,
            lambda: store.update(lambda state: state.append("d")),
        )
    assert store.read() == ["a", "b", "transaction", "c", "d"]
    assert [batch.size for batch in seen] == [2, 1, 1, 1]


def test_two_objects_for_one_store_share_a_batch(queue: PerStoreWriterQueue, path: Path) -> None:
    one, other = Store(path, queue=queue), Store(path, queue=queue)
    with batches() as seen:
        together(
            queue,
            path,
            lambda: one.update(lambda state: state.update(a=1)),
            lambda: other.update(lambda state: state.update(b=2)),
        )
    assert one.read() == {"a": 1, "b": 2}
    assert len(seen) == 1


def test_stores_that_write_differently_do_not_share_a_batch(queue: PerStoreWriterQueue, path: Path) -> None:
    compact = Store(path, queue=queue)
    indented = Store(path, queue=queue, codec=JsonCodec(shape=dict, indent=2))
    together(
        queue,
        path,
        lambda: compact.update(lambda state: state.update(a=1)),
        lambda: indented.update(lambda state: state.update(b=2)),
    )
    assert path.read_text() == '{\n  "a": 1,\n  "b": 2\n}\n'


def test_a_function_runs_in_the_context_of_its_own_caller(queue: PerStoreWriterQueue, path: Path) -> None:
    who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")
    store = Store(path, queue=queue)

    def call(name: str) -> str:
        who.set(name)
        return store.update(lambda state: state.setdefault(name, who.get()))

    workers = together(queue, path, *(lambda name=name: call(name) for name in "abc"))
    assert [worker.result() for worker in workers] == ["a", "b", "c"]


def test_async_functions_run_on_their_own_loop(queue: PerStoreWriterQueue, path: Path) -> None:
    """Tasks of several loops, of asyncio and trio, in one line: every function runs in its own loop's thread."""
    store = AsyncStore(path, queue=queue)
    wrong: list[str] = []

    def call(name: str, run: Any) -> None:
        async def main() -> None:
            home = threading.get_ident()

            def fn(state: dict[str, int]) -> None:
                state[name] = 1
                if threading.get_ident() != home:
                    wrong.append(name)

            await store.update(fn)

        run(main)

    runners = [lambda main: asyncio.run(main()), trio.run]
    workers = together(
        queue, path, *(lambda place=place: call(str(place), runners[place // 2 % 2]) for place in range(8))
    )
    for worker in workers:
        worker.result()
    assert wrong == []
    assert store.path == str(path)
    assert Store(path).read() == {str(place): 1 for place in range(8)}


def test_functions_that_have_to_run_again_run_on_their_own_loop_too(queue, path, run) -> None:
    async def main() -> None:
        store = AsyncStore(path, queue=queue)
        threads: set[int] = set()
        bad = {"bad": object()}

        def change(place: int) -> Any:
            def fn(state: dict[str, Any]) -> None:
                threads.add(threading.get_ident())
                state[str(place)] = place
                if place == 1:
                    state.update(bad)

            return lambda: store.update(fn)

        outcomes = await tasks_together(queue, path, *map(change, range(3)))
        assert isinstance(outcomes[1], ValueError)
        assert threads == {threading.get_ident()}
        assert await store.read() == {"0": 0, "2": 2}

    run(main)


def test_batches_are_bounded_in_time(queue: PerStoreWriterQueue, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow functions are not all made to wait for each other: a late one is in the next batch, in order.

    The clock of the batches is the test's: each function takes 6 ms of it, and a batch of threads has 20.
    """
    now = [0.0]
    monkeypatch.setattr(batch, "APPLY_SECONDS", 0.01)
    monkeypatch.setattr(batch, "time", SimpleNamespace(monotonic=lambda: now[0]))
    store: Store[list[int]] = Store(path, default=list, queue=queue)

    def slow(place: int) -> None:
        def fn(state: list[int]) -> None:
            now[0] += 0.006
            state.append(place)

        store.update(fn)

    with batches() as seen:
        together(queue, path, *(lambda place=place: slow(place) for place in range(10)))
    assert store.read() == list(range(10))
    assert max(one.size for one in seen) <= 4
    assert sum(one.size for one in seen) == 10


@pytest.mark.untraced  # all within 10 ms
def test_a_crowd_of_tasks_is_one_batch(queue, path, run) -> None:
    count = 1500

    async def main() -> None:
        store: AsyncStore[list[int]] = AsyncStore(path, default=list, queue=queue)

        async def ask(place: int) -> None:
            await store.update(lambda state: state.append(place))

        async with anyio.create_task_group() as group:
            with held(queue, path) as holding:
                for place in range(count):
                    group.start_soon(ask, place)
                await until_async(lambda: queue.pending(path) == count)
                holding.release()
        assert sorted(await store.read()) == list(range(count))

    with batches() as seen:
        run(main)
    assert [batch.size for batch in seen] == [count]


@pytest.mark.parametrize("timing", ["queued", "admitted"])
def test_cancelled_while_queued_is_never_applied_and_cancelled_once_admitted_is_committed(
    queue, path, run, timing, monkeypatch
) -> None:
    """The second of three tasks is cancelled: before its batch begins, or while the batch is being saved."""
    saving, go_on = threading.Event(), threading.Event()
    real_replace = os.replace

    def slow_replace(source: str, target: str) -> None:
        saving.set()
        assert go_on.wait(20)
        real_replace(source, target)

    async def main() -> tuple[list[int], bool, list[int]]:
        store: AsyncStore[list[int]] = AsyncStore(path, default=list, queue=queue)
        scopes = [anyio.CancelScope() for _ in range(3)]
        done: list[int] = []
        over: list[int] = []

        async def ask(place: int) -> None:
            with scopes[place]:
                try:
                    await store.update(lambda state: state.append(place))
                finally:
                    over.append(place)
                await anyio.lowlevel.checkpoint()
                done.append(place)

        async with anyio.create_task_group() as group:
            with held(queue, path) as holding:
                for place in range(3):
                    group.start_soon(ask, place)
                    await until_async(lambda place=place: queue.pending(path) == place + 1)
                if timing == "queued":
                    scopes[1].cancel()
                    await until_async(lambda: queue.pending(path) == 2)
                    go_on.set()
                    holding.release()
                else:
                    holding.release()
                    await until_async(saving.is_set)
                    scopes[1].cancel()
                    for _ in range(5):
                        await anyio.lowlevel.checkpoint()
                    go_on.set()  # the thread that saves has to run first: this task looks at once
                    assert over == [], "the cancellation comes after the save"
        return await store.read(), scopes[1].cancelled_caught, done

    monkeypatch.setattr(System, "rename", staticmethod(slow_replace))
    state, cancelled, done = run(main)
    assert cancelled
    assert sorted(done) == [0, 2]
    assert state == ([0, 2] if timing == "queued" else [0, 1, 2])


def test_cancelled_with_the_turn_just_handed_over_an_update_is_not_applied_and_passes_it_on(queue, path, run) -> None:
    async def main() -> list[int]:
        store: AsyncStore[list[int]] = AsyncStore(path, default=list, queue=queue)
        scopes = [anyio.CancelScope() for _ in range(3)]

        async def ask(place: int) -> None:
            with scopes[place]:
                await store.update(lambda state: state.append(place))

        async with anyio.create_task_group() as group:
            with held(queue, path) as holding:
                for place in range(3):
                    group.start_soon(ask, place)
                    await until_async(lambda place=place: queue.pending(path) == place + 1)
                holding.release()  # the first is named now, and its task has not run since
                scopes[0].cancel()
        return await store.read()

    assert run(main) == [1, 2]


@pytest.mark.parametrize("kind", ["leader", "follower"])
def test_a_bare_task_cancel_during_the_save_is_delivered_after_it(queue, path, kind, monkeypatch) -> None:
    saving, go_on = threading.Event(), threading.Event()
    real_replace = os.replace

    def slow_replace(source: str, target: str) -> None:
        saving.set()
        assert go_on.wait(20)
        real_replace(source, target)

    monkeypatch.setattr(System, "rename", staticmethod(slow_replace))
    victim = 0 if kind == "leader" else 1

    async def main() -> None:
        store: AsyncStore[list[int]] = AsyncStore(path, default=list, queue=queue)
        with held(queue, path) as holding:
            tasks = []
            for place in range(2):
                tasks.append(asyncio.create_task(store.update(lambda state, place=place: state.append(place))))
                await until_async(lambda place=place: queue.pending(path) == place + 1)
            holding.release()
            await until_async(saving.is_set)
            for _ in range(3):
                tasks[victim].cancel("enough")
                await asyncio.sleep(0)
            assert not tasks[victim].done()
            go_on.set()
            with pytest.raises(asyncio.CancelledError):
                await tasks[victim]
            await tasks[1 - victim]
        assert await store.read() == [0, 1]
        await store.update(lambda state: state.append(2), timeout=1)

    asyncio.run(main())


def test_the_save_that_fails_fails_everyone_with_an_error_of_their_own(
    queue: PerStoreWriterQueue, path: Path, monkeypatch
) -> None:
    store = Store(path, queue=queue)
    store.update(lambda state: state.update(old=1))
    before = path.read_bytes()

    def no_space(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(System, "flush", staticmethod(no_space))
    monkeypatch.setattr(System, "flush_folder", staticmethod(no_space))
    workers = together(
        queue,
        path,
        *(lambda place=place: store.update(lambda state: state.update({str(place): 1})) for place in range(4)),
    )
    errors = [worker.error for worker in workers]
    assert all(isinstance(error, OSError) and error.errno == 28 and str(path) in str(error) for error in errors)
    assert len({id(error) for error in errors}) == 4
    assert path.read_bytes() == before
    monkeypatch.undo()
    store.update(lambda state: state.update(new=1))
    assert store.read() == {"old": 1, "new": 1}


@attrs.frozen
class _Losing(InProcess):
    """A lock that is lost at the first commits, and comes back."""

    left: list[int] = attrs.field(factory=lambda: [1], eq=False)

    def attempt(self, path: str, label: str | None) -> Any:
        return _LosingHold(super().attempt(path, label), path, self.left)


class _LosingHold:
    def __init__(self, hold: Any, path: str, left: list[int]) -> None:
        self._hold, self._path, self._left = hold, path, left

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hold, name)

    def check(self) -> None:
        if self._left[0]:
            self._left[0] -= 1
            raise LockLost("lost, for this test", path=self._path, owner=None)

    @contextlib.contextmanager
    def fence(self) -> Iterator[None]:
        self.check()
        yield


def test_a_lost_turn_is_taken_again_and_the_functions_run_on_fresh_state(path: Path) -> None:
    queue = PerStoreWriterQueue(lock=_Losing(), timeout=20.0)
    store = Store(path, queue=queue)
    runs: list[dict[str, int]] = []

    def fn(state: dict[str, int]) -> None:
        runs.append(dict(state))
        state["n"] = state.get("n", 0) + 1

    workers = together(queue, path, *[lambda: store.update(fn)] * 3)
    for worker in workers:
        worker.result()
    assert store.read() == {"n": 3}
    assert len(runs) > 3


def test_one_that_failed_in_a_batch_that_never_happened_may_succeed_in_the_next(path: Path) -> None:
    """Its first error belongs to a state that was never committed."""
    lock = _Losing()
    queue = PerStoreWriterQueue(lock=lock, timeout=20.0)
    store = Store(path, queue=queue)
    tries: list[int] = []

    def fails_once(state: dict[str, int]) -> str:
        tries.append(1)
        if len(tries) == 1:
            raise ZeroDivisionError
        state["second try"] = 1
        return "done"

    workers = together(
        queue, path, lambda: store.update(lambda state: state.update(a=1)), lambda: store.update(fails_once)
    )
    workers[0].result()
    if workers[1].error is None:
        assert workers[1].result() == "done"
        assert store.read() == {"a": 1, "second try": 1}
    else:
        assert isinstance(workers[1].error, ZeroDivisionError)
        assert store.read() == {"a": 1}


def test_the_leaders_own_first_error_is_forgotten_too(path: Path) -> None:
    queue = PerStoreWriterQueue(lock=_Losing(), timeout=20.0)
    store = Store(path, queue=queue)
    tries: list[int] = []

    def fails_once(state: dict[str, int]) -> str:
        tries.append(1)
        if len(tries) == 1:
            raise ZeroDivisionError
        state["second try"] = 1
        return "done"

    try:
        assert store.update(fails_once) == "done"
    except ZeroDivisionError:
        assert store.read() == {}
    else:
        assert store.read() == {"second try": 1}


class _Uncopyable(Exception):
    def __init__(self, first: int, second: int) -> None:
        super().__init__("cannot be copied")


def test_an_error_that_cannot_be_copied_strands_nobody(queue: PerStoreWriterQueue, path: Path) -> None:
    @attrs.frozen
    class Codec(JsonCodec):
        def decode(self, data: bytes) -> Any:
            if b"odd" in data:
                raise _Uncopyable(1, 2)
            return super().decode(data)

    store = Store(path, queue=queue, codec=Codec(shape=dict))
    workers = together(
        queue,
        path,
        lambda: store.update(lambda state: state.update(odd=1)),
        lambda: store.update(lambda state: 1 / 0),
        lambda: store.update(lambda state: state.update(b=1)),
    )
    assert all(worker.error is not None for worker in workers[1:2])
    with queue.turn(path, timeout=0):
        pass


def test_a_lock_that_cannot_say_whether_it_may_be_passed_on_does_not_stop_the_line(path: Path) -> None:
    class Broken(InProcess):
        def attempt(self, path: str, label: str | None) -> Any:
            hold = super().attempt(path, label)

            class Hold:
                def may_pass(self) -> bool:
                    raise ZeroDivisionError

                def __getattr__(self, name: str) -> Any:
                    return getattr(hold, name)

            return Hold()

    queue = PerStoreWriterQueue(lock=Broken(), timeout=20.0)

    def ask() -> None:
        with queue.turn(path):
            pass

    with held(queue, path) as holding:
        workers = lined_up(queue, path, ask, ask)
        with contextlib.suppress(ZeroDivisionError):
            holding.release()
        for worker in workers:
            with contextlib.suppress(ZeroDivisionError):
                worker.result()
        with contextlib.suppress(ZeroDivisionError), queue.turn(path, timeout=0):
            pass
    assert queue.pending(path) == 0


def test_expectations_are_judged_by_what_is_on_disk(queue: PerStoreWriterQueue, path: Path) -> None:
    store = Store(path, queue=queue)
    store.update(lambda state: state.update(n=0))
    _, version = store.read_versioned()
    workers = together(
        queue,
        path,
        lambda: store.update(lambda state: state.update(a=1), expect=version),
        lambda: store.update(lambda state: state.update(b=1), expect=version),
        lambda: store.update(lambda state: state.update(c=1)),
    )
    assert workers[0].error is None
    assert isinstance(workers[1].error, VersionConflict)
    assert workers[2].error is None
    assert store.read() == {"n": 0, "a": 1, "c": 1}


def test_many_callers_of_every_kind_lose_nothing(queue: PerStoreWriterQueue, path: Path) -> None:
    """Threads, asyncio and trio tasks, with failures among them: every acknowledged update is there, no other one."""
    store = Store(path, queue=queue, durability="process")
    astore = AsyncStore(path, queue=queue, durability="process")
    acknowledged: set[str] = set()
    start = threading.Barrier(5)

    def change(name: str) -> Any:
        def fn(state: dict[str, int]) -> None:
            state[name] = 1
            if name.endswith("7"):
                raise ZeroDivisionError

        return fn

    def thread(who: str) -> None:
        start.wait()
        for place in range(40):
            name = f"{who} {place}"
            with contextlib.suppress(ZeroDivisionError):
                store.update(change(name))
                acknowledged.add(name)

    async def tasks(who: str) -> None:
        async def one(name: str) -> None:
            with contextlib.suppress(ZeroDivisionError):
                await astore.update(change(name))
                acknowledged.add(name)

        start.wait()
        for round_ in range(10):
            async with anyio.create_task_group() as group:
                for place in range(10):
                    group.start_soon(one, f"{who} {round_} {place}")

    workers = [Worker(lambda who=who: thread(who)) for who in ("t1", "t2", "t3")]
    workers += [Worker(lambda: asyncio.run(tasks("asyncio"))), Worker(lambda: trio.run(tasks, "trio"))]
    for worker in workers:
        worker.result()
    assert set(store.read()) == acknowledged
    assert len(acknowledged) == 3 * 36 + 2 * 90


def test_a_waiter_counts_until_its_own_function_is_applied(queue: PerStoreWriterQueue, path: Path) -> None:
    store = Store(path, queue=queue)
    in_fn, leave = threading.Event(), threading.Event()

    def slow(state: dict[str, int]) -> None:
        in_fn.set()
        assert leave.wait(20)

    def last(state: dict[str, int]) -> int:
        return queue.pending(path)

    with held(queue, path) as holding:
        workers = lined_up(queue, path, lambda: store.update(slow), lambda: store.update(last))
        holding.release()
        assert in_fn.wait(20)
        assert queue.pending(path) == 1
        leave.set()
        assert [worker.result() for worker in workers] == [None, 0]
