"""The gate: a second lock, at which the waiters of all processes queue for the kernel lock itself (`flock.py`).

Promise    The process that holds the gate is the next to wait for the lock, so a holder that wants the lock again
           queues behind it. The kernel grants the gate in about the order of the requests.
How        An open-file-description byte lock (fcntl(2)) on the sidecar, far behind its end. To wait for it is to sleep
           in the kernel, and only getting the gate ends that sleep. So while a thread of this process sleeps there,
           another one checks every `_LOOK` seconds for a stalled gate: the lock is free or changes owner, and this
           waiter makes no progress. Then a new thread takes over the wait, past the gate: it waits for the lock itself,
           as every later wait of this process does until the gate moves on.
Does not   exclude any process from the store. One that is stopped while it has the gate (SIGSTOP, a paused container,
           a debugger) delays the others for two looks at most.
Costs      while a process is stopped at the gate: a thread and a descriptor for each store of each process that has
           found out, which go when the gate moves on.
"""

from __future__ import annotations

import _thread
import os
import time
from collections.abc import Callable
from typing import Final

from storewriter._platform import forks, threads
from storewriter._platform.fcntl import HAS_BYTE_LOCKS, OFD_SETLK, OFD_SETLKW, byte_lock, fcntl

GATE_BYTE: Final = 1 << 62
"""Far behind the end of any record, so that it can meet no other byte lock."""
TAKE: Final = byte_lock(GATE_BYTE)
_LEAVE: Final = byte_lock(GATE_BYTE, leave=True)

_LOOK: Final = 0.25
"""Seconds between two checks of the threads that sleep in front of the gate; none is replaced sooner."""

_CHANGES: Final = 4
"""So many checks that found another record than the one before mean: the lock changes owner without these waiters."""


def lock_through_gate(fd: int, path: str, replace: Callable[[], None] | None) -> None:
    """Wait for the gate, then for the lock, then leave the gate. Raises what flock(2) raises.

    Without a gate that is not less safe, only less fair. `replace` starts another thread in place of this one; without
    it this one cannot sleep in front of the gate.
    """
    at_gate = False
    if HAS_BYTE_LOCKS and path not in stalled:
        try:
            fcntl.fcntl(fd, OFD_SETLK, TAKE)
            at_gate = True
        except (BlockingIOError, PermissionError):  # EAGAIN or EACCES, as the file system likes (fcntl(2))
            if replace is not None:
                at_gate = _sleep(_Sleeper(fd, path, replace))
        except OSError:
            pass  # no byte locks here
    fcntl.flock(fd, fcntl.LOCK_EX)
    if at_gate:
        # After the lock: the next one moves up from the gate to wait for the lock, so there is always exactly one.
        fcntl.fcntl(fd, OFD_SETLK, _LEAVE)


class _Sleeper:
    """A thread that sleeps in front of the gate."""

    __slots__ = ("_changes", "_modified", "_since", "fd", "path", "replace")

    def __init__(self, fd: int, path: str, replace: Callable[[], None]) -> None:
        self.fd = fd
        self.path = path
        self.replace = replace
        self._since = time.monotonic()
        self._changes = 0
        self._modified = 0

    def is_passed_over(self) -> bool:
        """One check: whether the gate has stalled for this thread."""
        if time.monotonic() - self._since < _LOOK:
            return False
        modified = os.fstat(self.fd).st_mtime_ns
        self._changes += modified != self._modified
        self._modified = modified
        # Not at the first look: its record differs from none.
        return self._changes > _CHANGES or self._is_free()

    def _is_free(self) -> bool:
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(self.fd, fcntl.LOCK_UN)
        except OSError:
            return False
        return True


_mutex = _thread.allocate_lock()
"""Guards what follows, and keeps a sleeper's descriptor open while it is looked at."""
_sleepers: set[_Sleeper] = set()
stalled: dict[str, int] = {}
"""By store: how many threads of this process sleep at the gate although they were replaced."""


def _forget_in_child() -> None:
    # The threads that sleep do not exist here, and one of them may have had the mutex.
    global _mutex
    _mutex = _thread.allocate_lock()
    _sleepers.clear()
    stalled.clear()


forks.in_child(_forget_in_child)


def _sleep(sleeper: _Sleeper) -> bool:
    """Sleep until the gate is ours; False if there is none. Raises WaiterReplaced if another thread goes on instead."""
    with _mutex:
        _sleepers.add(sleeper)
    is_there = False
    try:
        _watch.ensure()
    except RuntimeError:
        pass  # no thread to be had: the next sleeper tries again
    try:
        fcntl.fcntl(sleeper.fd, OFD_SETLKW, TAKE)
        is_there = True
    except OSError:
        pass  # no waiting for byte locks here
    finally:
        with _mutex:
            is_replaced = sleeper not in _sleepers
            _sleepers.discard(sleeper)
            if is_replaced:
                _wakes(sleeper)
    if is_replaced:
        raise threads.WaiterReplaced  # closing the file leaves the gate
    return is_there


def _wakes(sleeper: _Sleeper) -> None:
    left = stalled.pop(sleeper.path, 1) - 1
    if left:
        stalled[sleeper.path] = left


def _check_sleepers() -> bool:
    """Replace the threads for which the gate has stalled. False if no thread sleeps in front of a gate."""
    with _mutex:
        for sleeper in [sleeper for sleeper in _sleepers if sleeper.is_passed_over()]:
            _replace(sleeper)
        return bool(_sleepers)


_watch: Final = threads.Periodic(_LOOK, _check_sleepers)


def _replace(sleeper: _Sleeper) -> None:
    """Under the mutex: so the thread cannot wake up before it is certain that another one goes on in its place."""
    stalled[sleeper.path] = stalled.get(sleeper.path, 0) + 1
    try:
        sleeper.replace()
    except RuntimeError:  # no thread to be had now: it is looked at again
        _wakes(sleeper)
    else:
        _sleepers.remove(sleeper)
