"""A signal handler, or a finalizer, that runs at every point at which CPython can run it, one point a run.

For the points see `helpers/interrupts.py`. What arrives here is a function that returns: a signal handler is run where
CPython itself looks for signals next, a finalizer at the very instruction, because the collector runs at an allocation.
"""

from __future__ import annotations

import ctypes
import functools
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from helpers.interrupts import Point, _each_instruction, _idle

_trip = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.py_object, ctypes.py_object, ctypes.py_object)(
    ("PyErr_SetInterruptEx", ctypes.pythonapi)
)
"""As if the signal had arrived. Called with the three arguments of a trace function behind its own, which C ignores."""
_trip.restype = {0: _idle}.get  # type: ignore[assignment]

HANDLERS = ("signal handler", "finalizer")


def handled(operation: Callable[[], object], point: Point, kind: str, handler: Callable[[], None]) -> bool:
    """Run the operation in the main thread, and the handler at this point of it. Returns whether it was run."""
    runs = 0

    def handle(*_: object) -> None:
        nonlocal runs
        runs += 1
        handler()

    previous = signal.signal(signal.SIGUSR1, handle)
    before = sys.gettrace()
    sys.settrace(_armed_at(point, handle if kind == "finalizer" else None))
    try:
        operation()
    finally:
        sys.settrace(before)
        signal.signal(signal.SIGUSR1, previous)
    assert runs <= 1
    return runs == 1


def _armed_at(point: Point, finalizer: Callable[[], None] | None) -> Any:
    seen = 0

    def reached(frame: FrameType) -> Any:
        _leave(frame)
        if finalizer is None:
            return functools.partial(_trip, signal.SIGUSR1)
        finalizer()
        return _idle

    def local(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal seen
        if event == "opcode" and frame.f_lasti == point.before:
            seen += 1
            if seen == point.turn:
                return reached(frame)
        return local

    def entered(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal seen
        if frame.f_code is not point.code:
            return None
        if point.before == -1:
            seen += 1
            return _each_instruction(frame, reached(frame)) if seen == point.turn else None
        return _each_instruction(frame, local)

    return entered


def _leave(frame: FrameType) -> None:
    """Nothing is traced any more."""
    sys.settrace(_idle)
    back = frame.f_back
    while back is not None:
        back.f_trace = None
        back = back.f_back
