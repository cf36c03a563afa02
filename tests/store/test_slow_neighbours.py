"""An update that has been applied is answered, however long the function behind it in its batch takes."""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import CodeType
from typing import Any, Literal

import pytest

import storewriter
from helpers.interrupts import KINDS, Kind, interrupted, points
from helpers.lines import Worker, held, lined_up
from helpers.waiting import until, wait_for
from storewriter import LockTimeout, PerStoreWriterQueue, Store, events
from storewriter._commits import batch as batches
from storewriter._turns import line
from storewriter.codecs import DecodeError, FunctionCodec, JsonCodec
from storewriter.testing import Call, Fault, intercepted

_SOURCE = os.path.dirname(storewriter.__file__)

Durability = Literal["power", "process"]


class Interrupted(BaseException):
    """Comes to a thread from elsewhere."""


class Slow:
    """A function that ends after it was let go, and no earlier. The line must not wait for it."""

    def __init__(self, change: Callable[[Any], Any]) -> None:
        self.runs = threading.Event()
        self.go_on = threading.Event()
        self.times = 0
        self._change = change

    def __call__(self, state: Any) -> Any:
        self.times += 1
        self.runs.set()
        wait_for(self.go_on, "the end of a slow function")
        return self._change(state)


def put(name: str) -> Callable[[dict[str, Any]], str]:
    def fn(state: dict[str, Any]) -> str:
        state[name] = state.get(name, 0) + 1
        return name

    return fn


def fail(_: Any) -> None:
    raise ZeroDivisionError


def behind(
    queue: PerStoreWriterQueue, path: Path, slow: Slow, *calls: Callable[[], Any], store: Store[Any] | None = None
) -> tuple[list[Worker], Worker]:
    """Callers whose functions are applied, and right behind them one whose function runs until it is let go.

    They are in one batch, however slow the machine is. Its time is over when this returns.
    """
    writer = Store(path, queue=queue) if store is None else store
    with pytest.MonkeyPatch.context() as patched, held(queue, path) as holding:
        patched.setattr(batches, "APPLY_SECONDS", 60.0)
        *workers, last = lined_up(queue, path, *calls, lambda: writer.update(slow))
        holding.release()
        wait_for(slow.runs, "the slow function")
    lane = line.lanes.get(str(path))
    assert lane is not None
    assert lane.head is not None
    batch: Any = lane.head.batch
    batch._until = 0.0
    if batch.draft.newest is not None:
        batch.draft.newest.waiter.wake()
    return workers, last


@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize("isolation", ["own", "shared"])
@pytest.mark.parametrize("durability", ["process", "power"])
@pytest.mark.parametrize("lock", ["flock", "marker", "lease"])
def test_it_is_committed_while_the_slow_function_runs(
    lock: Any, durability: Durability, isolation: Any, is_there: bool, path: Path
) -> None:
    if is_there:
        path.write_text("{}")
    queue = PerStoreWriterQueue(timeout=20.0, lock=lock)
    store: Store[Any] = Store(path, queue=queue, durability=durability, isolation=isolation)
    slow = Slow(put("slow"))
    (first, second), last = behind(
        queue,
        path,
        slow,
        lambda: store.update(put("first")),
        lambda: store.update(put("second")),
        store=store,
    )
    try:
        assert (first.result(), second.result()) == ("first", "second")
        assert store.read() == {"first": 1, "second": 1}
        assert not slow.go_on.is_set()
        with pytest.raises(LockTimeout):  # the turn is the slow one's all the same
            store.update(put("late"), timeout=0)
    finally:
        slow.go_on.set()
    assert last.result() == "slow"
    assert slow.times == 1
    assert store.read() == {"first": 1, "second": 1, "slow": 1}
    assert not [name for name in os.listdir(path.parent) if ".tmp" in name]


@pytest.mark.parametrize("isolation", ["own", "shared"])
def test_who_waits_behind_the_slow_function_is_in_the_next_batch(
    isolation: Any, queue: PerStoreWriterQueue, path: Path
) -> None:
    store: Store[Any] = Store(path, queue=queue, isolation=isolation)
    slow = Slow(put("slow"))
    (first,), last = behind(queue, path, slow, lambda: store.update(put("first")), store=store)
    first.result()
    behind_it = [Worker(lambda: store.update(put("third")))]
    until(lambda: queue.pending(path) == 1)
    slow.go_on.set()
    assert [worker.result() for worker in (last, *behind_it)] == ["slow", "third"]
    assert store.read() == {"first": 1, "slow": 1, "third": 1}


