"""Calls of `filelock`, where no signal handler can raise an error in the middle of them: `undisturbed`.

filelock has locks of its own, which all its locks in the process share. An exception that a signal handler raises right
after one was taken leaves it locked: the thread can take it again, and every other one would wait for ever. Python runs
signal handlers in the main thread; there, the call is made in a thread of our own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from storewriter._platform.interrupts import until_done
from storewriter._platform.marks import in_step
from storewriter._platform.threads import Apart

T = TypeVar("T")


def undisturbed(call: Callable[[], T]) -> T:
    """What the call returns or raises; what interrupts this thread is raised when the call has ended."""
    if threading.get_ident() != threading.main_thread().ident:
        return call()
    answer: list[T] = []
    apart = Apart(lambda: answer.append(in_step(call)))
    until_done(apart.finish)
    error = apart.finish()
    try:
        if error is not None:
            raise error
    finally:
        del error  # it refers to this frame
    return answer[0]
