"""Threads of our own: a call that was started is made."""

from __future__ import annotations

import _thread
import contextlib
import ctypes
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from helpers.lines import Worker
from helpers.waiting import until, wait_for
from storewriter._platform import threads


def test_an_exception_that_is_sent_to_a_thread_while_it_starts_another_one_loses_no_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In CPython 3.11 it ends the new thread, before that has begun."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    calls: list[int] = []
    is_made = threading.Event()

    def call() -> None:
        calls.append(1)
        is_made.set()

    class Sending:
        allocate_lock = staticmethod(_thread.allocate_lock)

        @staticmethod
        def start_new_thread(run: Callable[..., object], args: tuple[Any, ...]) -> None:
            monkeypatch.setattr(threads, "_thread", _thread)
            _thread.start_new_thread(run, args)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(threading.get_ident()), ctypes.py_object(KeyboardInterrupt)
            )

    def ask() -> None:
        with contextlib.suppress(KeyboardInterrupt):
            threads.start(call)
            for _ in range(3):
                pass  # in other versions it comes out here

    until(lambda: not threads._idle, "the end of idle threads")
    monkeypatch.setattr(threads, "_thread", Sending)
    Worker(ask).result()
    wait_for(is_made, "the call")
    until(lambda: not threads._idle, "the end of its thread")
    assert calls == [1]


def test_a_periodic_check_is_made_until_it_finds_nothing_and_again_when_it_is_asked_for() -> None:
    todo = [3, 2, 1]
    threads_used: set[int] = set()

    def check() -> bool:
        threads_used.add(threading.get_ident())
        if todo:
            todo.pop()
        return bool(todo)

    periodic = threads.Periodic(0.001, check)
    for _ in range(2):
        periodic.ensure()
        periodic.ensure()  # it runs already, or has ended
        until(lambda: not todo and not periodic._runner, "the end of the checks")
        assert threading.get_ident() not in threads_used
        todo.extend([2, 1])
    todo.clear()


def test_what_is_noted_at_the_moment_of_the_last_check_is_checked() -> None:
    """1. The check finds nothing. 2. Something is noted; the thread still runs, so no other one starts. 3. It ends."""
    todo: list[str] = []
    seen: list[str] = []
    is_seen = threading.Event()
    moments = iter(["last check"])

    def check() -> bool:
        is_more = bool(todo)
        seen.extend(todo)
        if seen:
            is_seen.set()
        todo.clear()
        if not is_more and next(moments, None):
            todo.append("noted")
            periodic.ensure()
        return is_more

    periodic = threads.Periodic(0.001, check)
    periodic.ensure()
    wait_for(is_seen, "the check of what was noted")
    assert seen == ["noted"]
    until(lambda: not periodic._runner, "the end of the checks")


def test_a_check_for_which_no_thread_could_be_had_can_be_asked_for_again() -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    is_made = threading.Event()

    def check() -> bool:
        is_made.set()
        return False

    periodic = threads.Periodic(0.001, check)
    with pytest.raises(RuntimeError, match="can't start"):
        periodic.ensure(refuse)
    periodic.ensure()
    wait_for(is_made, "the check")
    until(lambda: not periodic._runner, "the end of the checks")


@pytest.mark.parametrize("kind", ["trace", "profile"])
def test_debuggers_and_profilers_see_what_runs_in_a_thread_of_ours(kind: str) -> None:
    """A codec of a caller runs in one: a breakpoint in it stops, and its lines count as covered."""
    seen: list[str] = []
    is_made = threading.Event()

    def look(frame: Any, event: str, _: Any) -> None:
        if event == "call":
            seen.append(frame.f_code.co_name)

    def call_of_a_caller() -> None:
        is_made.set()

    setting: Any = getattr(threading, f"set{kind}")
    before = getattr(threading, f"get{kind}")()
    until(lambda: not threads._idle, "no thread that has begun before")
    setting(look)
    try:
        threads.start(call_of_a_caller)
        wait_for(is_made, "the call")
    finally:
        setting(before)
    assert "call_of_a_caller" in seen


def test_threading_lists_no_thread_of_ours_that_asked_which_one_it_is() -> None:
    """As `logging` does; CPython 3.11 keeps what it has made for the answer after the thread's end."""
    before = threading.enumerate()
    has_asked = threading.Event()

    def ask() -> None:
        assert threading.current_thread() not in before
        has_asked.set()

    threads.start(ask)
    wait_for(has_asked)
    until(lambda: threading.enumerate() == before, "the thread's end")
