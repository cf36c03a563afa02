"""Stores whose document is no file: everything that a store promises, and not a look at the file system."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import anyio
import pytest
from click.testing import CliRunner

from helpers.lines import Worker, held, lined_up
from helpers.memory import Document, MemoryBackend
from helpers.no_files import files_forbidden
from helpers.waiting import until, until_async, wait_for
from storewriter import (
    AsyncStore,
    CommitUncertain,
    LockLost,
    LockTimeout,
    PerStoreWriterQueue,
    ReentrantTurn,
    Store,
    StoreCorrupt,
    StrategyMismatch,
    VersionConflict,
    events,
)
from storewriter._backends import addresses
from storewriter._commits import batch
from storewriter._turns import line
from storewriter._turns.line import Ticket
from storewriter.cli.status import status
from storewriter.errors import DocumentChanged

FACES = ("threads", "asyncio", "trio")


@pytest.fixture(autouse=True)
def _no_files(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with files_forbidden(monkeypatch):
        yield


@pytest.fixture(autouse=True)
def _batches_have_time() -> Iterator[None]:
    """However busy the processor is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "APPLY_SECONDS", 60.0)
        yield


class Face:
    """A store, used from plain threads or from tasks of one loop; the calls are the same."""

    def __init__(self, kind: str, backend: Any, queue: PerStoreWriterQueue, **settings: Any) -> None:
        self.kind = kind
        self.backend = backend
        self.queue = queue
        face = Store if kind == "threads" else AsyncStore
        self.store: Any = face(backend, queue=queue, **settings)

    def call(self, name: str, *args: Any, **options: Any) -> Any:
        """One method of the store."""
        if self.kind == "threads":
            return getattr(self.store, name)(*args, **options)

        async def main() -> Any:
            return await getattr(self.store, name)(*args, **options)

        return anyio.run(main, backend=self.kind)

    def within(self, body: Callable[[Any], Any]) -> Any:
        """A transaction around `body`."""
        if self.kind == "threads":
            with self.store.transaction() as tx:
                return body(tx)

        async def main() -> Any:
            async with self.store.transaction() as tx:
                return body(tx)

        return anyio.run(main, backend=self.kind)

    def together(self, *changes: Callable[[Any], Any]) -> list[Any]:
        """Updates that stand in line behind another turn: the result of each, or its error."""
        if self.kind == "threads":
            with held(self.queue, self.backend) as holding:
                calls = [lambda change=change: self.store.update(change) for change in changes]  # type: ignore[misc]
                workers = lined_up(self.queue, self.backend, *calls)
                holding.release()
            return [worker.error or worker.result() for worker in workers if worker.wait() is None]

        outcomes: list[Any] = [None] * len(changes)

        async def one(place: int) -> None:
            try:
                outcomes[place] = await self.store.update(changes[place])
            except Exception as error:  # noqa: BLE001 - it is the outcome
                outcomes[place] = error

        async def main() -> None:
            with held(self.queue, self.backend) as holding:
                async with anyio.create_task_group() as tasks:
                    for place in range(len(changes)):
                        tasks.start_soon(one, place)
                        await until_async(lambda place=place: self.queue.pending(self.backend) > place)  # type: ignore[misc]
                    holding.release()

        anyio.run(main, backend=self.kind)
        return outcomes


@pytest.fixture(params=FACES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[True, False], ids=["quick", "far"])
def is_quick(request: pytest.FixtureRequest) -> bool:
    """Whether the lock and the document may be asked on an event loop, or are behind a network."""
    return bool(request.param)


@pytest.fixture
def document() -> Document:
    return Document(backups=3)


@pytest.fixture
def face(kind: str, document: Document, queue: PerStoreWriterQueue, is_quick: bool) -> Face:
    return Face(kind, MemoryBackend(document, is_quick=is_quick), queue)


def state_of(document: Document) -> Any:
    return json.loads(document.data or b"null")