@pytest.mark.parametrize("isolation", ["own", "shared"])
def test_a_slow_function_that_raises_then_changes_nothing(
    isolation: Any, queue: PerStoreWriterQueue, path: Path
) -> None:
    store: Store[Any] = Store(path, queue=queue, isolation=isolation)
    slow = Slow(lambda state: (state.clear(), fail(state)))
    (first,), last = behind(queue, path, slow, lambda: store.update(put("first")), store=store)
    assert first.result() == "first"
    slow.go_on.set()
    last.wait()
    assert isinstance(last.error, ZeroDivisionError)
    assert slow.times == 1
    assert store.read() == {"first": 1}


@pytest.mark.untraced  # with a tracer in CPython 3.11, every other thread turns in circles until the exception is taken
def test_a_slow_function_that_is_killed_by_an_exception_sent_to_its_thread(
    queue: PerStoreWriterQueue, path: Path
) -> None:
    threads: list[int] = []
    slow = Slow(put("slow"))

    def noted(state: Any) -> Any:
        threads.append(threading.get_ident())
        return slow(state)

    store: Store[Any] = Store(path, queue=queue)
    with held(queue, path) as holding:
        first, last = lined_up(queue, path, lambda: store.update(put("first")), lambda: store.update(noted))
        holding.release()
    assert first.result() == "first"
    wait_for(slow.runs)
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(threads[0]), ctypes.py_object(Interrupted)) == 1
    slow.go_on.set()
    last.wait()
    assert isinstance(last.error, Interrupted)
    assert store.read() == {"first": 1}
    assert store.update(put("next")) == "next"


