"""What may come in the middle of a step: Ctrl-C, an exception from a signal handler, a thread's async exception.

Promise    Only errors of the steps themselves (`is_of_a_step`) are an answer to an update. Whatever else is raised
           belongs to the thread in which it was raised: the steps that other callers wait for are done first, and then
           the exception goes on (`until_done`).
How        Steps can be repeated: each keeps in its object how far it has come. CPython looks for signals where a
           function begins, where a loop jumps back, and after a call of something written in C; between plain stores
           nothing can come.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from storewriter.errors import LockTimeout, QueueFull, ReentrantTurn, StoreWriterError

_OF_ASKING: Final = (LockTimeout, QueueFull, ReentrantTurn)

_MOST: Final = 1000
"""So often a step is repeated. A step that can never succeed must not hang its thread."""


def is_of_a_step(error: BaseException) -> bool:
    """Whether a step of ours may have raised this: an error of this package, or one of a system call.

    The kernel's errors have a number; `TimeoutError`, which signal handlers like to raise, is an OSError without one.
    No step asks for a turn: what only asking raises comes from a handler that updates a store.
    """
    if isinstance(error, StoreWriterError):
        return not isinstance(error, _OF_ASKING)
    return isinstance(error, OSError) and error.errno is not None


def quietly(call: Callable[..., object], *args: object) -> None:
    """Make a system call whose failure does not matter. What is not the call's own error is raised."""
    try:
        call(*args)
    except OSError as error:
        if error.errno is None:
            raise


def until_done(step: Callable[..., object], *args: object, problem: BaseException | None = None) -> None:
    """Repeat a step until it has come to its end, and raise then what came in the middle.

    It is called again after every error: what is done already is not done twice. `problem` is what came before.
    """
    try:
        for _ in range(_MOST):
            try:
                step(*args)
            except BaseException as error:
                if problem is None or (is_of_a_step(problem) and not is_of_a_step(error)):
                    problem = error
            else:
                break
        if problem is not None:
            raise problem
    finally:
        # It refers to this frame: the cycle would keep the caller's frames alive, also if another interrupt ends this.
        problem = None
