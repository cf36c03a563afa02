"""Threads of our own: one blocking call each, never a pool that other work could exhaust.

Promise    A call starts at once, however busy anybody's pool is. A thread whose call has ended waits a moment for the
           next one, because a hand-over costs a third of a start (18 against 55 us of CPU time, measured), and is gone
           after that: an idle process has none.
Does not   keep the interpreter alive: whatever has not been acknowledged at exit was not promised.
"""

from __future__ import annotations

import _thread
import contextlib
import threading
from collections.abc import Callable, Generator
from typing import Any, Final

from storewriter import _forks

_LINGER: Final = 0.02
"""Seconds that a thread waits for its next call."""


class _Worker:
    __slots__ = ("call", "wake")

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call
        self.wake = _thread.allocate_lock()
        self.wake.acquire()

    def run(self) -> None:
        while True:
            call, self.call = self.call, None
            assert call is not None
            call()
            del call  # or it would keep its objects alive while we linger
            _idle.append(self)
            if self.wake.acquire(timeout=_LINGER):
                continue
            try:
                _idle.remove(self)
            except ValueError:
                self.wake.acquire()  # chosen at the last moment: the call is on its way
            else:
                return


_idle: list[_Worker] = []
"""Taken and given back with single list operations, which are atomic."""

_forks.in_child(_idle.clear)


def start(call: Callable[..., None], *args: Any) -> None:
    """Run `call(*args)` in a thread of its own. The call must answer for its own errors.

    Raises RuntimeError if the system gives no more threads.
    """
    job = (lambda: call(*args)) if args else call
    worker = _choose()
    if worker is None:
        _thread.start_new_thread(_Worker(job).run, ())
        return
    worker.call = job
    worker.wake.release()


def _choose() -> _Worker | None:
    """Take an idle thread off the list: it waits for its call from here on."""
    while True:
        try:
            worker = _idle[-1]
        except IndexError:
            return None
        try:
            _idle.remove(worker)
        except ValueError:
            continue  # somebody else has chosen it, or it has gone
        except BaseException:
            # A KeyboardInterrupt, right after it was chosen: it must not wait for its call for ever.
            worker.call = _nothing
            worker.wake.release()
            raise
        return worker


def _nothing() -> None:
    pass


class Relieved(BaseException):
    """Raised in a thread whose place another one has taken: it ends, and whatever it was to bring is not its own."""


class _Relief(threading.local):
    send: Callable[[], None] | None = None


_relief = _Relief()


@contextlib.contextmanager
def relieved_by(call: Callable[..., None], *args: Any) -> Generator[None]:
    """What to start in a thread of its own, should this one wait in vain in a call that nothing can interrupt."""
    _relief.send = lambda: start(call, *args)
    try:
        yield
    finally:
        _relief.send = None


def relief() -> Callable[[], None] | None:
    """How another thread is sent in place of this one, which must then raise `Relieved`; None if it cannot be.

    Raises RuntimeError if the system gives no more threads.
    """
    return _relief.send
