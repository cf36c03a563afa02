"""Updates that begin anew keep their place in the line: before all that came after them, in their own order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from helpers.lines import held, lined_up
from storewriter import AsyncStore, DocumentChanged, LockLost, PerStoreWriterQueue, SaveInterrupted, Store
from storewriter._backends.files import FileBackend
from storewriter._commits import batch, leading
from storewriter._commits.draft import TRIES
from storewriter.locks._marker_hold import MarkerHold

NAMES = ("a", "b", "c")


@pytest.fixture(autouse=True)
def one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is."""
    monkeypatch.setattr(batch, "APPLY_SECONDS", 60.0)


def a_stranger_writes(path: Path) -> None:
    path.write_text('{"stranger": 1}')


def the_lock_file_is_deleted(path: Path) -> None:
    path.with_name(f".{path.name}.lock").unlink()


MISFORTUNES = [a_stranger_writes, the_lock_file_is_deleted]
Misfortune = Callable[[Path], None]


class Updates:
    """The functions of three callers. In the first run of the last one, something happens to the store."""

    def __init__(self, path: Path, misfortune: Misfortune, times: int = 1) -> None:
        self.path = path
        self.misfortune = misfortune
        self.left = times
        self.order: list[str] = []
        self.threads: dict[str, set[int]] = {}

    def apply(self, name: str, state: dict[str, Any]) -> str:
        self.order.append(name)
        self.threads.setdefault(name, set()).add(threading.get_ident())
        if name == NAMES[-1] and self.left:
            self.left -= 1
            self.misfortune(self.path)
        state[name] = state.get(name, 0) + 1
        return name


@pytest.mark.parametrize("misfortune", MISFORTUNES)
def test_threads_begin_anew_before_the_next_turn(
    queue: PerStoreWriterQueue, path: Path, misfortune: Misfortune
) -> None:
    path.write_text("{}")
    store: Store[Any] = Store(path, queue=queue)
    updates = Updates(path, misfortune)

    def turn() -> None:
        with queue.turn(path):
            updates.order.append("turn")

    with held(queue, path) as holding:
        workers = lined_up(queue, path, *(partial(store.update, partial(updates.apply, name)) for name in NAMES), turn)
        holding.release()
        assert [worker.result() for worker in workers[:-1]] == list(NAMES)
        workers[-1].result()
    assert updates.order == [*NAMES, *NAMES, "turn"]
    assert [len(threads) for threads in updates.threads.values()] == [1, 1, 1]
    assert {name: store.read()[name] for name in NAMES} == dict.fromkeys(NAMES, 1)


@pytest.mark.parametrize("misfortune", MISFORTUNES)
def test_tasks_begin_anew_before_the_next_turn(
    queue: PerStoreWriterQueue, path: Path, misfortune: Misfortune, run: Any
) -> None:
    path.write_text("{}")
    store: AsyncStore[Any] = AsyncStore(path, queue=queue)
    updates = Updates(path, misfortune)

    async def turn() -> None:
        async with queue.turn(path):
            updates.order.append("turn")

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            async with queue.turn(path):
                calls: list[Any] = [partial(store.update, partial(updates.apply, name)) for name in NAMES]
                for place, call in enumerate([*calls, turn], 1):
                    tasks.start_soon(call)
                    while queue.pending(path) < place:
                        await anyio.sleep(0)

    run(main)
    assert updates.order == [*NAMES, *NAMES, "turn"]
    assert {name: Store[Any](path, queue=queue).read()[name] for name in NAMES} == dict.fromkeys(NAMES, 1)


@pytest.mark.parametrize(("misfortune", "error"), list(zip(MISFORTUNES, [DocumentChanged, LockLost], strict=True)))
def test_after_the_last_try_no_caller_is_in_the_line(
    queue: PerStoreWriterQueue, path: Path, misfortune: Misfortune, error: type[Exception]
) -> None:
    path.write_text("{}")
    store: Store[Any] = Store(path, queue=queue)
    updates = Updates(path, misfortune, times=TRIES)
    with held(queue, path) as holding:
        workers = lined_up(queue, path, *(partial(store.update, partial(updates.apply, name)) for name in NAMES))
        holding.release()
        for worker in workers:
            worker.wait()
    assert [type(worker.error) for worker in workers] == [error] * 3
    assert updates.order == [*NAMES] * TRIES
    assert not set(NAMES) & set(store.read())
    with queue.turn(path, timeout=0):
        pass


@pytest.mark.parametrize("victim", [0, 1], ids=["leader", "follower"])
@pytest.mark.parametrize("misfortune", MISFORTUNES)
def test_a_task_that_was_cancelled_meanwhile_leaves_the_line(
    queue: PerStoreWriterQueue, path: Path, misfortune: Misfortune, victim: int, run: Any
) -> None:
    path.write_text("{}")
    store: AsyncStore[Any] = AsyncStore(path, queue=queue)
    updates = Updates(path, misfortune)

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            scopes = [anyio.CancelScope() for _ in NAMES]

            def apply(name: str, state: dict[str, Any]) -> None:
                updates.apply(name, state)
                if name == NAMES[-1]:
                    scopes[victim].cancel()

            async def update(name: str, scope: anyio.CancelScope) -> None:
                with scope:
                    await store.update(partial(apply, name))

            async with queue.turn(path):
                for place, (name, scope) in enumerate(zip(NAMES, scopes, strict=True), 1):
                    tasks.start_soon(update, name, scope)
                    while queue.pending(path) < place:
                        await anyio.sleep(0)
        async with queue.turn(path, timeout=0):
            pass

    run(main)
    assert updates.order[:3] == list(NAMES)
    found = Store[Any](path, queue=queue).read()
    for place, name in enumerate(NAMES):
        if place != victim:
            assert (updates.order.count(name), found[name]) == (2, 1)
    assert found.get(NAMES[victim], 0) == updates.order.count(NAMES[victim]) - 1


