"""A turn whose caller is gone ends, also if an interrupt hits every function in Python that would have ended it.

A timer that raises again and again does that under load: this thread gets the interpreter with an interrupt due, and
loses it again while the interpreter reports the one that hit a callback.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

from helpers.lines import Worker
from helpers.waiting import until
from storewriter import PerStoreWriterQueue, Store
from storewriter import store as store_module
from storewriter._turns import ending, line


class Alarm(Exception):
    """What a signal handler raises."""


@contextmanager
def interrupted(*codes: CodeType) -> Iterator[list[str]]:
    """Every call of these functions in this thread is interrupted where it begins. What comes out there is dropped."""
    hits: list[str] = []

    def trace(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code in codes:
            hits.append(frame.f_code.co_name)
            raise Alarm  # which ends the tracing

    def again(*_: Any) -> None:
        sys.settrace(trace)

    before, hook = sys.gettrace(), sys.unraisablehook
    sys.unraisablehook = again
    sys.settrace(trace)
    try:
        yield hits
    finally:
        sys.settrace(before)
        sys.unraisablehook = hook


def is_free(queue: PerStoreWriterQueue, path: Path) -> None:
    """Another thread gets the turn."""

    def take() -> None:
        with queue.turn(path, timeout=10):
            pass

    worker = Worker(take)
    worker.wait()
    worker.result()


def test_every_callback_is_interrupted_where_it_begins(queue: PerStoreWriterQueue, path: Path) -> None:
    request = queue.turn(path)
    request.__enter__()
    with interrupted(ending.release_abandoned.__code__) as hits:
        del request
    assert hits
    is_free(queue, path)


def test_every_end_of_an_update_is_interrupted_where_it_begins(
    queue: PerStoreWriterQueue, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store: Store[Any] = Store(path, queue=queue)

    def interrupt(_: line.Ticket) -> None:
        raise Alarm

    with monkeypatch.context() as patch, interrupted(ending.release_abandoned.__code__), pytest.raises(Alarm):
        patch.setattr(store_module, "leave_turn", interrupt)
        patch.setattr(store_module, "leave_for_good", interrupt)
        store.update(lambda state: state.update(a=1))
    is_free(queue, path)
    assert store.read() == {"a": 1}


def test_the_thread_that_had_claimed_the_release_does_not_come_back_to_it(
    queue: PerStoreWriterQueue, path: Path
) -> None:
    request = queue.turn(path)
    request.__enter__()
    head = line.lanes[str(path)].head
    assert head is not None
    del head.release_claim[0]  # `advance`, interrupted in the next call
    head.releasing_thread = threading.get_ident()
    with interrupted(ending.release_abandoned.__code__):
        del request
    is_free(queue, path)


def test_meanwhile_its_own_thread_waits_and_is_not_told_that_it_holds_the_turn(
    queue: PerStoreWriterQueue, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = queue.turn(path)
    request.__enter__()
    may_go = threading.Event()
    release_now = ending._release_now

    def later(ticket: line.Ticket) -> bool:
        assert may_go.wait(10)
        return release_now(ticket)

    monkeypatch.setattr(ending, "_release_now", later)
    with interrupted(ending.release_abandoned.__code__):
        del request
    waiting = Worker(lambda: (until(lambda: queue.pending(path) == 1), may_go.set()))
    with queue.turn(path, timeout=10):
        pass
    waiting.result()
