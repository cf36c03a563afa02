"""Messages for waiters: the warning after `warn_after`, the error of a timeout, and the holder that both name."""

from __future__ import annotations

import logging
import os
import time
from typing import Final

import attrs

from storewriter import events
from storewriter._platform.liveness import judge, myself
from storewriter._platform.owner import Owner
from storewriter._turns import line
from storewriter._turns.adapter import LockAdapter
from storewriter._turns.line import HOLDING, Lane, Ticket
from storewriter.backoff import RetriesExhausted
from storewriter.errors import LockTimeout, StoreWriterError

log = logging.getLogger("storewriter")


def labelled(ticket: Ticket) -> str:
    """The label of a ticket, for the middle of a sentence."""
    return f' ("{ticket.label}")' if ticket.label else ""


def local_owner(lane: Lane | None) -> Owner | None:
    """The holder, if it is in this process."""
    head = None if lane is None else lane.head
    if head is None or head.state is not HOLDING:
        return None
    return attrs.evolve(myself(), since=head.began or None, label=head.label)


_OWNER_CACHE_SECONDS: Final = 0.02
"""Seconds for which a holder that was looked up is reused. When many waiters warn or time out together, one look-up for
each of them would block their event loop for seconds."""


def holder(ticket: Ticket) -> Owner | None:
    """The holder of the lock, as it is now or was up to `_OWNER_CACHE_SECONDS` ago."""
    lane = ticket.lane
    owner = local_owner(lane)
    if owner is not None:
        return owner
    now = time.monotonic()
    cached = lane.cached_owner
    if cached is None or now - cached[0] >= _OWNER_CACHE_SECONDS:
        cached = lane.cached_owner = now, _owner_of(lane.adapter)
    return cached[1]


def _owner_of(adapter: LockAdapter) -> Owner | None:
    """The owner that the lock names. It is for messages only, so an error here is logged, not raised."""
    try:
        return adapter.owner()
    except Exception:
        log.exception("the lock %r could not name the holder of %s", adapter.name, adapter.key)
        return None


def warn(ticket: Ticket, waited: float) -> None:
    """Log, once a ticket, that it waits for long."""
    path = ticket.lane.key
    owner = holder(ticket)
    ahead = line.ahead_of(ticket)
    log.warning(
        "has been waiting for %s for %.1f s%s: held by %s; %s ahead in this process",
        path,
        waited,
        labelled(ticket),
        owner or "an unknown process",
        ahead or "nobody",
    )
    if events.subscribers:
        events.emit(events.TurnWaited(path=path, waited=waited, ahead=ahead, owner=owner, label=ticket.label))


def no_thread(path: str, error: RuntimeError) -> StoreWriterError:
    """The error where a wait needs a thread, and there is none."""
    msg = (
        f"cannot wait for the turn on {path}: no thread can be started ({error}). The store is in use, and waiting for "
        f"it needs a thread; try again later, or find what uses up the threads."
    )
    return StoreWriterError(msg, path=path)


def timeout_error(ticket: Ticket, owner: Owner | None, ahead: int, waited: float) -> LockTimeout:
    """The error of a ticket whose time is over, or whose attempts are used up."""
    adapter = ticket.lane.adapter
    verdict = "unknown" if owner is None else judge(owner).value
    held_by = "its holder is not known" if owner is None else f"held by {owner}{_state(owner, verdict)}"
    return LockTimeout(
        f"{_limit(ticket)} waiting for the lock on {adapter.key}: {held_by}; {ahead or 'nobody'} ahead in this "
        f"process; {adapter.whereabouts()}. {_advice(adapter, owner, verdict)}",
        path=adapter.key,
        sidecar=adapter.sidecar,
        owner=owner,
        alive=verdict,
        waited=waited,
        timeout=ticket.timeout,
        ahead=ahead,
    )


def _state(owner: Owner, verdict: str) -> str:
    """As the end of a sentence; behind an owner who inherited the lock, "which" would be the one before it."""
    return f", {_ALIVE[verdict]}" if owner.inherited_from is None else f"; {_ALIVE[verdict].replace('which', 'it', 1)}"


def _limit(ticket: Ticket) -> str:
    if isinstance(ticket.error, RetriesExhausted):
        return f"gave up after {(ticket.settings.backoff.retries or 0) + 1} attempts,"
    return f"timed out after {ticket.timeout:g} s"


_ALIVE = {"alive": "which is alive", "gone": "which is gone", "unknown": "which may be alive or not"}


def _advice(adapter: LockAdapter, owner: Owner | None, verdict: str) -> str:
    if owner is not None and owner.pid == os.getpid() and verdict == "alive":
        return "The holder is in this same process: look for a turn that does slow work or never ends."
    return adapter.advice(owner) or _advice_for_files(owner, verdict)


def _advice_for_files(owner: Owner | None, verdict: str) -> str:
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
