"""Interrupts right behind one another: the turn ends, and the lock is free, although what was raised is kept.

A timer that raises again and again does that under load: a thread that gets the processor back has an interrupt due, its
handler has to wait for the interpreter, and by then the next one is due. Each ends a function in Python where it begins.

What was raised keeps the frames of the call: a program may hold on to it, or it is in a cycle, and where all threads wait
for the lock, none allocates what would start the garbage collector. So no weak reference to the call helps here.
"""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.lines import Worker
from helpers.waiting import until, wait_for
from storewriter import PerStoreWriterQueue, Store, per_store_writer_queue
from storewriter import store as store_module
from storewriter._commits import transactions
from storewriter._commits.batch import Batch
from storewriter._turns import ending, line
from storewriter.locks import flock
from storewriter.locks._marker_hold import MarkerHold
from storewriter.testing import Call, intercepted


class Alarm(Exception):
    """What a signal handler raises."""


class Interrupt(KeyboardInterrupt):
    """Ours, so that a real Ctrl-C still ends the run."""


KINDS = [Alarm, Interrupt, RuntimeError]
Kind = type[BaseException]


def interrupting(kind: Kind, call: Callable[..., Any], times: int = 1000) -> Callable[..., Any]:
    """The call, interrupted in this thread where it begins."""
    ours, left = threading.get_ident(), [None] * times

    def interrupted(*args: Any, **settings: Any) -> Any:
        if threading.get_ident() == ours and left:
            left.pop()
            raise kind("interrupted where it begins")
        return call(*args, **settings)

    return interrupted


def raised_by(call: Callable[[], object]) -> BaseException:
    """What the call raised, with all its frames."""
    try:
        call()
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is kept
        return error
    raise AssertionError("nothing was raised")


def require_usable(queue: PerStoreWriterQueue, path: Path) -> None:
    """For another thread, and then for this one, which is not told that it has the turn."""

    def take() -> None:
        with queue.turn(path, timeout=10):
            pass

    Worker(take).result()
    take()
    until(lambda: not line.lanes)


def turn(queue: PerStoreWriterQueue, path: Path) -> None:
    with queue.turn(path):
        pass


def two_turns(queue: PerStoreWriterQueue, path: Path) -> None:
    with queue.turn(path, path.with_name("b.json")):
        pass


def update(queue: PerStoreWriterQueue, path: Path) -> None:
    Store(path, queue=queue).update(lambda state: state.update(a=1))


def transaction(queue: PerStoreWriterQueue, path: Path) -> None:
    with Store(path, queue=queue).transaction() as tx:
        tx.state["a"] = 1


def refused_transaction(queue: PerStoreWriterQueue, path: Path) -> None:
    path.write_text("[]")
    with Store(path, queue=queue).transaction():
        raise AssertionError("it was entered")


def recover(queue: PerStoreWriterQueue, path: Path) -> None:
    path.write_text("{")
    Store(path, queue=queue).recover()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("operation", [turn, two_turns, update, transaction, refused_transaction, recover])
def test_every_function_that_would_end_the_turn(
    operation: Callable[[PerStoreWriterQueue, Path], None],
    kind: Kind,
    queue: PerStoreWriterQueue,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        for module in (ending, store_module, transactions):
            patch.setattr(module, "leave_turn", interrupting(kind, ending.leave_turn))
        patch.setattr(store_module, "leave_for_good", interrupting(kind, ending.leave_for_good))
        error = raised_by(lambda: operation(queue, path))
    assert isinstance(error, kind)
    require_usable(queue, path)
    if operation in (update, transaction):
        assert Store(path).read() == {"a": 1}
    del error


def test_a_turn_that_another_thread_ends_is_not_ended_by_the_collector_as_well(
    queue: PerStoreWriterQueue, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was raised is dropped while that thread saves the batch: a second save would meet the first one."""
    path.write_text("{}")
    savers: list[int] = []
    saving, go_on = threading.Event(), threading.Event()
    save = Batch.save

    def noted(batch: Batch, ticket: line.Ticket) -> None:
        savers.append(threading.get_ident())
        save(batch, ticket)

    def around(call: Call, proceed: Callable[[], Any]) -> Any:
        if call.name == "exchange":
            saving.set()
            wait_for(go_on)
        return proceed()

    monkeypatch.setattr(Batch, "save", noted)
    store = Store(path, queue=queue, durability="process", system=intercepted(around))
    with monkeypatch.context() as patch:
        for name in ("leave_turn", "leave_for_good"):
            patch.setattr(store_module, name, interrupting(Alarm, getattr(ending, name)))
        error: BaseException | None = raised_by(lambda: store.update(lambda state: state.update(a=1)))
    wait_for(saving)
    assert isinstance(error, Alarm)
    error = None
    assert queue.pending(path) == 0
    assert len(savers) == 1
    go_on.set()
    require_usable(queue, path)
    assert len(savers) == 1
    assert Store(path).read() == {"a": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_the_way_out_of_a_turn_that_was_refused(
    kind: Kind, queue: PerStoreWriterQueue, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = queue.turn(path)
    enter, leave = per_store_writer_queue.enter, per_store_writer_queue.TurnRequest.__exit__

    def interrupted(*args: Any) -> None:
        enter(*args)
        raise kind("with the lock")

    with monkeypatch.context() as patch:
        patch.setattr(per_store_writer_queue, "enter", interrupted)
        patch.setattr(per_store_writer_queue.TurnRequest, "__exit__", interrupting(kind, leave))
        error = raised_by(request.__enter__)
    assert isinstance(error, kind)
    require_usable(queue, path)
    del error


@pytest.mark.parametrize("kind", KINDS)
def test_an_attempt_whose_lock_was_taken(
    kind: Kind, queue: PerStoreWriterQueue, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.flock

    def locked_and_interrupted(fd: int, _: int) -> None:
        real(fd, fcntl.LOCK_EX)
        raise kind("with the lock")

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", locked_and_interrupted)
        patch.setattr(flock._FlockHold, "close", interrupting(kind, flock._FlockHold.close))
        error = raised_by(lambda: turn(queue, path))
    assert isinstance(error, kind)
    require_usable(queue, path)
    del error


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lock", ["marker", "lease"])
def test_an_attempt_whose_marker_was_put_down(
    lock: Any, kind: Kind, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from storewriter.locks import _marker_attempt

    queue = PerStoreWriterQueue(lock, timeout=10)
    with monkeypatch.context() as patch:
        patch.setattr(_marker_attempt, "write_record", interrupting(kind, _marker_attempt.write_record))
        patch.setattr(MarkerHold, "close", interrupting(kind, MarkerHold.close))
        error = raised_by(lambda: turn(queue, path))
    assert isinstance(error, kind)
    require_usable(queue, path)
    del error


def test_a_release_that_a_handlers_runtime_errors_interrupt(
    queue: PerStoreWriterQueue, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hold that was given back already raises a RuntimeError, too."""
    with monkeypatch.context() as patch:
        patch.setattr(flock._FlockHold, "release", interrupting(RuntimeError, flock._FlockHold.release, times=4))
        error = raised_by(lambda: turn(queue, path))
    require_usable(queue, path)
    del error
