"""No exception of a signal handler is raised in the middle of `filelock`, whose own locks it could leave locked."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import filelock
import pytest

from storewriter import PerStoreWriterQueue


@pytest.fixture
def interrupted() -> Iterator[list[list[str]]]:
    """The stacks, by names of functions, in which the handler of SIGUSR1 was called; it raises an error."""
    stacks: list[list[str]] = []

    def handler(_: int, frame: FrameType | None) -> None:
        stack: list[str] = []
        while frame is not None:
            stack.append(frame.f_code.co_name)
            frame = frame.f_back
        stacks.append(stack)
        raise TimeoutError

    before = signal.signal(signal.SIGUSR1, handler)
    yield stacks
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("step", ["acquire", "release"])
@pytest.mark.parametrize("lock", ["marker", "lease"])
def test_the_main_thread_makes_no_step_of_it(
    lock: Any, step: str, path: Path, interrupted: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = filelock.MarkerSoftFileLock if lock == "marker" else filelock.SoftFileLease
    original = getattr(kind, step)

    def with_signal(self: filelock.SoftFileLock, *args: object, **options: object) -> object:
        monkeypatch.undo()
        os.kill(os.getpid(), signal.SIGUSR1)
        return original(self, *args, **options)

    monkeypatch.setattr(kind, step, with_signal)
    queue = PerStoreWriterQueue(lock=lock)
    with pytest.raises(TimeoutError), queue.turn(path):
        pass
    assert len(interrupted) == 1
    assert "with_signal" not in interrupted[0]
    with queue.turn(path, timeout=0):
        pass
