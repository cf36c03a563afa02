"""What a turn needs of the system and does not get: said with the store's name, and nothing is left behind."""

from __future__ import annotations

import _thread
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from helpers.children import HOLDER, child
from helpers.lines import lined_up
from helpers.waiting import until
from storewriter import LockTimeout, PerStoreWriterQueue, StoreWriterError
from storewriter._platform import threads
from storewriter._turns import line


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The package gets none from now on; `threading` still does."""

    def none_left(*args: Any) -> int:
        raise RuntimeError("can't start new thread")

    until(lambda: not threads._idle)
    monkeypatch.setattr(_thread, "start_new_thread", none_left)
    return monkeypatch


def test_a_task_that_would_have_to_wait_without_a_thread_is_told_for_which_store(
    queue: PerStoreWriterQueue, path: Path, run: Any, no_threads: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        with pytest.raises(
            StoreWriterError, match=f"cannot wait for the turn on {path}: no thread can be started"
        ) as caught:
            async with queue.turn(path):
                pass
        assert caught.value.__dict__["path"] == str(path)

    with child(HOLDER, path) as holder:
        holder.expect("holding")
        run(main)
        assert line.lanes.get(str(path)) is None
        no_threads.undo()
        holder.tell()
        holder.finish()
    with queue.turn(path):
        pass


@pytest.mark.usefixtures("no_threads")
def test_a_plain_thread_that_must_wait_and_gets_no_other_thread_asks_again_by_itself(
    queue: PerStoreWriterQueue, path: Path
) -> None:
    def ask() -> None:
        with queue.turn(path):
            pass

    with child(HOLDER, path) as holder:
        holder.expect("holding")
        with pytest.raises(LockTimeout, match=f"pid {holder.pid}"), queue.turn(path, timeout=0.05):
            pass
        (worker,) = lined_up(queue, path, ask)
        holder.tell()
        worker.result()
        holder.finish()
    assert line.lanes.get(str(path)) is None


@pytest.mark.parametrize(
    ("lock", "told"),
    [
        ("flock", "in\n"),
        ("marker", "in\n"),
        ("lease", "StoreWriterError no turn on {path} any more: the interpreter is shutting down"),
    ],
)
def test_a_first_turn_after_the_end_of_the_program_needs_no_module_and_no_thread(
    path: Path, lock: str, told: str
) -> None:
    """Neither can be had then. A lease cannot do without a thread for its heartbeat."""
    code = """
import sys
from storewriter import PerStoreWriterQueue, StoreWriterError

class Late:
    def __del__(self):
        try:
            with queue.turn(path):
                print("in")
        except StoreWriterError as error:
            print(type(error).__name__, error)

path, lock = sys.argv[1:]
queue = PerStoreWriterQueue(lock)
sys.modules["late"] = Late()
"""
    done = subprocess.run(
        [sys.executable, "-c", code, path, lock], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.startswith(told.format(path=path))
    assert not done.stderr
