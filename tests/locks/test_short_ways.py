"""What a lock costs: how few functions of ours it enters, and that it loads no module."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import Any

import pytest

import storewriter
from storewriter import PerStoreWriterQueue
from storewriter._platform import threads
from storewriter.locks import Flock
from storewriter.locks.flock import _has_waiter

_SOURCE = str(Path(storewriter.__file__).parent)


def entered(call: Callable[[], object]) -> set[str]:
    """The functions of the package that a call enters."""
    found: set[str] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(_SOURCE):
            found.add(frame.f_code.co_qualname)

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return found


def fewest(call: Callable[[], set[str]]) -> set[str]:
    """The least of several times: what was looked up is looked up again after a moment, which may be over."""
    return min((call() for _ in range(10)), key=len)


def test_a_free_lock_and_its_release_enter_few_functions(path: str) -> None:
    flock = Flock()

    def take() -> None:
        hold = flock.attempt(path, None)
        assert hold is not None
        hold.release()

    take()  # what is examined once
    found = fewest(lambda: entered(take))
    assert len(found) <= 11, found


def test_a_wait_and_its_release_enter_few_functions(path: str) -> None:
    flock = Flock()
    flock.wait(path, None).release()
    found = fewest(lambda: entered(lambda: flock.wait(path, None).release()))
    assert len(found) <= 12, found
    assert "Owner.from_record" not in found  # a record of the same strategy is not parsed


def test_a_turn_that_has_to_wait_enters_few_functions(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its own thread and in the waiting one: the lock is held elsewhere until it is waited for."""
    queue = PerStoreWriterQueue()
    in_waiting_thread: list[set[str]] = []
    waiting: list[Thread] = []

    def turn() -> None:
        with queue.turn(path):
            pass

    def start(call: Callable[..., None], *args: object) -> None:
        waiting.append(Thread(target=lambda: in_waiting_thread.append(entered(lambda: call(*args)))))
        waiting[-1].start()

    def wait_for_turn() -> set[str]:
        sidecar = os.open(queue._lock_of(path).sidecar or "", os.O_RDWR)

        def hold_until_awaited() -> None:
            while not _has_waiter(sidecar, path):
                os.sched_yield()
            fcntl.flock(sidecar, fcntl.LOCK_UN)

        fcntl.flock(sidecar, fcntl.LOCK_EX)
        holder = Thread(target=hold_until_awaited)
        holder.start()
        try:
            return entered(turn)
        finally:
            holder.join()
            waiting.pop().join()
            os.close(sidecar)

    turn()  # what is examined once
    monkeypatch.setattr(threads, "start", start)
    own = fewest(wait_for_turn)
    found = fewest(in_waiting_thread.pop)
    assert len(own) <= 34, own
    assert len(found) <= 16, found


@pytest.mark.parametrize("lock", ["flock", "marker", "lease"])
def test_no_turn_loads_a_module(path: str, lock: str) -> None:
    """In a signal handler, without descriptors, without rights or at the end of the program it could not."""
    code = """
import sys
from storewriter import LockTimeout, PerStoreWriterQueue, Store
path, lock = sys.argv[1:]
queue, other = PerStoreWriterQueue(lock), PerStoreWriterQueue(lock, timeout=0.05)
store = Store(path, queue=queue)
before = set(sys.modules)
with queue.turn(path):
    pass
store.update(lambda state: state.update(a=1))
held = type(queue.lock)().attempt(path, None)
try:
    other.turn(path).__enter__()
except LockTimeout as error:
    str(error)
held.release()
print(sorted(set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-c", code, path, lock], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
