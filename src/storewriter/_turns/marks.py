"""What each thread is in the middle of, so that code which interrupts it is not given a turn it could never end.

A signal handler or a finalizer runs on top of whatever its thread does. If that is a step of a lane, whose mutex may
be held, the handler gets no turn at all; if it is a wait or a commit for a store, none on that store.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from typing import Any, Final, TypeVar

from storewriter._platform import forks
from storewriter.errors import ReentrantTurn

T = TypeVar("T")

Mark = tuple[str, Any]
STEP: Final[Mark] = ("", None)
"""A step of some lane, or of a save or a flush."""

inside: dict[int, Mark | None] = {}
"""By thread: `STEP`, or `(key, mark before)` for a wait or a commit; None: neither. Set and set back with plain stores,
without a call, so that no interrupt comes in between. The None of a thread that has ended stays, for the next thread
with its number: deleting it at the end of every step would take three times as long."""

forks.in_child(inside.clear)


def in_step(step: Callable[..., T], *args: Any) -> T:
    """Make a step in which this thread is given no turn."""
    this = get_ident()
    outer = inside.get(this)
    inside[this] = STEP
    try:
        return step(*args)
    finally:
        inside[this] = outer


def is_in_step() -> bool:
    """Whether this thread is in the middle of a step."""
    return inside.get(get_ident()) is STEP


def require_outside(mark: Mark, key: str) -> None:
    """Raise ReentrantTurn if this thread was interrupted in the middle of what a new turn would have to wait for."""
    inner: Mark | None = mark
    while inner is not None:
        if inner is STEP or inner[0] == key:
            doing = "was handing a turn on" if inner is STEP else "was waiting for it or saving it"
            raise ReentrantTurn(
                f"{key} was asked for by a signal handler or a finalizer, in a thread that {doing}: it could never "
                f"finish, because that thread goes on only when the handler returns. In a handler only set a flag, "
                f"and update later.",
                path=key,
            )
        inner = inner[1]
