"""The flushes that the threads of one process share: at most one under way and one due, and each answers the truth.

Both ways to make a document durable: flushed after the rename by its own file, or by its folder.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest

from helpers.lines import Worker
from helpers.waiting import until, wait_for
from storewriter import CommitUncertain, PerStoreWriterQueue, Store
from storewriter._backends.files import Flushes
from storewriter._commits.batch import Batch
from storewriter._commits.draft import new_request
from storewriter._platform import threads
from storewriter._platform.journals import Journal
from storewriter._turns import marks
from storewriter._turns.ending import Frame, release_in_this_thread, tie_to
from storewriter._turns.entering import enter
from storewriter._turns.line import new_ticket
from storewriter.locks import Flock
from storewriter.testing import Call, System, intercepted


@attrs.define(eq=False)
class Disk:
    """Flushes after a rename wait until they are let go, and fail if they are told to."""

    is_ordered: bool
    renames: int = 0
    flushes: int = 0
    """Begun after a rename."""
    ended: int = 0
    failing: set[int] = attrs.field(factory=set)
    """Which of them fail, from 1."""
    allowed: threading.Semaphore = attrs.field(factory=lambda: threading.Semaphore(0))
    mutex: threading.Lock = attrs.field(factory=threading.Lock)

    def __call__(self, call: Call, proceed: Callable[[], Any]) -> Any:
        if call.name == "journal":
            return Journal.ORDERED if self.is_ordered else Journal.OTHER
        if call.name == "write_out":
            return True
        if call.name == "rename":
            self.renames += 1
        if call.name == ("flush" if self.is_ordered else "flush_folder"):
            return self._flush()
        return proceed()

    def _flush(self) -> None:
        with self.mutex:
            self.flushes += 1
            number = self.flushes
        assert self.allowed.acquire(timeout=30), "nothing lets this flush go"
        with self.mutex:
            self.ended += 1
        if number in self.failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def let_go(self, count: int = 1) -> None:
        self.allowed.release(count)

    def system(self) -> System:
        return intercepted(self)


@pytest.fixture(params=[False, True], ids=["the folder is flushed", "the file is flushed"])
def disk(request: pytest.FixtureRequest, path: Path) -> Disk:
    path.write_text("{}")
    return Disk(request.param)


@pytest.fixture
def store(disk: Disk, queue: PerStoreWriterQueue, path: Path) -> Store[dict[str, int]]:
    return Store(path, queue=queue, system=disk.system())


def put(store: Store[dict[str, int]], name: str) -> Worker:
    return Worker(lambda: store.update(lambda state: state.update({name: 1})))


def put_one_by_one(store: Store[dict[str, int]], disk: Disk, names: str) -> list[Worker]:
    """Each has its own rename, and waits for a flush."""
    workers = []
    for name in names:
        before = disk.renames
        workers.append(put(store, name))
        until(lambda before=before: disk.renames == before + 1, "a rename")  # type: ignore[misc]
        with store._queue.turn(store.path):
            pass  # the turn of the rename has ended: the next flush holds its document
    return workers


def test_renames_that_come_during_a_flush_share_the_next_one(store: Store[dict[str, int]], disk: Disk) -> None:
    workers = put_one_by_one(store, disk, "a")
    until(lambda: disk.flushes == 1, "a flush")
    workers += put_one_by_one(store, disk, "bcdef")
    assert disk.flushes == 1  # the next one is due, and waits for this one
    assert store.read() == dict.fromkeys("abcdef", 1)  # the lock is free, and readers see what has the name
    disk.let_go()
    workers[0].result()
    until(lambda: disk.flushes == 2, "the next flush")
    assert all(worker._thread.is_alive() for worker in workers[1:])
    disk.let_go()
    for worker in workers:
        worker.result()
    assert disk.flushes == 2


def test_nothing_is_answered_before_its_flush_has_ended(store: Store[dict[str, int]], disk: Disk) -> None:
    (worker,) = put_one_by_one(store, disk, "a")
    until(lambda: disk.flushes == 1, "a flush")
    assert worker._thread.is_alive()
    assert disk.ended == 0
    disk.let_go()
    worker.result()
    assert disk.ended == 1


def test_a_flush_that_fails_is_uncertain_for_those_it_held(store: Store[dict[str, int]], disk: Disk) -> None:
    """Those of the second flush; the first and the third have succeeded."""
    disk.failing = {2}
    workers = put_one_by_one(store, disk, "a")
    until(lambda: disk.flushes == 1, "a flush")
    workers += put_one_by_one(store, disk, "bcd")
    disk.let_go(2)
    for worker in workers:
        worker.wait()
    assert workers[0].error is None
    errors = [worker.error for worker in workers[1:]]
    assert all(isinstance(error, CommitUncertain) for error in errors)
    assert len({id(error) for error in errors}) == len(errors)
    assert disk.flushes == 2  # a failed one is not tried again
    disk.let_go()
    put(store, "e").result()
    assert store.read() == dict.fromkeys("abcde", 1)


def test_a_later_document_that_was_flushed_holds_what_an_earlier_flush_has_lost(
    store: Store[dict[str, int]], disk: Disk
) -> None:
    """The first flush fails; callers that wait for the second one are answered by that."""
    disk.failing = {1}
    first = put_one_by_one(store, disk, "a")[0]
    until(lambda: disk.flushes == 1, "a flush")
    second = put_one_by_one(store, disk, "b")[0]
    disk.let_go(2)
    first.wait()
    second.result()
    # Told by its own flush, or by the later one, if that was the quicker.
    assert first.error is None or isinstance(first.error, CommitUncertain)
    assert store.read() == {"a": 1, "b": 1}


def test_an_update_that_changes_nothing_is_answered_after_a_flush_of_what_it_has_seen(
    store: Store[dict[str, int]], disk: Disk
) -> None:
    """Another thread's document has the name, and is not durable yet."""
    (first,) = put_one_by_one(store, disk, "a")
    until(lambda: disk.flushes == 1, "a flush")
    seen: list[dict[str, int]] = []
    has_run = threading.Event()

    def look(state: dict[str, int]) -> None:
        seen.append(dict(state))
        has_run.set()

    second = Worker(lambda: store.update(look))
    wait_for(has_run)
    assert seen == [{"a": 1}]
    until(lambda: disk.flushes == 2 or not second._thread.is_alive(), "a flush of its own, or an answer")
    assert second._thread.is_alive(), "it was answered before any flush had ended"
    assert disk.ended == 0
    disk.let_go(2)
    first.result()
    second.result()
    assert disk.renames == 1


