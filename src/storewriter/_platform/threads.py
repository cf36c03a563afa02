"""Threads of our own: one blocking call each, never a pool that other work could exhaust.

Promise    A call starts at once, however busy the program's pools are. A thread whose call has ended waits a moment for
           the next one, because a hand-over costs a third of a start (18 against 55 us of CPU time, measured), and then
           exits: an idle process has none.
Does not   keep the interpreter alive: whatever has not been acknowledged at exit was not promised.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from threading import Event
from typing import Any, Final

from storewriter._platform import forks

_LINGER: Final = 0.02
"""Seconds that a thread waits for its next call."""


class _Worker:
    process = 0
    """Where its thread was started; 0: that has not come to its end."""

    def __init__(self, call: Callable[..., None], args: tuple[Any, ...]) -> None:
        self.call = call
        self.args = args
        self.wake = _thread.allocate_lock()
        self.wake.acquire()

    def run(self) -> None:  # pragma: no cover - begins before the thread has a tracer
        _obey_hooks()
        while True:
            call, args, self.call, self.args = self.call, self.args, _nothing, ()
            call(*args)
            del call, args  # so that an idle thread keeps no objects alive
            _known.pop(threading.get_ident(), None)
            _idle.append(self)
            if self.wake.acquire(timeout=_LINGER):
                continue
            try:
                _idle.remove(self)
            except ValueError:
                self.wake.acquire()  # chosen at the last moment: the call is on its way
            else:
                return

    def __del__(self) -> None:
        # CPython 3.11 takes a thread that has not begun for the one that has started it: an exception that is sent to
        # that one (PyThreadState_SetAsyncExc) ends this one before it could make its call, for which others wait.
        if self.process and self.call is not _nothing and self.process == os.getpid():
            start(self.call, *self.args)


def _obey_hooks() -> None:  # pragma: no cover - runs before the thread has a tracer
    """As `threading.Thread` does: debuggers, profilers and coverage see callers' codecs, which run in these threads."""
    trace, profile = threading.gettrace(), threading.getprofile()
    if trace is not None:
        # CPython 3.11 refuses it while another thread does the same. The call is made without the hook then: a thread
        # that ends here would leave its caller waiting for ever.
        with contextlib.suppress(RuntimeError):
            sys.settrace(trace)
    if profile is not None:
        sys.setprofile(profile)


_known: Final[dict[int, threading.Thread]] = getattr(threading, "_active", {})
"""Of `threading`: its threads by number. A thread of ours gets in if a call asks which thread it is, as filelock and
logging do, and CPython 3.11 would show it in `threading.enumerate()` after its end."""

_idle: list[_Worker] = []
"""Taken and given back with single list operations, which are atomic (also in a free-threaded build)."""

forks.in_child(_idle.clear)


def start(call: Callable[..., None], *args: Any) -> None:
    """Run `call(*args)` in a thread of its own. The call must answer for its own errors.

    Raises RuntimeError if the system gives no more threads.
    """
    if not _hand_to_idle(call, args):
        worker = _Worker(call, args)
        _thread.start_new_thread(worker.run, ())
        worker.process = os.getpid()


def _hand_to_idle(call: Callable[..., None], args: tuple[Any, ...]) -> bool:
    """Take an idle thread off the list, where it waits for its call from then on. False: there is none."""
    while True:
        try:
            worker = _idle[-1]
        except IndexError:
            return False
        try:
            _idle.remove(worker)
        except ValueError:
            continue  # another thread has chosen it, or it has gone
        except BaseException:
            # An interrupt, right after it was chosen: it must not wait for its call for ever.
            worker.wake.release()
            raise
        worker.call, worker.args = call, args  # up to the release nothing can come between
        worker.wake.release()
        return True


def _nothing() -> None:
    pass


def give_way() -> None:
    """Sleep for the shortest time there is, some 0.05 ms: other threads get the interpreter and this processor."""
    time.sleep(0)


class Apart:
    """A call in a thread of our own, which no signal handler interrupts, for a thread that one does. Made once."""

    __slots__ = ("_call", "_claim", "_error", "_is_done", "_wake")

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self._claim = _thread.allocate_lock()
        self._is_done = False
        self._wake = _thread.allocate_lock()  # no Event, whose own locks an interrupt may leave locked
        self._wake.acquire()
        self._error: BaseException | None = None

    def finish(self) -> BaseException | None:
        """Return when the call has ended, with what it raised. Can be repeated, and must be if it was interrupted."""
        if self._is_done:
            return self._error
        try:
            start(self._run)  # again, if it was interrupted: the first one has the claim
        except RuntimeError:
            self._run()
        while not self._is_done:
            self._wake.acquire()
        return self._error

    def _run(self) -> None:
        if not self._claim.acquire(blocking=False):
            return
        try:
            self._call()
        except BaseException as error:
            self._error = error
        self._is_done = True
        self._wake.release()


class Periodic:
    """Calls a check every `interval` seconds in one thread of our own, as long as the check says that there is more.

    Made once per process and subject, at import. What is to be checked is noted first, and then `ensure` is called.
    """

    __slots__ = ("_check", "_interval", "_runner")

    def __init__(self, interval: float, check: Callable[[], bool]) -> None:
        """`check` returns whether there is more to do. It must answer for its own errors."""
        self._interval = interval
        self._check = check
        self._runner: dict[None, object] = {}
        """The thread that runs, named by a token; one at most. `setdefault` looks and claims in one operation."""
        forks.in_child(self._runner.clear)

    def ensure(self, start: Callable[..., None] = start) -> None:
        """Start the thread, unless it runs. Raises RuntimeError if the system gives no more threads."""
        runner = self._runner
        if runner:
            return
        ours = object()
        try:
            if runner.setdefault(None, ours) is ours:
                start(self._run, ours)
        except BaseException:
            # Interrupted, perhaps, with the thread started: without its token it ends after its next check.
            if runner.get(None) is ours:
                runner.pop(None, None)
            raise

    def _run(self, ours: object) -> None:
        runner = self._runner
        try:
            self._check_until_done(ours)
        finally:
            if runner.get(None) is ours:
                runner.pop(None, None)

    def _check_until_done(self, ours: object) -> None:
        pause, runner = Event(), self._runner
        while runner.get(None) is ours:
            pause.wait(self._interval)
            if self._check():
                continue
            runner.pop(None, None)
            # Something may have been noted between the check and the end of the claim.
            if not self._check() or runner.setdefault(None, ours) is not ours:
                return


class WaiterReplaced(BaseException):
    """Raised in a waiting thread when another thread has taken over its wait: this one ends without a result."""
