"""Renews the neighbours' locks that are held for long, so that no other program takes them for abandoned.

How        One thread for the whole process, while any such lock is held and for a moment after that: a turn costs two
           operations on a set. Where no thread can be had, holds are renewed by their commits only.
Does not   decide anything: the check before the commit detects a lost lock. This only reports it earlier.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from storewriter import events
from storewriter._platform import forks, threads

_INTERVAL: Final = 0.25
"""Seconds between two looks at what is held: the least interval is half a second."""


class Beating(Protocol):
    """What is renewed."""

    def beat(self) -> None:
        """Renew what is due. Must not raise."""
        ...


_beating: set[Beating] = set()
forks.in_child(_beating.clear)


def begin(hold: Beating, start: Callable[..., None] = threads.start) -> None:
    """Renew what this hold holds, until `end`."""
    _beating.add(hold)
    try:
        _heartbeat.ensure(start)
    except RuntimeError as error:
        # The limit of threads is reached, or the interpreter is shutting down. Short turns need no heartbeat, and
        # long ones are refused by their commit if they were too long.
        events.log.debug("no thread for the heartbeat of neighbours' locks: %s", error)


def end(hold: Beating) -> None:
    """Stop renewing it. Can be repeated."""
    _beating.discard(hold)


def is_beating(hold: Beating) -> bool:
    """Whether it is still to be renewed."""
    return hold in _beating


def _beat() -> bool:
    for hold in list(_beating):
        hold.beat()
    return bool(_beating)


_heartbeat: Final = threads.Periodic(_INTERVAL, _beat)