def test_the_next_turn_does_not_wait_for_a_flush(store: Store[dict[str, int]], disk: Disk) -> None:
    (worker,) = put_one_by_one(store, disk, "a")
    until(lambda: disk.flushes == 1, "a flush")
    with store.transaction(timeout=20) as tx:
        assert tx.state == {"a": 1}
        tx.discard()
    disk.let_go()
    worker.result()


@pytest.mark.parametrize(
    ("kind", "is_free"), [(Journal.OTHER, True), (Journal.ORDERED, True), (Journal.FAST, False)], ids=str
)
def test_where_the_next_commit_must_not_begin_before_the_flush_it_comes_before_the_release(
    path: Path, kind: Journal, is_free: bool
) -> None:
    """On ext4 with `fast_commit`; everywhere else the lock is free by then."""
    path.write_text("{}")
    done: list[str] = []
    found: list[bool] = []

    def around(call: Call, proceed: Callable[[], Any]) -> Any:
        if call.name == "journal":
            return kind
        if call.name == "write_out":
            return True
        if call.name in ("flush", "flush_folder") and "rename" in done:
            hold = Flock().attempt(str(path), None)
            found.append(hold is not None)
            if hold is not None:
                hold.release()
        done.append(call.name)
        return proceed()

    Store[Any](path, system=intercepted(around)).update(lambda state: state.update(a=1))
    assert found == [is_free]


