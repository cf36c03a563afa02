"""Event loops that are closed while a task of theirs is at the head of a line: the line goes on.

Promise    A closed loop never runs its tasks again. A task that had its turn, or was to try the lock, and waited in
           code of this package, is passed over as soon as its loop is closed; also if the loop has taken the message
           that wakes it, and if the task is still referred to.
How        A loop that is closed drops its timers. Each loop that has asked for a turn gets one that is never due, whose
           call only it refers to; when that is gone, the lines are looked through once.
Does not   touch a turn in the block of its user, who may have a thread that goes on; nor see a loop that has stopped
           and was not closed.
"""

from __future__ import annotations

import _thread
from collections.abc import Callable
from functools import partial
from threading import get_ident
from typing import Any, Final, TypeVar
from weakref import ref

from storewriter._platform import threads
from storewriter._turns import line
from storewriter._turns.ending import start_last
from storewriter._turns.line import FOR_A_THREAD, FOR_ITS_LOOP, UNKNOWN, Ticket
from storewriter._turns.marks import in_step, inside
from storewriter._turns.off_loop import off_loop
from storewriter._turns.waiting_thread import pass_over_lost

T = TypeVar("T")

_LATER: Final = 86400.0
"""Seconds. Some loops take no more than 24 days."""


class _UntilClosed:
    """What the timer of a loop calls; nothing else refers to it."""

    __slots__ = ("__weakref__", "_loop")

    def __init__(self, loop: Any) -> None:
        self._loop = loop

    def __call__(self) -> None:
        self._loop.call_later(_LATER, self)


class _End(ref[_UntilClosed]):
    """A weak reference to it, with what its callback needs."""

    __slots__ = ("loop", "start")

    loop: int
    start: Any


watched: dict[int, tuple[_End, _End]] = {}
"""By the loop's id, weak references to what its timer calls. Dead, or of no loop: it is not watched."""


def watch(loop: Any) -> None:
    """Look through the lines when this loop of asyncio is closed. Called in its thread, once for each loop.

    Two references, as in `ending.tie_to`: the second callback is made in C only, for an interrupt that ends the first.
    """
    until_closed = _UntilClosed(loop)
    last, first = _End(until_closed, start_last), _End(until_closed, _closed)
    last.start = partial(_thread.start_new_thread, _pass_over_all, ())
    first.loop = id(loop)
    watched[id(loop)] = last, first
    loop.call_later(_LATER, until_closed)


def _closed(end: _End) -> None:
    """The loop is closed (or it has dropped its timer for a reason of its own; then no ticket is lost)."""
    ends = watched.get(end.loop)
    if ends is None or ends[1] is not end:
        return
    del watched[end.loop]
    if line.lanes:
        if inside.get(get_ident()) is not None:
            # The garbage collector has closed the loop in the middle of a step, whose mutex this thread may hold.
            threads.start(_pass_over_all)
        else:
            in_step(_pass_over_all)
    ends[0].start = bool  # nothing is left to do


def _pass_over_all() -> None:
    """Can be repeated, and made by two threads at once."""
    for lane in list(line.lanes.values()):
        pass_over_lost(lane)


async def off_loop_at_head(
    ticket: Ticket, call: Callable[[], T], abandon: Callable[[], None]
) -> tuple[T, BaseException | None]:
    """`off_loop` for the head of a line, in code of this package: if the loop is closed, the line goes on.

    It does as soon as the call has ended: by `abandon`, or, if the loop has taken the message of that, without it.
    """

    def in_thread() -> T:
        try:
            return call()
        finally:
            ticket.suspended = FOR_ITS_LOOP

    ticket.suspended = FOR_A_THREAD
    try:
        return await off_loop(in_thread, ticket.loop, abandon)
    finally:
        ticket.suspended = UNKNOWN
