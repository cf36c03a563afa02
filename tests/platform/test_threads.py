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
