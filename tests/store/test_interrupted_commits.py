"""What comes in the middle of a commit belongs to the thread it came to; and what a step says about the disk is true."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest

import storewriter
from helpers.companies import Company
from helpers.interrupts import KINDS, Kind, interrupted, points
from helpers.lines import Worker, held, lined_up
from helpers.waiting import wait_for
from storewriter import CommitUncertain, PerStoreWriterQueue, Store
from storewriter._journals import Journal
from storewriter.testing import Call, Fault, Recorder, System, intercepted

_SOURCE = os.path.dirname(storewriter.__file__)

Durability = Literal["power", "process"]


class JobTimeout(Exception):
    """What a library for jobs raises when a job has taken too long."""


@contextlib.contextmanager
def alarms(error: type[Exception], interval: float) -> Iterator[None]:
    """The main thread is sent an exception again and again."""

    def handler(*_: object) -> None:
        raise error("the job takes too long")

    before = signal.signal(signal.SIGALRM, handler)
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, interval, interval)
            yield
        finally:
            _disarm()
    finally:
        signal.signal(signal.SIGALRM, before)


def _disarm() -> None:
    while True:
        try:
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
            signal.setitimer(signal.ITIMER_REAL, 0)
        except (JobTimeout, TimeoutError):
            continue
        return


def bump(name: str) -> Callable[[Any], None]:
    def fn(state: dict[str, int]) -> None:
        state[name] = state.get(name, 0) + 1

    return fn


@pytest.mark.parametrize("durability", ["process", "power"])
@pytest.mark.parametrize("error", [JobTimeout, TimeoutError])
def test_a_time_limit_of_one_thread_is_no_answer_to_another_one(
    error: type[Exception], durability: Durability, queue: PerStoreWriterQueue, path: Path
) -> None:
    store = Store(path, queue=queue, durability=durability)
    done: Counter[str] = Counter()
    ended = threading.Event()

    def update_until_the_end(name: str) -> None:
        while not ended.is_set():
            store.update(bump(name))
            done[name] += 1

    workers = [Worker(lambda name=name: update_until_the_end(name)) for name in "abcd"]  # type: ignore[misc]
    asked = raised = 0
    try:
        with contextlib.suppress(error), alarms(error, 0.002):
            while True:  # a condition's jump back might have no handler (turns/test_loops_in_handlers.py)
                try:
                    asked += 1
                    store.update(bump("main"))
                    done["main"] += 1
                except error:
                    raised += 1
                if raised == 150:
                    break
    finally:
        ended.set()
    for worker in workers:
        worker.result()  # raises what a neighbour was told
    state = store.read()
    own = state.pop("main", 0)
    assert done.pop("main", 0) <= own <= asked
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
@pytest.mark.parametrize("error", [JobTimeout, TimeoutError])
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


# -- after the rename --------------------------------------------------------------------------------------------------


def open_files(folder: Path) -> list[str]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{name}")
            if target.startswith(str(folder)):
                found.append(target)
    return sorted(found)


class _OnDisk:
    """A file system with this journal; then whatever else is done to its calls."""

    def __init__(self, journal: Journal, around: Callable[[Call, Callable[[], Any]], Any]) -> None:
        self._journal = journal
        self._around = around

    def __call__(self, call: Call, proceed: Callable[[], Any]) -> Any:
        if call.name == "journal":
            return self._journal
        return self._around(call, proceed)


def on_disk(journal: Journal, around: Callable[[Call, Callable[[], Any]], Any]) -> System:
    return intercepted(_OnDisk(journal, around))


@pytest.mark.parametrize("journal", Journal)
@pytest.mark.parametrize("durability", ["process", "power"])
def test_an_error_after_the_rename_is_never_told_as_nothing_saved(
    durability: Durability, journal: Journal, queue: PerStoreWriterQueue, tmp_path: Path
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
        assert batch(on_disk(journal, recorder)) == [None, None]
    names = recorder.names()
    renamed = names.index("rename" if "rename" in names else "exchange")
    before = open_files(tmp_path)
    failed = 0
    for place in range(renamed + 1, len(names)):
        for late in (False, True):
            fault = Fault(OSError(errno.ESTALE, os.strerror(errno.ESTALE)), skip=place, late=late)
            errors = batch(on_disk(journal, fault))
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

    def flush(self, fd: int) -> None:
        os.fstat(fd)

    def flush_folder(self, fd: int) -> None:
        os.fstat(fd)


@pytest.mark.parametrize("journal", [Journal.OTHER, Journal.ORDERED])
@pytest.mark.parametrize("durability", ["process", "power"])
@pytest.mark.parametrize("kind", KINDS)
def test_interrupts_leave_no_descriptor_open(
    kind: Kind, durability: Durability, journal: Journal, queue: PerStoreWriterQueue, tmp_path: Path
) -> None:
    """At least 500, spread over all points of an update."""
    path = tmp_path / "state.json"
    path.write_text("{}")
    store = Store(path, queue=queue, durability=durability, system=_Quick(journal=lambda _: journal))

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
