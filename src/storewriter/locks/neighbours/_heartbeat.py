"""Renews the neighbours' locks that are held for long, so that no other program takes them for abandoned.

How        One thread for the whole process, while any such lock is held and for a moment after that: a turn costs two
           operations on a set. Where no thread can be had, holds are renewed by their commits only.
Does not   decide anything: the check before the commit detects a lost lock. This only reports it earlier.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Lock
from typing import Final, Protocol

from storewriter import events
from storewriter._platform import forks, threads

_TICK: Final = 0.25
"""Seconds between two looks at what is held: the least interval is half a second."""


class Beating(Protocol):
    """What is renewed."""

    def beat(self) -> None:
        """Renew what is due. Must not raise."""
        ...


_mutex = Lock()
_beating: set[Beating] = set()
_is_running = False


def _forget_in_child() -> None:
    global _mutex, _is_running
    _mutex = Lock()
    _is_running = False
    _beating.clear()


forks.in_child(_forget_in_child)


def begin(hold: Beating, start: Callable[..., None] = threads.start) -> None:
    """Renew what this hold holds, until `end`."""
    global _is_running
    _beating.add(hold)
    if _is_running:
        return
    with _mutex:
        if _is_running:
            return
        _is_running = True
    try:
        start(_run)
    except BaseException as error:
        _is_running = False
        if not isinstance(error, RuntimeError):
            raise
        # The limit of threads is reached, or the interpreter is shutting down. Short turns need no heartbeat, and
        # long ones are refused by their commit if they were too long.
        events.log.debug("no thread for the heartbeat of neighbours' locks: %s", error)


def end(hold: Beating) -> None:
    """Stop renewing it. Can be repeated."""
    _beating.discard(hold)


def is_beating(hold: Beating) -> bool:
    """Whether it is still to be renewed."""
    return hold in _beating


def _run() -> None:
    global _is_running
    pause = Event()
    while True:
        pause.wait(_TICK)
        with _mutex:
            if not _beating:
                _is_running = False
                if not _beating:
                    return
                _is_running = True  # a hold came in between, and may have seen this thread still running
        for hold in list(_beating):
            hold.beat()
