"""A hold whose release was interrupted is not passed on to the next in line: the lock may be free already."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.lines import lined_up
from storewriter import PerStoreWriterQueue
from storewriter._turns import line
from storewriter.locks import flock


class Alarm(Exception):
    """What a signal handler raises."""


def once(call: Callable[..., Any], *, late: bool) -> Callable[..., Any]:
    """The call; the first time it is interrupted, after its effect or before it has begun."""
    calls = 0

    def interrupted(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 1:
            return call(*args)
        if late:
            call(*args)
        raise Alarm

    return interrupted


def test_the_next_in_line_has_the_lock(queue: PerStoreWriterQueue, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other_programs_get_in() -> bool:
        with open(path.with_name(f".{path.name}.lock")) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    def take() -> bool:
        with queue.turn(path, timeout=10):
            return other_programs_get_in()

    answers = iter([False])  # the first time the lock is to be given back, because another process waits
    monkeypatch.setattr(line, "_may_pass", lambda _: next(answers, True))
    real = fcntl.flock
    unlock = once(real, late=True)
    monkeypatch.setattr(fcntl, "flock", lambda fd, call: (unlock if call == fcntl.LOCK_UN else real)(fd, call))
    monkeypatch.setattr(flock._FlockHold, "close", once(flock._FlockHold.close, late=False))
    monkeypatch.setattr(line, "_release_again", once(line._release_again, late=False))
    request = queue.turn(path)
    request.__enter__()
    (waiting,) = lined_up(queue, path, take)
    with pytest.raises(Alarm):
        request.__exit__(None, None, None)
    assert waiting.result() is False