def test_a_handler_that_fails_a_flush_fails_only_its_own_thread(store: Store[dict[str, int]], disk: Disk) -> None:
    """What is raised in the thread that flushes is not the flush's error: those who wait flush themselves."""

    class Stopped(Exception):
        pass

    def stopping(call: Call, proceed: Callable[[], Any]) -> Any:
        result = disk(call, proceed)
        if call.name in ("flush", "flush_folder") and disk.ended == 1:
            raise Stopped
        return result

    other = Store(store.path, queue=store._queue, system=intercepted(stopping))
    first = put(other, "a")
    until(lambda: disk.flushes == 1, "a flush")
    second = put_one_by_one(store, disk, "b")[0]
    disk.let_go(3)
    first.wait()
    second.result()
    assert isinstance(first.error, Stopped)
    assert store.read() == {"a": 1, "b": 1}


def test_an_interrupt_right_after_the_rename_leaves_no_document_unflushed(
    store: Store[dict[str, int]], disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes before the document is noted as one that is to be flushed."""

    class Interrupted(BaseException):
        pass

    note = Flushes.note
    interrupted: list[bool] = []

    def interrupted_note(flushes: Flushes, commit: Any) -> None:
        if not interrupted:
            interrupted.append(True)
            raise Interrupted
        note(flushes, commit)

    monkeypatch.setattr(Flushes, "note", interrupted_note)
    disk.let_go(2)
    worker = put(store, "a")
    worker.wait()
    assert isinstance(worker.error, Interrupted)
    assert store.read() == {"a": 1}
    assert (disk.renames, disk.ended) == (1, 1)


def test_an_update_whose_call_is_lost_in_the_middle_of_a_flush_ends_all_the_same(
    queue: PerStoreWriterQueue, path: Path
) -> None:
    """The collector comes upon it in the thread that flushes, and must not flush there: that waits for itself."""
    path.write_text("{}")
    lost: list[Frame] = []

    def begin() -> None:
        ticket, frame = new_ticket(queue._settings, None, 10.0), Frame()
        ticket.payload = new_request(lambda state: state.update(lost=1))
        tie_to(ticket, frame)
        enter(ticket, queue._adapters[str(path)])
        batch = ticket.batch = Batch(store._document)
        batch.apply(ticket)
        lost.append(frame)

    def around(call: Call, proceed: Callable[[], Any]) -> Any:
        if call.name == "journal":
            return Journal.ORDERED
        if call.name == "write_out":
            return True
        if call.name == "flush" and not began:
            began.append(Worker(begin))
            began[0].result()
            lost.clear()
        return proceed()

    began: list[Worker] = []
    store: Store[Any] = Store(path, queue=queue, system=intercepted(around))
    Worker(lambda: store.update(lambda state: state.update(a=1))).result()
    until(lambda: store.read() == {"a": 1, "lost": 1}, "the update that was lost")
    with queue.turn(path, timeout=10.0):
        pass


def test_a_lost_update_is_saved_by_one_thread_although_both_its_callbacks_start_one(
    queue: PerStoreWriterQueue, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the two weak references to the owner would do alone, if the other's callback were interrupted."""
    path.write_text("{}")
    started: list[Callable[[], None]] = []
    renames: list[int] = []
    is_renaming, go_on = threading.Event(), threading.Event()

    def around(call: Call, proceed: Callable[[], Any]) -> Any:
        if call.name == "rename":
            renames.append(threading.get_ident())
            if len(renames) == 1:
                is_renaming.set()
                wait_for(go_on)
        return proceed()

    store: Store[Any] = Store(path, queue=queue, system=intercepted(around))
    monkeypatch.setattr(threads, "start", lambda call, *args: started.append(partial(call, *args)))
    frames = [Frame()]
    ticket = new_ticket(queue._settings, None, 10.0)
    ticket.payload = new_request(lambda state: state.update(lost=1))
    tie_to(ticket, frames[0])
    assert ticket.finalizer is not None
    ticket.finalizer[0].start = lambda: started.append(partial(release_in_this_thread, ticket))
    enter(ticket, queue._adapters[str(path)])
    batch = ticket.batch = Batch(store._document)
    batch.apply(ticket)
    marks.in_step(frames.clear)
    monkeypatch.undo()

    assert len(started) == 2
    first = Worker(started[0])
    wait_for(is_renaming)
    started[1]()
    go_on.set()
    first.result()
    started[1]()
    assert len(renames) == 1
    assert store.read() == {"lost": 1}
