"""What a lock costs: how few functions of ours it enters, and that it loads no module."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import storewriter
from storewriter.locks import Flock

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


def test_a_free_lock_and_its_release_enter_few_functions(path: str) -> None:
    flock = Flock()

    def take() -> None:
        hold = flock.attempt(path, None)
        assert hold is not None
        hold.release()

    take()  # what is examined once
    assert len(entered(take)) <= 11, entered(take)


def test_a_wait_and_its_release_enter_few_functions(path: str) -> None:
    flock = Flock()
    flock.wait(path, None).release()
    found = entered(lambda: flock.wait(path, None).release())
    assert len(found) <= 14, found
    assert "Owner.from_record" not in found  # a record of the same strategy is not parsed


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
