"""What comes in the middle of a commit belongs to the thread it came to; and what a step says about the disk is true."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import json
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import CodeType
from typing import Any, Literal

import anyio
import attrs
import pytest

import storewriter
from helpers.companies import Company
from helpers.interrupts import KINDS, Kind, Landing, Point, interrupted, points
from helpers.lines import Worker, held, lined_up
from helpers.waiting import until, until_async, wait_for
from storewriter import AsyncStore, CommitUncertain, LockTimeout, PerStoreWriterQueue, ReentrantTurn, Store
from storewriter._backends.files import Flushes
from storewriter._commits import batch, draft
from storewriter._files import replace
from storewriter._platform.descriptors import Descriptor
from storewriter._platform.journals import Journal
from storewriter._platform.system import SYSTEM
from storewriter.codecs import DecodeError, FunctionCodec
from storewriter.testing import Call, Fault, Recorder, System, intercepted

_SOURCE = os.path.dirname(storewriter.__file__)

Durability = Literal["power", "process"]


class JobTimeout(Exception):
    """What a library for jobs raises when a job has taken too long."""


class Alarms:
    """The main thread is sent an exception every other moment, while a call is made through here."""

    def __init__(self, error: type[Exception], interval: float) -> None:
        self._error = error
        self._interval = interval
        self._is_armed = False

    def __enter__(self) -> Alarms:
        self._before = signal.signal(signal.SIGALRM, self._ring)
        signal.setitimer(signal.ITIMER_REAL, self._interval, self._interval)
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)

    def _ring(self, *_: object) -> None:
        if self._is_armed:
            raise self._error("the job takes too long")

    def interrupts(self, call: Callable[[], object]) -> bool:
        """Whether the call was interrupted."""
        self._is_armed = True
        try:
            call()
        except self._error:
            self._is_armed = False
            return True
        self._is_armed = False
        return False


def bump(name: str) -> Callable[[Any], None]:
    def fn(state: dict[str, int]) -> None:
        state[name] = state.get(name, 0) + 1

    return fn


@pytest.mark.parametrize("durability", ["process", "power"])
@pytest.mark.parametrize("error", [JobTimeout, TimeoutError])
def test_a_time_limit_of_one_thread_is_no_answer_to_another_one(
    error: type[Exception],
    durability: Durability,
    queue: PerStoreWriterQueue,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # One that arrives in the callback of a weak reference is heard by no one, and harms no one.
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    store = Store(path, queue=queue, durability=durability)
    done: Counter[str] = Counter()
    ended = threading.Event()

    def update_until_the_end(name: str) -> None:
        while not ended.is_set():
            store.update(bump(name))
            done[name] += 1

    workers = [Worker(lambda name=name: update_until_the_end(name)) for name in "abcd"]  # type: ignore[misc]
    asked = raised = acknowledged = 0
    try:
        with Alarms(error, 0.02) as alarms:
            while raised < 60:
                asked += 1
                if alarms.interrupts(lambda: store.update(bump("main"))):
                    raised += 1
                else:
                    acknowledged += 1
    finally:
        ended.set()
    for worker in workers:
        worker.result()  # raises what a neighbour was told
    state = store.read()
    assert acknowledged <= state.pop("main", 0) <= asked
    assert state == done


def raise_in(worker: int, error: type[BaseException]) -> None:
    """An exception for another thread, as some time limits for threads do it."""
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(worker), ctypes.py_object(error)) == 1


@pytest.mark.parametrize("error", [JobTimeout, TimeoutError, SystemExit])
@pytest.mark.parametrize("victim", [0, 1, 2])
def test_an_exception_sent_to_a_thread_while_a_neighbours_function_runs(
    victim: int, error: type[BaseException], queue: PerStoreWriterQueue, path: Path
) -> None:
    """Three in a batch; the second one's function runs when the exception is sent: to one that has been applied, to
    that one itself, or to the one behind it."""
    store = Store(path, queue=queue)
    threads: dict[int, int] = {}
    applying, go_on = threading.Event(), threading.Event()

    def ask(place: int) -> None:
        threads[place] = threading.get_ident()

        def fn(state: dict[str, int]) -> None:
            state[str(place)] = state.get(str(place), 0) + 1
            if place == 1:
                applying.set()
                wait_for(go_on)

        store.update(fn)

    with held(queue, path) as holding:
        workers = lined_up(queue, path, *(lambda place=place: ask(place) for place in range(3)))  # type: ignore[misc]
        holding.release()
        wait_for(applying, "the second function")
        raise_in(threads[victim], error)
        go_on.set()
        for worker in workers:
            worker.wait()
    state = store.read()
    for place, worker in enumerate(workers):
        if place != victim:
            assert worker.error is None
            assert state[str(place)] == 1
    assert isinstance(workers[victim].error, error)
    assert state.get(str(victim), 0) <= 1
    assert queue.pending(path) == 0


@pytest.mark.parametrize("durability", ["process", "power"])
@pytest.mark.parametrize("error", [JobTimeout, TimeoutError, ReentrantTurn, LockTimeout])
@pytest.mark.parametrize("kind", ["threads", "asyncio", "trio"])
def test_an_exception_in_the_middle_of_a_save_is_not_the_saves(
    kind: str, error: type[Exception], durability: Durability, queue: PerStoreWriterQueue, path: Path
) -> None:
    """It comes out of each system call of a save once, after the call or instead of it, in whichever thread saves.

    Tasks have their own thread for a save, where only an exception that is sent to it can arrive.
    """
    path.write_text("{}")
    recorder = Recorder()
    Store(path, queue=queue, durability=durability, system=intercepted(recorder)).update(bump("n"))
    calls = Counter(call.name for call, _ in recorder.done)
    count = 0
    for name, times in calls.items():
        for turn in range(times):
            for late in (False, True):
                count += 1
                fault = Fault(error("not the disk's"), name=name, skip=turn, late=late)
                company = Company(kind, queue, path, system=intercepted(fault))
                before = Store(path).read().get("n", 0)
                outcomes = company.apply(*[bump("n")] * 3)
                told = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
                assert len(told) <= 1, (name, turn, late, told)
                after = Store(path).read()["n"]
                assert after - before in (2, 3), (name, turn, late)
    assert count > 10


@attrs.frozen
class _Told(System):
    """Says when a document has taken the name, before anything else is done."""

    tell: Callable[[], None] = attrs.field(kw_only=True)

    def exchange(self, source: str, target: str) -> bool:
        result = super().exchange(source, target)
        self.tell()
        return result


@pytest.mark.parametrize("kind", KINDS)
def test_who_comes_while_a_batch_is_saved_is_in_the_next_one_wherever_an_interrupt_arrives(
    kind: Kind, queue: PerStoreWriterQueue, tmp_path: Path
) -> None:
    """A batch that has been saved takes in no one more, also if the end of its turn is repeated."""
    number = 0
    neighbours: list[Worker] = []

    def operation() -> Callable[[], None]:
        nonlocal number
        number += 1
        path = tmp_path / f"{number}.json"
        path.write_text("{}")
        has_come = False

        def come() -> None:
            nonlocal has_come
            if not has_come:
                has_come = True
                neighbours.append(Worker(lambda: store.update(bump("neighbour"))))
                until(lambda: queue.pending(path) == 1, "a neighbour in line")

        store = Store(path, queue=queue, durability="process", system=_Told(tell=come))
        return lambda: store.update(bump("own"))

    def inside(code: CodeType) -> bool:
        return code.co_filename.startswith(_SOURCE)

    operation()()
    tried = points(operation(), inside)
    for neighbour in neighbours:
        neighbour.result()
    wrong: list[str] = []
    came = 0
    for point in tried:
        neighbours.clear()
        landing = interrupted(operation(), point, kind=kind)
        for neighbour in neighbours:
            came += 1
            neighbour.result()
            state = json.loads((tmp_path / f"{number}.json").read_text())
            if state.get("neighbour") != 1:
                wrong.append(f"{landing.place}: a neighbour came, and the document is {state}")
    assert not wrong, "\n".join(wrong)
    assert came > 40


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupt_in_a_batch_that_shares_a_state_loses_no_neighbour(
    kind: Kind, queue: PerStoreWriterQueue, tmp_path: Path
) -> None:
    """The interrupted thread is the last of three, and saves: wherever it is taken back, the others are saved."""
    number = 0
    neighbours: list[Worker] = []

    def run(call: Callable[[Callable[[], None]], Any]) -> Any:
        nonlocal number
        number += 1
        path = tmp_path / f"{number}.json"
        path.write_text("{}")
        store = Store(path, queue=queue, durability="process", isolation="shared")
        first, in_line = threading.Event(), threading.Event()

        def slow(state: dict[str, int]) -> None:
            bump("a")(state)
            if not first.is_set():  # it may be applied again
                first.set()
                until(lambda: queue.pending(path) == 2 or in_line.is_set(), "two in line")

        neighbours[:] = [Worker(lambda: store.update(slow))]
        wait_for(first)
        neighbours.append(Worker(lambda: store.update(bump("b"))))
        until(lambda: queue.pending(path) == 1, "a neighbour in line")
        try:
            return call(lambda: store.update(bump("own")))
        finally:
            in_line.set()
            for neighbour in neighbours:
                neighbour.wait()

    def inside(code: CodeType) -> bool:
        return code.co_filename.startswith(_SOURCE)

    tried = run(lambda update: points(update, inside))
    wrong: list[str] = []
    for point in tried:
        landing = run(lambda update, point=point: interrupted(update, point, kind=kind))  # type: ignore[misc]
        state = json.loads((tmp_path / f"{number}.json").read_text())
        told = [neighbour.error for neighbour in neighbours if neighbour.error is not None]
        if told or (state.get("a"), state.get("b")) != (1, 1) or state.get("own", 0) > 1:
            wrong.append(f"{landing.place}: the neighbours were told {told}, and the document is {state}")
    assert not wrong, "\n".join(wrong)
    assert len(tried) > 100


def _interrupted_twice(kind: type[BaseException], name: str, monkeypatch: pytest.MonkeyPatch, then: Fault) -> None:
    """Once `then` has struck, the next call of a batch's function of this name is interrupted where it begins."""
    real: Callable[..., Any] = getattr(batch.Batch, name)
    has_struck = False

    def interrupted(*args: Any) -> Any:
        nonlocal has_struck
        if then.struck is not None and not has_struck:
            has_struck = True
            raise kind("right behind the first one")
        return real(*args)

    monkeypatch.setattr(batch.Batch, name, interrupted)


