"""Messages for waiters and about them: the holder, the warning after `warn_after`, and the error of a timeout."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Final, cast

import attrs

from storewriter import events
from storewriter._files.keys import sidecar
from storewriter._platform.liveness import judge, myself
from storewriter._platform.owner import Owner
from storewriter._turns import lanes
from storewriter._turns.lanes import HOLDING, Lane, Ticket
from storewriter.errors import LockTimeout, StoreWriterError, StrategyMismatch
from storewriter.locks._sidecar import mismatch

if TYPE_CHECKING:
    from storewriter._turns.callers import Caller
    from storewriter.locks import Strategy

log = logging.getLogger("storewriter")


class Exhausted(Exception):
    """The backoff's retries are used up."""


def labelled(ticket: Ticket) -> str:
    return f' ("{ticket.label}")' if ticket.label else ""


def local_owner(lane: Lane | None) -> Owner | None:
    """The holder, if it is in this process."""
    head = None if lane is None else lane.head
    if head is None or head.state is not HOLDING:
        return None
    return attrs.evolve(myself(), since=head.began or None, label=head.label)


_MOMENT: Final = 0.02
"""Seconds for which a holder that was looked up is reused. When many waiters warn or time out together, one look-up for
each of them would block their event loop for seconds."""


def holder(caller: Caller) -> Owner | None:
    """The holder of the lock, as it is now or was up to `_MOMENT` seconds ago."""
    lane = caller.lane
    owner = local_owner(lane)
    if owner is not None:
        return owner
    now = time.monotonic()
    if lane.seen is None or now - lane.seen[0] >= _MOMENT:
        lane.seen = now, _owner_of(caller.queue.lock, lane.key)
    return cast("Owner | None", lane.seen[1])


def _owner_of(lock: Strategy, path: str) -> Owner | None:
    """The owner that the lock names. It is for messages only, so an error here is logged, not raised."""
    try:
        return lock.owner(path)
    except Exception:
        log.exception("the lock %r could not tell the holder of %s", lock.name, path)
        return None


def warn(caller: Caller, waited: float) -> None:
    owner = holder(caller)
    ahead = lanes.ahead_of(caller)
    log.warning(
        "has been waiting for %s for %.1f s%s: held by %s; %s ahead in this process",
        caller.lane.key,
        waited,
        labelled(caller),
        owner or "an unknown process",
        ahead or "nobody",
    )
    if events.subscribers:
        events.emit(
            events.TurnWaited(path=caller.lane.key, waited=waited, ahead=ahead, owner=owner, label=caller.label)
        )


def different_strategy(caller: Caller, owner: Owner | None) -> StrategyMismatch | None:
    """The error if the holder uses another lock strategy; an attempt that does not wait does not detect that."""
    ours = caller.queue.lock.name
    if owner is None or owner.strategy == ours or not {ours, owner.strategy} <= {"flock", "marker", "lease"}:
        return None
    return mismatch(caller.lane.key, ours, str(owner.strategy), owner)


def no_thread(path: str, error: RuntimeError) -> StoreWriterError:
    msg = (
        f"cannot wait for the turn on {path}: no thread can be started ({error}). The store is in use, and waiting for "
        f"it needs a thread; try again later, or find what uses up the threads."
    )
    return StoreWriterError(msg, path=path)


def timeout_error(caller: Caller, path: str, owner: Owner | None, ahead: int, waited: float) -> LockTimeout:
    verdict = "unknown" if owner is None else judge(owner).value
    held_by = "its holder is not known" if owner is None else f"held by {owner}{_state(owner, verdict)}"
    return LockTimeout(
        f"{_limit(caller)} waiting for the lock on {path}: {held_by}; {ahead or 'nobody'} ahead in this process; "
        f"lock file {sidecar(path)}. {_advice(owner, verdict)}",
        path=path,
        sidecar=sidecar(path),
        owner=owner,
        alive=verdict,
        waited=waited,
        timeout=caller.timeout,
        ahead=ahead,
    )


def _state(owner: Owner, verdict: str) -> str:
    """As the end of a sentence; behind an owner who inherited the lock, "which" would be the one before it."""
    return f", {_ALIVE[verdict]}" if owner.inherited_from is None else f"; {_ALIVE[verdict].replace('which', 'it', 1)}"


def _limit(caller: Caller) -> str:
    if isinstance(caller.error, Exhausted):
        return f"gave up after {(caller.queue.backoff.retries or 0) + 1} attempts,"
    return f"timed out after {caller.timeout:g} s"


_ALIVE = {"alive": "which is alive", "gone": "which is gone", "unknown": "which may be alive or not"}


def _advice(owner: Owner | None, verdict: str) -> str:
    if owner is not None and owner.pid == os.getpid() and verdict == "alive":
        return "The holder is in this same process: look for a turn that does slow work or never ends."
    if verdict == "alive" and owner is not None:
        if owner.inherited_from is not None:
            return (
                f"Wait for it, raise `timeout`, or look at what pid {owner.pid} does; the lock ends when it closes the "
                f"file."
            )
        return f"Wait for it, raise `timeout`, or look at what pid {owner.pid} does; its lock ends with it."
    if verdict == "gone":
        return "Its lock is being reclaimed: try again."
    if owner is not None and owner.inherited_from is not None:
        return (
            "Which process has it now cannot be seen from here: it is another user's, or in another container, or "
            "/proc hides it. As root, `fuser -v` on the lock file names it."
        )
    return "Run `storewriter status` on the store; never delete the lock file while programs use it."
