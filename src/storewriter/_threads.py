"""Threads of our own: one blocking call each, never a pool that other work could exhaust.

Promise    A call starts at once however busy anybody's pool is; when it has ended, its thread is gone.
How        `_thread.start_new_thread`. A measured hop costs half of `threading.Thread`'s and about what a hand-over to
           a waiting thread costs, so keeping idle threads would buy nothing (docs/architecture.md).
Does not   keep the interpreter alive: whatever has not been acknowledged at exit was not promised.
"""

from __future__ import annotations

import _thread
from collections.abc import Callable
from typing import Any


def start(call: Callable[..., None], *args: Any) -> None:
    """Run `call(*args)` in a new thread. The call must answer for its own errors.

    Raises RuntimeError if the system gives no more threads.
    """
    _thread.start_new_thread(call, args)