@pytest.mark.parametrize("name", ["_is_the_end", "save", "_save", "_has_landed", "has_time"])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, JobTimeout, StopIteration])
@pytest.mark.parametrize("is_there", [False, True])
def test_an_interrupt_right_behind_another_one_is_no_answer_to_a_neighbour(
    is_there: bool,
    kind: type[BaseException],
    name: str,
    queue: PerStoreWriterQueue,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first comes right after the rename, the second before the batch could note that one came: it is noted before."""
    if is_there:
        path.write_text("{}")
    fault = Fault(kind("right after the rename"), name="exchange" if is_there else "rename", late=True)
    _interrupted_twice(kind, name, monkeypatch, fault)
    store = Store(path, queue=queue, durability="process", system=intercepted(fault))
    with held(queue, path) as holding:
        first, second = lined_up(queue, path, lambda: store.update(bump("a")), lambda: store.update(bump("b")))
        holding.release()
        first.result()
        second.wait()
    assert isinstance(second.error, kind)
    assert store.read() == {"a": 1, "b": 1}


@pytest.mark.parametrize("name", ["_is_the_end", "save", "_save", "_has_landed", "has_time"])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, JobTimeout])
def test_a_batch_whose_save_was_interrupted_is_not_handed_on(
    kind: type[BaseException], name: str, queue: PerStoreWriterQueue, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Someone comes while it is saved; the next thread would save it once more, on another document than it expects."""
    path.write_text("{}")
    workers: list[Worker] = []
    fault = Fault(kind("right after the rename"), name="exchange", late=True)

    def around(call: Call, proceed: Callable[[], Any]) -> Any:
        if call.name == "exchange" and not workers:
            workers.append(Worker(lambda: store.update(bump("neighbour"))))
            until(lambda: queue.pending(path) == 1, "a neighbour in line")
        return fault(call, proceed)

    _interrupted_twice(kind, name, monkeypatch, fault)
    store = Store(path, queue=queue, durability="process", system=intercepted(around))
    with pytest.raises(kind):
        store.update(bump("own"))
    workers[0].result()
    assert store.read() == {"own": 1, "neighbour": 1}


# -- after the rename --------------------------------------------------------------------------------------------------


def open_files(folder: Path) -> list[str]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{name}")
            if target.startswith(str(folder)):
                found.append(target)
    return sorted(found)


def journal_of(is_ordered: bool) -> Journal:
    return Journal.ORDERED if is_ordered else Journal.OTHER


class _Journal:
    """A file system that orders renames, or one that does not; then whatever else is done to its calls."""

    def __init__(self, is_ordered: bool, around: Callable[[Call, Callable[[], Any]], Any]) -> None:
        self._is_ordered = is_ordered
        self._around = around

    def __call__(self, call: Call, proceed: Callable[[], Any]) -> Any:
        if call.name == "journal":
            return journal_of(self._is_ordered)
        return self._around(call, proceed)


def on_disk(is_ordered: bool, around: Callable[[Call, Callable[[], Any]], Any]) -> System:
    return intercepted(_Journal(is_ordered, around))


@pytest.mark.parametrize("is_ordered", [False, True])
@pytest.mark.parametrize("durability", ["process", "power"])
def test_an_error_after_the_rename_is_never_told_as_nothing_saved(
    durability: Durability, is_ordered: bool, queue: PerStoreWriterQueue, tmp_path: Path
) -> None:
    """Each call after the rename fails once. What is told: it is saved, or that this is uncertain."""
    path = tmp_path / "state.json"

    def batch(system: System) -> list[BaseException | None]:
        path.write_text("{}")
        (tmp_path / ".state.json.tmp").unlink(missing_ok=True)  # or there are more calls
        store = Store(path, queue=queue, durability=durability, system=system)
        with held(queue, path) as holding:
            workers = lined_up(queue, path, lambda: store.update(bump("a")), lambda: store.update(bump("b")))
            holding.release()
            for worker in workers:
                worker.wait()
        return [worker.error for worker in workers]

    recorder = Recorder()
    for _ in range(2):  # once for what is looked at once in the life of a file system
        recorder.forget()
        assert batch(on_disk(is_ordered, recorder)) == [None, None]
    names = recorder.names()
    renamed = names.index("rename" if "rename" in names else "exchange")
    before = open_files(tmp_path)
    failed = 0
    for place in range(renamed + 1, len(names)):
        for late in (False, True):
            fault = Fault(OSError(errno.ESTALE, os.strerror(errno.ESTALE)), skip=place, late=late)
            errors = batch(on_disk(is_ordered, fault))
            assert fault.struck is not None
            assert fault.struck.name == names[place]
            failed += 1
            for error in errors:
                assert error is None or isinstance(error, CommitUncertain), (names[place], error)
            assert Store(path).read() == {"a": 1, "b": 1}
            assert open_files(tmp_path) == before
    assert failed >= 2


@pytest.mark.parametrize("size", [10, 20_000])
@pytest.mark.parametrize("durability", ["process", "power"])
def test_a_look_that_fails_after_the_rename_is_not_told_as_nothing_saved(
    size: int, durability: Durability, queue: PerStoreWriterQueue, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also a look that is none of the system's calls, and which no test of those would make fail."""
    path.write_text(json.dumps({"padding": "x" * size}, separators=(",", ":")))
    renamed = False
    real = os.fstat

    def around(call: Call, proceed: Callable[[], Any]) -> Any:
        nonlocal renamed
        result = proceed()
        renamed = renamed or call.name in ("rename", "exchange")
        return result

    def fstat(fd: int) -> os.stat_result:
        if renamed:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return real(fd)

    store = Store(path, queue=queue, durability=durability, system=intercepted(around))
    store.update(bump("before"))
    before = open_files(path.parent)
    renamed = False
    monkeypatch.setattr(os, "fstat", fstat)
    with held(queue, path) as holding:
        workers = lined_up(queue, path, lambda: store.update(bump("a")), lambda: store.update(bump("b")))
        holding.release()
        for worker in workers:
            worker.wait()
    monkeypatch.undo()
    assert renamed
    assert all(worker.error is None or isinstance(worker.error, CommitUncertain) for worker in workers)
    state = store.read()
    assert (state["a"], state["b"]) == (1, 1)
    assert open_files(path.parent) == before


# -- descriptors -------------------------------------------------------------------------------------------------------


@attrs.frozen
class _Quick(System):
    """Without the waits for a disk; every call that opens is the system's own, in C."""

    def write_out(self, fd: int) -> bool:
        return True


@pytest.mark.parametrize("is_ordered", [False, True])
@pytest.mark.parametrize("durability", ["process", "power"])
@pytest.mark.parametrize("kind", KINDS)
def test_interrupts_leave_no_descriptor_open(
    kind: Kind, durability: Durability, is_ordered: bool, queue: PerStoreWriterQueue, tmp_path: Path
) -> None:
    """At least 500, spread over all points of an update."""
    path = tmp_path / "state.json"
    path.write_text("{}")
    quick = _Quick(flush=os.fstat, flush_folder=os.fstat, journal=lambda device: journal_of(is_ordered))  # type: ignore[arg-type]
    store = Store(path, queue=queue, durability=durability, system=quick)

    def update() -> None:
        store.update(bump("n"))

    update()
    tried = points(update, lambda code: code.co_filename.startswith(_SOURCE))
    before = len(os.listdir("/proc/self/fd"))
    came = 0
    while came < 500:
        for point in tried:
            came += interrupted(update, point, kind=kind).kind is not None
            assert len(os.listdir("/proc/self/fd")) == before, point
    update()
    assert not list(tmp_path.glob(".*.tmp"))


class Interrupted(BaseException):
    """Comes to a thread from elsewhere."""


def test_a_second_interrupt_while_functions_are_applied_again_loses_no_neighbours_update(
    queue: PerStoreWriterQueue, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a shared state: the last one is interrupted before the rename and taken back, and then once more."""
    monkeypatch.setattr(batch, "APPLY_SECONDS", 60.0)
    path.write_text("{}")
    fault = Fault(Interrupted(), name="write")
    store: Store[Any] = Store(path, queue=queue, isolation="shared", system=intercepted(fault))
    runs: list[int] = []

    def first(state: dict[str, int]) -> None:
        runs.append(1)
        if len(runs) == 2:
            raise Interrupted
        bump("first")(state)

    with held(queue, path) as holding:
        calls = [lambda fn=fn: store.update(fn) for fn in (first, bump("second"), bump("last"))]  # type: ignore[misc]
        *others, last = lined_up(queue, path, *calls)
        holding.release()
        for worker in others:
            worker.result()
        last.wait()
    assert isinstance(last.error, Interrupted)
    assert store.read() == {"first": 1, "second": 1}


def test_nor_does_an_interrupt_on_an_event_loop(
    queue: PerStoreWriterQueue, path: Path, run: Callable[[Any], Any]
) -> None:
    path.write_text("{}")
    store: AsyncStore[Any] = AsyncStore(path, queue=queue, isolation="shared")
    runs: list[int] = []
    outcomes: dict[str, Any] = {}

    def first(state: dict[str, int]) -> None:
        runs.append(1)
        if len(runs) == 2:
            raise Interrupted
        bump("first")(state)

    def fail(_: Any) -> None:
        raise ZeroDivisionError

    async def ask(name: str, fn: Callable[[Any], None]) -> None:
        outcomes[name] = None
        try:
            await store.update(fn)
        except BaseException as error:  # noqa: BLE001 - the outcome
            outcomes[name] = type(error)

    async def main() -> None:
        with held(queue, path) as holding:
            async with anyio.create_task_group() as group:
                for place, fn in enumerate((first, bump("second"), fail, bump("last"))):
                    group.start_soon(ask, str(place), fn)
                    await until_async(lambda place=place: queue.pending(path) == place + 1)  # type: ignore[misc]
                holding.release()

    run(main)
    assert outcomes == {"0": None, "1": None, "2": Interrupted, "3": None}
    assert Store(path, queue=queue).read() == {"first": 1, "second": 1, "last": 1}


def test_what_was_taken_back_is_not_acknowledged_if_an_interrupt_comes_right_after_that(
    queue: PerStoreWriterQueue, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The codec cannot read what it wrote for the first one."""
    monkeypatch.setattr(batch, "APPLY_SECONDS", 60.0)
    path.write_text('{"must":1}')
    real = draft.Draft.take_back

    def taken_back(of: draft.Draft, *reason: Any) -> Any:
        real(of, *reason)
        raise Interrupted

    def decode(data: bytes) -> Any:
        state = json.loads(data)
        if "must" not in state:
            raise DecodeError("no 'must'")
        return state

    monkeypatch.setattr(draft.Draft, "take_back", taken_back)
    codec = FunctionCodec(lambda state: json.dumps(state).encode(), decode)
    store: Store[Any] = Store(path, default=lambda: {"must": 1}, codec=codec, queue=queue)
    with held(queue, path) as holding:
        first, last = lined_up(
            queue, path, lambda: store.update(lambda state: state.pop("must")), lambda: store.update(bump("last"))
        )
        holding.release()
        first.wait()
        last.wait()
    assert isinstance(first.error, DecodeError)
    assert isinstance(last.error, Interrupted)
    assert store.read() == {"must": 1}


@pytest.mark.parametrize("durability", ["process", "power"])
@pytest.mark.parametrize("is_there", [False, True])
def test_an_interrupt_after_the_rename_and_then_a_stranger_make_no_update_happen_twice(
    is_there: bool, durability: Durability, queue: PerStoreWriterQueue, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stranger takes no lock, and has read our document: its own has our updates."""
    monkeypatch.setattr(batch, "APPLY_SECONDS", 60.0)
    if is_there:
        path.write_text("{}")
    strangers = [path.with_name("stranger")]

    def around(call: Call, proceed: Callable[[], Any]) -> Any:
        result = proceed()
        if call.name in ("rename", "exchange") and result is not False and strangers:
            stranger = strangers.pop()
            stranger.write_text(json.dumps({**json.loads(path.read_text()), "stranger": 1}))
            stranger.replace(path)
            raise Interrupted
        return result

    store: Store[Any] = Store(path, queue=queue, durability=durability, system=intercepted(around))
    with held(queue, path) as holding:
        first, last = lined_up(queue, path, lambda: store.update(bump("first")), lambda: store.update(bump("last")))
        holding.release()
        first.wait()
        last.wait()
    assert isinstance(first.error, CommitUncertain)
    assert isinstance(last.error, Interrupted)
    assert store.read() == {"first": 1, "last": 1, "stranger": 1}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_failed_function_leaves_no_trace_in_a_shared_state_if_an_interrupt_comes_right_after_it(
    backend: str, queue: PerStoreWriterQueue, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_text("{}")
    real = draft.Draft._start_over
    interrupts: list[BaseException] = [JobTimeout()]

    def interrupted_start(of: draft.Draft, shared: Any) -> Any:
        if interrupts:
            raise interrupts.pop()
        return real(of, shared)

    monkeypatch.setattr(draft.Draft, "_start_over", interrupted_start)

    def fail(state: dict[str, int]) -> None:
        state["trace"] = 1
        raise ZeroDivisionError

    company = Company(backend, queue, path, isolation="shared")
    outcomes = company.apply(bump("first"), fail, bump("last"))
    assert [type(outcome) for outcome in outcomes] == [type(None), JobTimeout, type(None)]
    assert company.store.read() == {"first": 1, "last": 1}


def failing_once() -> System:
    """The first flush of a folder fails. (What opens and closes is the system's own: written in C.)"""
    errors = [OSError(errno.EIO, "input/output error")]

    def flush_folder(fd: int) -> None:
        if errors:
            raise errors.pop()
        SYSTEM.flush_folder(fd)

    return System(flush_folder=flush_folder, journal=lambda _: Journal.OTHER)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("changes", [True, False])
def test_a_flush_that_has_failed_is_not_made_again_because_of_an_interrupt(
    changes: bool, kind: Kind, queue: PerStoreWriterQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one would succeed, and prove nothing. The main thread saves and flushes, the other one waits for it."""
    monkeypatch.setattr(batch, "APPLY_SECONDS", 60.0)
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    number = 0
    acknowledged: list[Landing] = []
    workers: list[Worker] = []
    failed = {replace.Commit.flush.__code__, replace._flush_as_it_is.__code__, Flushes.settle.__code__}

    def inside(code: CodeType) -> bool:
        return code in failed or (code.co_filename == replace.__file__ and code.co_name == "note_flushed")

    def run(call: Callable[[Callable[[], object]], Any]) -> Any:
        nonlocal number
        number += 1
        path = tmp_path / f"{number}.json"
        path.write_text("{}")
        store: Store[Any] = Store(path, queue=queue, system=failing_once())
        change = bump("n") if changes else len
        with held(queue, path) as holding:
            (other,) = workers[:] = lined_up(queue, path, lambda: store.update(change))
            releaser = Worker(lambda: (until(lambda: queue.pending(path) == 2), holding.release()))
            try:
                return call(lambda: store.update(change))
            finally:
                releaser.wait()
                other.wait()

    tried: list[Point] = []

    def find(operation: Callable[[], object]) -> None:
        def caught() -> None:
            with contextlib.suppress(CommitUncertain):
                operation()

        tried.extend(points(caught, inside))

    run(find)
    for point in tried:
        landing = run(lambda operation, point=point: interrupted(operation, point, kind=kind))  # type: ignore[misc]
        if workers[0].error is None:
            acknowledged.append(landing)
    assert not acknowledged
    assert len(tried) >= 5


def test_what_two_interrupts_have_left_open_is_closed_without_the_collector(
    queue: PerStoreWriterQueue, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first comes where the document would be closed again, and is kept as the update's error; another one comes out."""
    path.write_text("{}")
    store = Store(path, queue=queue, durability="process")
    store.update(bump("a"))
    before = open_files(path.parent)
    close, save, hits = Descriptor.close, batch.Batch.save, list[str]()

    def interrupted_close(descriptor: Descriptor, *args: Any, **settings: Any) -> None:
        if sys._getframe(1).f_code.co_name == "_read" and not hits:
            hits.append("close")
            raise JobTimeout
        close(descriptor, *args, **settings)

    def interrupted_save(*args: Any) -> None:
        if len(hits) == 1:
            hits.append("save")
            raise JobTimeout
        save(*args)

    gc.disable()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(Descriptor, "close", interrupted_close)
            patch.setattr(batch.Batch, "save", interrupted_save)
            with contextlib.suppress(JobTimeout):
                store.update(bump("a"))
        assert hits == ["close", "save"]
        assert open_files(path.parent) == before
    finally:
        gc.enable()