def test_the_interrupt_of_a_waiter_comes_out_while_the_slow_function_runs(
    queue: PerStoreWriterQueue, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the main thread, whose update has been applied: it is committed, and then the interrupt comes out."""
    monkeypatch.setattr(batches, "APPLY_SECONDS", 1.0)
    store: Store[Any] = Store(path, queue=queue)
    has_come_out = threading.Event()

    def slow(state: dict[str, Any]) -> bool:
        until(lambda: main[0].state is line.BATCHED, "the main thread asleep")
        os.kill(os.getpid(), signal.SIGINT)
        state["slow"] = 1
        return has_come_out.wait(30)

    workers: list[Worker] = []
    main: list[line.Ticket] = []

    def first(state: dict[str, Any]) -> None:
        state["first"] = 1
        lane = line.lanes.get(str(path))
        assert lane is not None
        assert lane.head is not None
        main.append(lane.head)
        workers.append(Worker(lambda: store.update(slow)))
        until(lambda: queue.pending(path) == 1, "the slow one in line")

    with pytest.raises(KeyboardInterrupt):
        store.update(first)
    main.clear()
    assert store.read() == {"first": 1}
    has_come_out.set()
    assert workers[0].result()
    assert store.read() == {"first": 1, "slow": 1}


@pytest.mark.parametrize("name", ["write", "open", "fstat"])
@pytest.mark.parametrize("durability", ["process", "power"])
def test_if_the_waiters_save_fails_the_slow_function_runs_again(
    durability: Durability, name: str, queue: PerStoreWriterQueue, path: Path
) -> None:
    """It was applied to what is in no document."""
    path.write_text('{"n":1}')
    fault = Fault(OSError(errno.ENOSPC, "no space left"), name=name, skip=name != "write")
    seen: list[Any] = []
    store: Store[Any] = Store(path, queue=queue, durability=durability, system=intercepted(fault))
    slow = Slow(lambda state: (seen.append(dict(state)), put("slow")(state))[1])
    (first,), last = behind(queue, path, slow, lambda: store.update(put("first")), store=store)
    first.wait()
    assert isinstance(first.error, OSError)
    assert first.error.errno == errno.ENOSPC
    assert store.read() == {"n": 1}
    slow.go_on.set()
    assert last.result() == "slow"
    assert seen == [{"n": 1, "first": 1}, {"n": 1}]
    assert store.read() == {"n": 1, "slow": 1}


def test_a_stranger_that_writes_between_the_two_saves_is_not_erased(queue: PerStoreWriterQueue, path: Path) -> None:
    store: Store[Any] = Store(path, queue=queue)
    slow = Slow(put("slow"))
    (first,), last = behind(queue, path, slow, lambda: store.update(put("first")), store=store)
    first.result()
    path.write_text('{"stranger":1}')
    slow.go_on.set()
    assert last.result() == "slow"
    assert slow.times == 2
    assert store.read() == {"stranger": 1, "slow": 1}


def test_a_slow_function_that_empties_a_new_document_is_saved(queue: PerStoreWriterQueue, path: Path) -> None:
    """What said no more than the absence of a document does, says something once there is one."""
    store: Store[Any] = Store(path, queue=queue)
    slow = Slow(lambda state: state.clear())
    (first,), last = behind(queue, path, slow, lambda: store.update(put("first")), store=store)
    first.result()
    assert store.read() == {"first": 1}
    slow.go_on.set()
    last.result()
    assert store.read() == {}


@pytest.mark.parametrize("text", [None, '{"n":1}'])
def test_a_waiter_that_has_changed_nothing_does_not_make_the_slow_function_run_again(
    text: str | None, queue: PerStoreWriterQueue, path: Path
) -> None:
    if text is not None:
        path.write_text(text)
    store: Store[Any] = Store(path, queue=queue)
    slow = Slow(put("slow"))
    (first,), last = behind(queue, path, slow, lambda: store.update(lambda _: "nothing"), store=store)
    assert first.result() == "nothing"
    slow.go_on.set()
    assert last.result() == "slow"
    assert slow.times == 1


def test_those_that_have_failed_before_the_slow_function_are_no_obstacle(
    queue: PerStoreWriterQueue, path: Path
) -> None:
    """The last before it has failed, so the one before that saves."""
    store: Store[Any] = Store(path, queue=queue)
    slow = Slow(put("slow"))
    (first, failing), last = behind(
        queue, path, slow, lambda: store.update(put("first")), lambda: store.update(fail), store=store
    )
    failing.wait()
    assert isinstance(failing.error, ZeroDivisionError)
    assert first.result() == "first"
    slow.go_on.set()
    assert last.result() == "slow"
    assert store.read() == {"first": 1, "slow": 1}


def test_each_part_is_told_to_subscribers(queue: PerStoreWriterQueue, path: Path) -> None:
    sizes: list[int] = []
    store: Store[Any] = Store(path, queue=queue)
    slow = Slow(put("slow"))
    unsubscribe = events.subscribe(
        lambda event: sizes.append(event.size) if isinstance(event, events.BatchCommitted) else None
    )
    try:
        workers, last = behind(
            queue,
            path,
            slow,
            *(lambda n=n: store.update(put(n)) for n in "ab"),  # type: ignore[misc]
            store=store,
        )
        for worker in workers:
            worker.result()
        slow.go_on.set()
        last.result()
    finally:
        unsubscribe()
    assert sizes == [2, 1]


def test_a_task_behind_the_slow_function_is_answered_in_its_turn(
    queue: PerStoreWriterQueue, path: Path, run: Any
) -> None:
    """A thread, a thread with a slow function, a task: one line, and the first is answered before the slow one ends."""
    from storewriter import AsyncStore

    store: Store[Any] = Store(path, queue=queue)
    slow = Slow(put("slow"))
    (first,), last = behind(queue, path, slow, lambda: store.update(put("first")), store=store)
    first.result()

    async def main() -> str:
        task: AsyncStore[Any] = AsyncStore(path, queue=queue)
        with pytest.raises(LockTimeout):
            await task.update(put("late"), timeout=0.01)
        slow.go_on.set()
        return await task.update(put("task"))

    assert run(main) == "task"
    assert last.result() == "slow"
    assert store.read() == {"first": 1, "slow": 1, "task": 1}


class _Looks:
    """Counts how often each thread has looked whether it must save a part."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.late: list[int] = []
        """The thread of each look that came when the time of the batch was over."""
        self.answered: list[tuple[int, int]] = []
        """Which thread gave the answers of which batch."""
        part, answer = batches.Batch.part, batches.Batch.answer

        def noted_part(batch: batches.Batch, ticket: line.Ticket) -> Any:
            is_late = time.monotonic() >= batch._until
            result = part(batch, ticket)
            if is_late:
                self.late.append(ticket.thread)
            return result

        def noted_answer(batch: batches.Batch) -> None:
            self.answered.append((id(batch), threading.get_ident()))
            answer(batch)

        monkeypatch.setattr(batches.Batch, "part", noted_part)
        monkeypatch.setattr(batches.Batch, "answer", noted_answer)


def test_a_slow_function_that_ends_while_the_waiter_saves_waits_for_that(
    queue: PerStoreWriterQueue, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And another waiter, which looks meanwhile, leaves the part to the one that saves it."""
    path.write_text("{}")
    looks = _Looks(monkeypatch)
    slow = Slow(put("slow"))
    calls: list[tuple[str, int]] = []
    threads: dict[str, int] = {}

    def around(call: Call, proceed: Callable[[], Any]) -> Any:
        calls.append((call.name, threading.get_ident()))
        if call.name == "write" and len(calls_of("write")) == 1:
            lane = line.lanes.get(str(path))
            assert lane is not None
            assert lane.head is not None
            batch: Any = lane.head.batch
            slow.go_on.set()
            until(lambda: batch._is_closed, "the end of the slow function")
            looks.late.clear()
            batch._early.last.payload.before.waiter.wake()
            until(lambda: threads["first"] in looks.late, "a look of the other waiter")
        return proceed()

    def calls_of(name: str) -> list[int]:
        return [thread for other, thread in calls if other == name]

    store: Store[Any] = Store(path, queue=queue, system=intercepted(around))

    def update(name: str) -> Any:
        threads[name] = threading.get_ident()
        return store.update(put(name))

    workers, last = behind(queue, path, slow, lambda: update("first"), lambda: update("second"), store=store)
    assert [worker.result() for worker in (*workers, last)] == ["first", "second", "slow"]
    assert slow.times == 1
    assert store.read() == {"first": 1, "second": 1, "slow": 1}
    writes = calls_of("write")
    assert len(writes) == 2
    assert writes[0] == threads["second"] != writes[1]
    assert len(looks.answered) == len({batch for batch, _ in looks.answered}) == 2


class _SlowToBegin:
    """A codec that keeps one thread from beginning with its function."""

    def __init__(self, may_begin: Callable[[], object]) -> None:
        self.thread = 0
        self.codec = FunctionCodec(_plain.encode, self._decode)
        self._may_begin = may_begin

    def _decode(self, data: bytes) -> Any:
        if threading.get_ident() == self.thread:
            until(self._may_begin, "a look of a waiter")
        return _plain.decode(data)


_plain: JsonCodec = JsonCodec(shape=dict)


@pytest.mark.parametrize("isolation", ["own", "shared"])
def test_nor_does_it_wait_for_the_decoding_of_the_thread_behind_it(
    isolation: Any, queue: PerStoreWriterQueue, path: Path
) -> None:
    path.write_text("{}")
    is_answered = threading.Event()
    waits = _SlowToBegin(is_answered.is_set)
    store: Store[Any] = Store(path, queue=queue, codec=waits.codec, isolation=isolation)
    runs: list[int] = []

    def transformed(state: dict[str, Any]) -> dict[str, Any]:
        runs.append(1)
        put("last")(state)
        return state

    def last() -> Any:
        waits.thread = threading.get_ident()
        return store.transform(transformed)

    with held(queue, path) as holding:
        workers = lined_up(queue, path, lambda: store.update(put("first")), lambda: store.update(put("second")), last)
        holding.release()
        assert [worker.result() for worker in workers[:2]] == ["first", "second"]
        assert store.read() == {"first": 1, "second": 1}
    is_answered.set()
    assert workers[2].result() == {"first": 1, "second": 1, "last": 1}
    assert len(runs) == 1
    assert store.read() == {"first": 1, "second": 1, "last": 1}


def test_nor_for_a_signal_handler_of_that_thread(queue: PerStoreWriterQueue, path: Path) -> None:
    """The main thread is behind it, and gets the turn while its signal handler waits for the update before it."""
    path.write_text("{}")
    store: Store[Any] = Store(path, queue=queue)
    workers: list[Worker] = []
    with held(queue, path) as holding:

        def handler(*_: object) -> None:
            holding.release()
            workers[0].wait()

        def kick() -> None:
            until(lambda: queue.pending(path) == 2, "the main thread in line")
            os.kill(os.getpid(), signal.SIGUSR1)

        before = signal.signal(signal.SIGUSR1, handler)
        try:
            workers.extend(lined_up(queue, path, lambda: store.update(put("first"))))
            kicker = Worker(kick)
            assert store.update(put("main")) == "main"
            kicker.result()
        finally:
            signal.signal(signal.SIGUSR1, before)
    assert workers[0].result() == "first"
    assert store.read() == {"first": 1, "main": 1}


def test_no_part_is_saved_once_the_save_has_begun(
    queue: PerStoreWriterQueue, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last function was interrupted, so the member before it is the newest one as before, and looks."""
    path.write_text("{}")
    monkeypatch.setattr(batches, "APPLY_SECONDS", 60.0)
    monkeypatch.setattr(batches.Batch, "patience", lambda batch, ticket: 0.001)
    looks = _Looks(monkeypatch)
    threads: list[int] = []
    open_batch: list[Any] = []
    renames: list[bool] = []

    def around(call: Call, proceed: Callable[[], Any]) -> Any:
        if call.name == "write" and open_batch:
            open_batch.pop()._until = 0.0  # its time is over
            until(lambda: threads[0] in looks.late, "a look of the newest member")
        if call.name == "rename":
            renames.append(True)
        return proceed()

    def first() -> Any:
        threads.append(threading.get_ident())
        return store.update(put("first"))

    def interrupted(state: dict[str, Any]) -> None:
        lane = line.lanes.get(str(path))
        assert lane is not None
        assert lane.head is not None
        open_batch.append(lane.head.batch)
        raise Interrupted

    store: Store[Any] = Store(path, queue=queue, system=intercepted(around))
    with held(queue, path) as holding:
        one, two = lined_up(queue, path, first, lambda: store.update(interrupted))
        holding.release()
        one.wait()
        two.wait()
    assert one.result() == "first"
    assert isinstance(two.error, Interrupted)
    assert renames == [True]
    assert store.read() == {"first": 1}


def test_no_part_is_saved_while_functions_of_its_members_are_applied_again(
    queue: PerStoreWriterQueue, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a shared state, because the codec cannot read what one of them left."""
    path.write_text("{}")
    monkeypatch.setattr(batches, "APPLY_SECONDS", 60.0)
    looks = _Looks(monkeypatch)
    threads: dict[str, int] = {}
    runs: list[int] = []

    def decode(data: bytes) -> Any:
        state = _plain.decode(data)
        if "bad" in state:
            raise DecodeError("it is bad")
        return state

    def first(state: dict[str, Any]) -> str:
        runs.append(1)
        if len(runs) > 1:
            lane = line.lanes.get(str(path))
            assert lane is not None
            head: Any = lane.head
            head.batch._until = 0.0  # its time is over
            head.payload.before.waiter.wake()
            del head, lane
            until(lambda: threads["bad"] in looks.late, "a look of the newest member")
        return put("first")(state)

    def bad() -> Any:
        threads["bad"] = threading.get_ident()
        return store.update(put("bad"))

    def last() -> Any:
        return store.transform(lambda state: {**state, "last": state.get("last", 0) + 1})

    codec = FunctionCodec(_plain.encode, decode)
    store: Store[Any] = Store(path, queue=queue, codec=codec, isolation="shared")
    with held(queue, path) as holding:
        workers = lined_up(queue, path, lambda: store.update(first), bad, last)
        holding.release()
        for worker in workers:
            worker.wait()
    assert isinstance(workers[1].error, DecodeError)
    assert (workers[0].result(), workers[2].result()) == ("first", {"first": 1, "last": 1})
    assert store.read() == {"first": 1, "last": 1}


def test_a_look_between_a_function_that_failed_and_the_next_one_loses_no_member(
    queue: PerStoreWriterQueue, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that has failed is the last member, and saves the part. That fails, which each is told."""
    path.write_text("{}")
    looks = _Looks(monkeypatch)
    waits = _SlowToBegin(lambda: threads["failing"] in looks.late)
    fault = Fault(OSError(errno.ENOSPC, "no space left"), name="write")
    store: Store[Any] = Store(path, queue=queue, codec=waits.codec, system=intercepted(fault))
    threads: dict[str, int] = {}

    def failing() -> Any:
        threads["failing"] = threading.get_ident()
        return store.update(fail)

    def last() -> Any:
        waits.thread = threading.get_ident()
        return store.update(put("last"))

    with held(queue, path) as holding:
        workers = lined_up(queue, path, lambda: store.update(put("first")), failing, last)
        holding.release()
        for worker in workers:
            worker.wait()
    assert [getattr(worker.error, "errno", None) for worker in workers] == [errno.ENOSPC, errno.ENOSPC, None]
    assert workers[2].result() == "last"
    assert store.read() == {"last": 1}


def test_what_was_answered_is_not_applied_again_when_the_slow_one_is_taken_back(
    queue: PerStoreWriterQueue, path: Path
) -> None:
    """With a shared state the functions of a batch are applied again if one of them is taken back: those left."""
    path.write_text("{}")
    fault = Fault(Interrupted(), name="write", skip=1)
    store: Store[Any] = Store(path, queue=queue, isolation="shared", system=intercepted(fault))
    slow = Slow(put("slow"))
    runs: list[int] = []
    (first,), last = behind(
        queue, path, slow, lambda: store.update(lambda state: (runs.append(1), put("first")(state))[1]), store=store
    )
    assert first.result() == "first"
    slow.go_on.set()
    last.wait()
    assert isinstance(last.error, Interrupted)
    assert len(runs) == 1
    assert store.read() == {"first": 1}


@pytest.mark.untraced
@pytest.mark.parametrize("isolation", ["own", "shared"])
@pytest.mark.parametrize("kind", KINDS)
def test_wherever_the_waiter_is_interrupted_each_is_told_the_truth(
    kind: Kind, isolation: Any, queue: PerStoreWriterQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The main thread is the waiter. The function behind it ends only after the waiter was answered."""
    monkeypatch.setattr(batches, "APPLY_SECONDS", 60.0)
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    number = 0
    parts = 0
    workers: list[Worker] = []

    def run(call: Callable[[Callable[[], object]], Any]) -> Any:
        nonlocal number, parts
        number += 1
        path = tmp_path / f"{number}.json"
        path.write_text("{}")
        store: Store[Any] = Store(path, queue=queue, durability="process", isolation=isolation)
        has_returned = threading.Event()

        def slow(state: dict[str, Any]) -> bool:
            lane = line.lanes.get(str(path))
            assert lane is not None
            assert lane.head is not None
            batch: Any = lane.head.batch
            batch._until = 0.0  # its time is over
            if batch.draft.newest is not None:
                batch.draft.newest.waiter.wake()
            state["slow"] = state.get("slow", 0) + 1
            del batch, lane
            return has_returned.wait(30)

        def own(state: dict[str, Any]) -> None:
            state["own"] = state.get("own", 0) + 1
            workers.append(Worker(lambda: store.update(slow)))
            until(lambda: queue.pending(path) == 1, "the slow one in line")

        workers.clear()
        try:
            return call(lambda: store.update(own))
        finally:
            has_returned.set()
            for worker in workers:
                worker.wait()

    def inside(code: CodeType) -> bool:
        return code.co_filename.startswith(_SOURCE)

    tried = run(lambda update: points(update, inside))
    wrong: list[str] = []
    for point in tried:
        landing = run(lambda update, point=point: interrupted(update, point, kind=kind))  # type: ignore[misc]
        state = Store(tmp_path / f"{number}.json").read()
        faults = [repr(worker.error) for worker in workers if worker.error is not None]
        if not faults and not all(worker.result() for worker in workers):
            faults.append("the slow function had to be waited for")
        if workers and state.get("slow") != 1:
            faults.append("the slow one's update is not there once")
        if state.get("own", 0) > 1 or (landing.kind is None and state.get("own") != 1):
            faults.append("the waiter's is not there once")
        if faults:
            wrong.append(f"{landing.place}: {faults}, {state}")
    gc.collect()
    assert not wrong, "\n".join(wrong)
    assert len(tried) > 100