def noted_releases(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The threads in which markers are released from now on."""
    threads: list[int] = []
    release = MarkerHold.release

    def noted(hold: MarkerHold) -> None:
        threads.append(threading.get_ident())
        release(hold)

    monkeypatch.setattr(MarkerHold, "release", noted)
    return threads


def test_a_leader_that_was_cancelled_meanwhile_gives_a_slow_lock_back_off_its_loop(
    path: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the next turn already, because it stands before all others."""
    path.write_text("{}")
    store: AsyncStore[Any] = AsyncStore(path, queue=PerStoreWriterQueue("marker", timeout=20))
    released_in = noted_releases(monkeypatch)

    async def main() -> None:
        def apply(state: dict[str, Any]) -> None:
            a_stranger_writes(path)
            scope.cancel()
            state["never"] = 1

        with anyio.CancelScope() as scope:
            await store.update(apply)
        assert scope.cancelled_caught

    run(main)
    assert released_in
    assert threading.get_ident() not in released_in
    assert store_is_free(path)


def test_a_leader_that_is_interrupted_before_it_applies_gives_a_slow_lock_back_off_its_loop(
    path: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store: AsyncStore[Any] = AsyncStore(path, queue=PerStoreWriterQueue("marker", timeout=20))
    released_in = noted_releases(monkeypatch)

    async def interrupted(loop: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(leading, "pause", interrupted)

    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await store.update(dict)

    run(main)
    assert len(released_in) == 1
    assert threading.get_ident() not in released_in
    assert store_is_free(path)


def test_a_task_whose_turn_is_lost_before_a_large_document_is_read_begins_anew(
    queue: PerStoreWriterQueue, path: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read in a thread, and what that raises is no answer yet."""
    path.write_text("{}")
    load = FileBackend.load
    loads: list[bool] = []

    def lost_once(backend: FileBackend, hold: Any) -> Any:
        loads.append(True)
        if len(loads) <= 2:  # in the thread, and at the function of the same turn
            raise LockLost("the turn was lost", path=str(path), owner=None)
        return load(backend, hold)

    monkeypatch.setattr(FileBackend, "loads_quickly", lambda backend, hold: False)
    monkeypatch.setattr(FileBackend, "load", lost_once)

    async def main() -> None:
        await AsyncStore[Any](path, queue=queue).update(lambda state: state.update(a=1))

    run(main)
    assert Store[Any](path).read() == {"a": 1}


def store_is_free(path: Path) -> bool:
    with PerStoreWriterQueue("marker").turn(path, timeout=0):
        return True


def test_an_update_whose_save_is_interrupted_again_and_again_is_told_what_happened(
    queue: PerStoreWriterQueue, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of two threads saves for both; what it takes back of the first is made again by itself, 7 times."""
    path.write_text("{}")
    store: Store[Any] = Store(path, queue=queue)
    save = batch.Batch._save

    def loses_it(self: batch.Batch, ticket: Any) -> None:
        self.is_complete = False
        for member in self.members():
            member.payload.is_applied = False
        self.draft.take_back()
        save(self, ticket)

    monkeypatch.setattr(batch.Batch, "_save", loses_it)
    runs: list[int] = []
    with pytest.raises(SaveInterrupted, match=rf"{path} was not changed: the thread .* {TRIES} times in a row") as told:
        store.update(lambda state: runs.append(1))
    assert told.value.path == str(path)
    assert len(runs) == TRIES
    assert path.read_text() == "{}"


@pytest.mark.parametrize("misfortune", MISFORTUNES)
@pytest.mark.parametrize("refusal", [ValueError, KeyboardInterrupt])
def test_a_caller_that_has_its_own_error_is_not_put_back(
    queue: PerStoreWriterQueue, path: Path, misfortune: Misfortune, refusal: type[BaseException]
) -> None:
    # It has gone by then: nothing would ever end the turn that it was given.
    path.write_text("{}")
    store: Store[Any] = Store(path, queue=queue)
    updates = Updates(path, misfortune)
    has_gone = threading.Event()

    def refuse(state: dict[str, Any]) -> None:
        raise refusal

    def call() -> None:
        with pytest.raises(refusal):
            store.update(refuse)
        has_gone.set()

    def behind_it(state: dict[str, Any]) -> str:
        assert has_gone.wait(10)
        return updates.apply(NAMES[-1], state)

    with held(queue, path) as holding:
        workers = lined_up(queue, path, call, partial(store.update, behind_it))
        holding.release()
        workers[0].result()
        assert workers[1].result() == NAMES[-1]
    assert updates.order == [NAMES[-1]] * 2
    assert store.update(lambda state: state[NAMES[-1]], timeout=5) == 1