def putting(key: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    def fn(state: dict[str, Any]) -> str:
        state[key] = value
        return key

    return fn


def once(action: Callable[[], None]) -> Callable[[], None]:
    """A hook that does something at its first call only."""
    left = [action]

    def hook() -> None:
        while left:
            left.pop()()

    return hook


def raising(error: BaseException) -> Callable[[], None]:
    def hook() -> None:
        raise error

    return hook


# -- what a store does -------------------------------------------------------------------------------------------------


def test_reads_updates_and_transforms(face: Face, document: Document) -> None:
    assert face.call("read") == {}
    assert face.call("update", putting("a", 1)) == "a"
    assert face.call("transform", lambda state: {**state, "b": 2}) == {"a": 1, "b": 2}
    assert face.call("read") == {"a": 1, "b": 2} == state_of(document)
    assert (document.commits, document.settled) == (2, 2)


def test_what_changes_nothing_is_confirmed_and_not_written(face: Face, document: Document) -> None:
    face.call("update", putting("a", 1))
    face.call("update", putting("a", 1))
    assert (document.commits, document.confirmed) == (1, 1)


def test_transactions_commit_discard_and_give_up(face: Face, document: Document) -> None:
    def put(tx: Any) -> None:
        tx.state["a"] = 1

    def put_and_discard(tx: Any) -> None:
        tx.state["a"] = 2
        tx.discard()

    def put_and_fail(tx: Any) -> None:
        tx.state["a"] = 3
        raise KeyError

    face.within(put)
    face.within(put_and_discard)
    with pytest.raises(KeyError):
        face.within(put_and_fail)
    assert state_of(document) == {"a": 1}
    assert document.holder is None


def test_an_expected_version_is_the_contents(face: Face, document: Document) -> None:
    state, version = face.call("read_versioned")
    assert state == {}
    face.call("update", putting("a", 1), expect=version)
    with pytest.raises(VersionConflict):
        face.call("update", putting("a", 2), expect=version)
    document.write(b"")
    document.write(b'{"a":1}')  # the same content by another commit
    _, again = Face("threads", MemoryBackend(Document(b'{"a":1}')), face.queue).call("read_versioned")
    assert face.call("read_versioned")[1] == again


def test_updates_in_line_are_one_load_and_one_commit(face: Face, document: Document) -> None:
    outcomes = face.together(*(putting(str(place), place) for place in range(6)))
    assert outcomes == [str(place) for place in range(6)]
    assert list(state_of(document)) == outcomes
    assert (document.loads, document.commits, document.settled) == (1, 1, 1)


def test_one_that_fails_changes_nothing_for_its_neighbours(face: Face, document: Document) -> None:
    def fail(state: dict[str, Any]) -> None:
        state["b"] = object()

    a, b, c = face.together(putting("a", 1), fail, putting("c", 3))
    assert (a, c) == ("a", "c")
    assert isinstance(b, ValueError)
    assert state_of(document) == {"a": 1, "c": 3}


def test_an_async_function_has_a_turn_of_its_own(backend: str, document: Document, queue: PerStoreWriterQueue) -> None:
    face = Face(backend, MemoryBackend(document), queue)

    async def change(state: dict[str, Any]) -> str:
        await anyio.lowlevel.checkpoint()
        state["a"] = 1
        return "done"

    assert face.call("update", change) == "done"
    assert state_of(document) == {"a": 1}


def test_two_processes_lose_no_update(document: Document, is_quick: bool, queue: PerStoreWriterQueue) -> None:
    """Two backends with keys of their own meet at the document's lock only."""
    stores: list[Store[dict[str, Any]]] = [
        Store(MemoryBackend(document, is_quick=is_quick), queue=queue) for _ in range(2)
    ]

    def count(store: Store[dict[str, Any]], name: str) -> None:
        for _ in range(50):
            store.update(lambda state: state.update(n=state.get("n", 0) + 1, **{name: state.get(name, 0) + 1}))

    workers = [
        Worker(lambda store=store, name=name: count(store, name))  # type: ignore[misc]
        for name, store in zip("ab", stores, strict=True)
        for _ in range(2)
    ]
    for worker in workers:
        worker.result()
    assert state_of(document) == {"n": 200, "a": 100, "b": 100}


# -- turns -------------------------------------------------------------------------------------------------------------


def test_a_plain_turn_on_a_backend_excludes_its_store(queue: PerStoreWriterQueue, document: Document) -> None:
    backend = MemoryBackend(document)
    store: Store[Any] = Store(backend, queue=queue)
    with queue.turn(backend, label="by hand") as turn:
        assert turn.path == backend.key
        assert queue.owner(backend) is not None
        turn.check()
        with pytest.raises(ReentrantTurn):
            store.update(putting("a", 1))
    assert document.holder is None


def test_a_hold_of_a_plain_turn_goes_on_to_an_update(queue: PerStoreWriterQueue, document: Document) -> None:
    backend = MemoryBackend(document)
    store: Store[Any] = Store(backend, queue=queue)
    holds = []
    with held(queue, backend) as holding:
        (worker,) = lined_up(queue, backend, lambda: store.update(putting("a", 1)))
        holds.append(document.holder)
        document.before_commit = lambda: holds.append(document.holder)
        holding.release()
    worker.result()
    assert holds[0] is holds[1] is not None


def test_several_backends_are_taken_in_one_order(run: Callable[..., Any], queue: PerStoreWriterQueue) -> None:
    first, second = MemoryBackend(Document()), MemoryBackend(Document())

    async def main() -> None:
        async with queue.turn(second, first, second) as turn:
            assert turn.paths == tuple(sorted((first.key, second.key)))
            assert first.document.holder is not None
            assert second.document.holder is not None

    run(main)
    assert first.document.holder is second.document.holder is None


def test_a_timeout_says_where_the_lock_is_without_a_lock_file(kind: str, is_quick: bool, document: Document) -> None:
    queue = PerStoreWriterQueue(timeout=0.05)
    face = Face(kind, MemoryBackend(document, is_quick=is_quick), queue)
    other = MemoryBackend(document)
    with queue.turn(other), pytest.raises(LockTimeout, match="lock in memory") as raised:
        face.call("update", putting("a", 1))
    assert raised.value.path == face.backend.key
    assert document.commits == 0


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_a_lost_answer_is_told_and_nothing_runs_twice(face: Face, document: Document) -> None:
    """The commit has happened, and its answer did not come back: the members of the batch cannot know."""
    document.after_commit = once(raising(CommitUncertain("no answer", path=face.backend.key)))
    outcomes = face.together(putting("a", 1), putting("b", 2))
    assert [type(outcome) for outcome in outcomes] == [CommitUncertain, CommitUncertain]
    assert outcomes[0] is not outcomes[1]
    assert document.commits == 1
    assert face.call("read") == {"a": 1, "b": 2}


def test_a_lost_turn_begins_anew_and_is_applied_once(face: Face, document: Document) -> None:
    document.write(b'{"n":0}')
    document.before_commit = once(document.take_away)
    calls = []

    def count(state: dict[str, Any]) -> None:
        calls.append(state["n"])
        state["n"] += 1

    face.call("update", count)
    assert calls == [0, 0]
    assert state_of(document) == {"n": 1}


def test_a_transaction_whose_turn_is_lost_writes_nothing(face: Face, document: Document) -> None:
    def put(tx: Any) -> None:
        tx.state["a"] = 1
        document.take_away()
        with pytest.raises(LockLost):
            tx.check()

    with pytest.raises(LockLost):
        face.within(put)
    assert document.data is None


def test_a_document_that_was_changed_meanwhile_begins_anew(face: Face, document: Document) -> None:
    document.before_commit = once(lambda: document.write(b'{"foreign":1}'))
    face.call("update", putting("a", 1))
    assert state_of(document) == {"foreign": 1, "a": 1}


def test_a_document_that_changes_again_and_again_is_told(face: Face, document: Document) -> None:
    document.before_commit = lambda: document.write(b"{}")
    with pytest.raises(DocumentChanged):
        face.call("update", putting("a", 1))


def test_what_could_not_be_settled_is_uncertain(face: Face, document: Document) -> None:
    document.at_settle = once(raising(CommitUncertain("not flushed", path=face.backend.key)))
    with pytest.raises(CommitUncertain):
        face.call("update", putting("a", 1))
    assert state_of(document) == {"a": 1}


@pytest.mark.parametrize("hook", ["before_commit", "after_commit"])
def test_an_interrupt_around_the_commit_is_raised_and_leaves_one_answer(
    hook: str, document: Document, queue: PerStoreWriterQueue
) -> None:
    """Before it, the update is taken back; after it, it stays: `landed` is asked, and nothing is committed twice."""
    store: Store[Any] = Store(MemoryBackend(document), queue=queue)
    setattr(document, hook, once(raising(KeyboardInterrupt())))
    with pytest.raises(KeyboardInterrupt):
        store.update(putting("a", 1))
    assert document.commits == document.settled == (hook == "after_commit")
    assert store.read() == ({"a": 1} if hook == "after_commit" else {})
    assert document.holder is None


def test_a_commit_that_ends_the_turn_lets_the_next_one_take_it_anew(kind: str, queue: PerStoreWriterQueue) -> None:
    document = Document(ends_turn=True)
    face = Face(kind, MemoryBackend(document), queue)
    assert face.together(*(putting(str(place), place) for place in range(4))) == ["0", "1", "2", "3"]
    face.call("update", putting("4", 4))
    assert list(state_of(document)) == ["0", "1", "2", "3", "4"]


def test_a_function_that_takes_long_is_made_anew_if_the_part_before_it_has_ended_the_turn(
    queue: PerStoreWriterQueue,
) -> None:
    document = Document(ends_turn=True)
    backend = MemoryBackend(document)
    store: Store[dict[str, Any]] = Store(backend, queue=queue)
    runs, go_on, states = threading.Event(), threading.Event(), []

    def slow(state: dict[str, Any]) -> None:
        states.append(dict(state))
        runs.set()
        wait_for(go_on)
        state["slow"] = 1

    with held(queue, backend) as holding:
        first, second = lined_up(queue, backend, lambda: store.update(putting("quick", 1)), lambda: store.update(slow))
        holding.release()
    wait_for(runs)
    open_batch = cast("Any", cast("Ticket", line.lanes[backend.key].head).batch)
    open_batch._until = 0.0  # its time is over
    open_batch.draft.newest.waiter.wake()
    assert first.result() == "quick"  # saved by its own thread, although the other function still runs
    assert state_of(document) == {"quick": 1}
    go_on.set()
    second.result()
    assert state_of(document) == {"quick": 1, "slow": 1}
    assert states == [{"quick": 1}, {"quick": 1}]


# -- watching ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("listens", [True, False], ids=["told", "looking"])
def test_a_watch_is_told_what_another_process_commits(face: Face, document: Document, listens: bool) -> None:
    other: Store[Any] = Store(MemoryBackend(document), queue=face.queue)
    wanted = [{}, {"n": 1}, {"n": 2}]
    if face.kind == "threads":
        with face.store.watch(events=listens) as states:
            told = [next(states)]
            for number in (1, 2):
                other.update(putting("n", number))
                told.append(next(states))
        assert told == wanted
    else:

        async def main() -> None:
            async with face.store.watch(events=listens) as states:
                told = [await anext(states)]
                for number in (1, 2):
                    other.update(putting("n", number))
                    told.append(await anext(states))
            assert told == wanted

        anyio.run(main, backend=face.kind)
    assert document.listeners == []


# -- recovery ----------------------------------------------------------------------------------------------------------


def test_a_corrupt_document_says_what_recovery_would_do_and_is_left_alone(face: Face, document: Document) -> None:
    document.write(b'{"a":')
    with pytest.raises(StoreCorrupt, match="move it to aside 1 and begin empty") as raised:
        face.call("update", putting("a", 1))
    assert raised.value.path == face.backend.key
    assert document.data == b'{"a":'
    document.backups = [b"[", b'{"old":1}']
    with pytest.raises(StoreCorrupt, match="restore the newest good backup, backup 2"):
        face.call("read")


def test_recovery_restores_the_newest_good_backup(face: Face, document: Document) -> None:
    document.write(b'{"a":')
    document.backups = [b"[", b'{"old":1}']
    recovery = face.call("recover")
    assert (recovery.outcome, recovery.moved_to, recovery.restored_from) == ("restored", "aside 1", "backup 2")
    assert document.aside == {"aside 1": b'{"a":'}
    assert face.call("read") == {"old": 1}
    assert face.call("recover").outcome == "healthy"


def test_recovery_without_a_backup_begins_empty(face: Face, document: Document) -> None:
    document.write(b"\0\0\0")
    assert face.call("recover").outcome == "reset"
    assert face.call("read") == {}


def test_a_store_that_restores_does_so_at_the_first_update(kind: str, queue: PerStoreWriterQueue) -> None:
    document = Document(b'{"a":', backups=1)
    document.backups = [b'{"old":1}']
    face = Face(kind, MemoryBackend(document), queue, on_corrupt="restore")
    seen: list[events.Event] = []
    end = events.subscribe(seen.append)
    try:
        face.call("update", putting("a", 1))
    finally:
        end()
    assert state_of(document) == {"old": 1, "a": 1}
    assert any(isinstance(event, events.StoreRecovered) for event in seen)


def test_commits_keep_backups(face: Face, document: Document) -> None:
    for number in range(3):
        face.call("update", putting("n", number))
    assert [json.loads(one) for one in document.backups] == [{"n": 1}, {"n": 0}]


# -- which backend -----------------------------------------------------------------------------------------------------


def test_a_url_names_an_engine_that_is_imported_when_it_is_needed(
    queue: PerStoreWriterQueue, document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[str, str, int]] = []
    backend = MemoryBackend(document)

    class Engine:
        @staticmethod
        def from_url(url: str, *, durability: str, backups: int) -> MemoryBackend:
            made.append((url, durability, backups))
            return backend

    monkeypatch.setitem(addresses.ENGINES, "memory", "memory_engine")
    monkeypatch.setattr(addresses, "import_module", lambda name: {"memory_engine": Engine}[name])
    store: Store[Any] = Store("memory://x", backups=2, queue=queue)
    store.update(putting("a", 1))
    assert store.path == backend.key
    with queue.turn("memory://x") as turn:
        assert turn.path == backend.key
    assert made == [("memory://x", "power", 2), ("memory://x", "power", 0)]


def test_the_command_shows_what_the_engine_says(document: Document, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = MemoryBackend(document)
    engine = SimpleNamespace(from_url=lambda url, **settings: backend)
    monkeypatch.setitem(addresses.ENGINES, "memory", "memory_engine")
    monkeypatch.setattr(addresses, "import_module", lambda name: engine)
    told = CliRunner().invoke(status, ["memory://x"])
    assert told.output.split() == ["store", backend.key]
    told = CliRunner().invoke(status, ["--json", "memory://x"])
    assert json.loads(told.output) == {"path": backend.key}


def test_an_unknown_scheme_is_refused(queue: PerStoreWriterQueue) -> None:
    for use in (Store, AsyncStore, queue.pending):
        with pytest.raises(ValueError, match="no store is known for nowhere://"):
            use("nowhere://x")
    with pytest.raises(ValueError, match="no store is known for nowhere://"), queue.turn("nowhere://x"):
        pass


@pytest.mark.parametrize(
    "settings", [{"mode": 0o640}, {"backups": 1}, {"in_place": True}, {"durability": "process"}, {"lock": "flock"}]
)
def test_settings_of_files_are_refused_for_a_backend(settings: dict[str, Any], document: Document) -> None:
    with pytest.raises(TypeError, match="is for documents in files"):
        Store(MemoryBackend(document), **settings)


@pytest.mark.parametrize("wrong", [None, 7, object()])
def test_what_is_no_backend_is_refused(wrong: Any, queue: PerStoreWriterQueue) -> None:
    with pytest.raises(TypeError, match="a path, a URL or a backend"):
        Store(wrong)
    with pytest.raises(TypeError, match="a path, a URL or a backend"), queue.turn(wrong):
        pass


def test_two_locks_under_one_key_are_a_mismatch(queue: PerStoreWriterQueue, document: Document) -> None:
    backend, other = MemoryBackend(document), MemoryBackend(Document())
    other.lock.key = backend.key
    other.lock.settings = "another kind"
    with held(queue, backend), pytest.raises(StrategyMismatch), queue.turn(other):
        pass


def test_stores_of_one_backend_share_batches(document: Document, queue: PerStoreWriterQueue) -> None:
    backend = MemoryBackend(document)
    stores: list[Store[Any]] = [Store(backend, queue=queue) for _ in range(3)]
    with held(queue, backend) as holding:
        workers = lined_up(
            queue, backend, *(lambda store=store: store.update(putting("a", id(store))) for store in stores)
        )
        holding.release()
    for worker in workers:
        worker.result()
    until(lambda: document.commits == 1)
