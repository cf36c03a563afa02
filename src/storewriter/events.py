"""What happened, as typed values for subscribers; the same facts go to `logging.getLogger("storewriter")`.

Subscribers run at once, in the thread where the thing happened, possibly inside a turn: they must be quick and must
not ask for turns. One that raises is logged; the turn and other subscribers are not affected. Without subscribers an
event costs one check of an empty tuple: the value is not even built.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import attrs

from storewriter._platform.owner import Owner

__all__ = [
    "BatchCommitted",
    "CorruptStore",
    "DocumentChanged",
    "Event",
    "LeaseLost",
    "LockReclaimed",
    "NeighbourFound",
    "StoreRecovered",
    "Subscriber",
    "TurnReleased",
    "TurnTaken",
    "TurnTimedOut",
    "TurnWaited",
    "subscribe",
]

log = logging.getLogger("storewriter")


@attrs.frozen(kw_only=True)
class Event:
    """Something happened to one store."""

    path: str
    """The store."""


@attrs.frozen(kw_only=True)
class TurnTaken(Event):
    """A turn began."""

    waited: float
    """Seconds from asking to the turn."""
    label: str | None = None
    """What the turn is for, as its caller put it."""


@attrs.frozen(kw_only=True)
class TurnReleased(Event):
    """A turn ended."""

    held: float
    """Seconds that it took."""
    label: str | None = None
    """What the turn was for, as its caller put it."""


@attrs.frozen(kw_only=True)
class TurnWaited(Event):
    """A caller has waited for `warn_after` seconds; sent once a wait."""

    waited: float
    """Seconds so far."""
    ahead: int
    """How many tickets are ahead in this process's line, the holder included."""
    owner: Owner | None
    """The holder of the lock; None if it is not known."""
    label: str | None = None
    """What the caller waits for, as it put it."""


@attrs.frozen(kw_only=True)
class TurnTimedOut(Event):
    """A caller's wait has timed out: `LockTimeout` was raised."""

    waited: float
    """Seconds that it waited."""
    owner: Owner | None
    """The holder of the lock; None if it is not known."""
    label: str | None = None
    """What the caller waited for, as it put it."""


@attrs.frozen(kw_only=True)
class LockReclaimed(Event):
    """The lock of an owner that is provably gone, or of a lease that ran out, was taken over."""

    owner: Owner | None
    """The former holder; None if it is not known."""
    reason: str
    """Why it was taken over, in words."""


@attrs.frozen(kw_only=True)
class LeaseLost(Event):
    """A lease was not refreshed in time; the holder's commit will be refused."""

    reason: str
    """What happened to it, in words."""


@attrs.frozen(kw_only=True)
class BatchCommitted(Event):
    """One load and at most one save answered `size` updates."""

    size: int
    """Updates that were applied together."""
    failed: int
    """How many of them raised and left no trace."""
    written: bool
    """False if the document was already equal, byte for byte."""
    duration: float
    """Seconds from load to answer."""


@attrs.frozen(kw_only=True)
class DocumentChanged(Event):
    """A program that takes no lock wrote the document while functions were applied; they are applied anew to it."""


@attrs.frozen(kw_only=True)
class NeighbourFound(Event):
    """Another program that is not excluded writes the document, or holds a lock for it.

    Sent once per store, process and kind.
    """

    kind: str
    """`flock`, `fcntl`, `openclaw` or `proper-lockfile`: the kind of its lock; `locked document`: it has locked the
    document itself; `changed document`: it wrote while functions were applied; `unknown`."""
    lock: str | None
    """Its lock's path, if it has one."""
    owner: Owner | None
    """Its holder, as far as is known."""
    advice: str
    """What to configure."""


@attrs.frozen(kw_only=True)
class CorruptStore(Event):
    """The document could not be understood and was left as it is."""

    reason: str
    """What is wrong, in words."""
    may_be_intact: bool = False
    """Whether the document may be as its writer meant it, and only not of this store's format."""


@attrs.frozen(kw_only=True)
class StoreRecovered(Event):
    """A document that could not be understood was moved aside, or one that was missing restored."""

    automatic: bool
    """By `on_corrupt="restore"`; False: by `recover()`."""
    reason: str | None
    """What was wrong with the document; None if there was none."""
    moved_to: str | None
    """Where the document is now."""
    restored_from: str | None
    """The backup whose content the store has now; None: its default."""


Subscriber = Callable[[Event], None]
"""Gets every event, at once, in the thread where the thing happened, possibly inside a turn."""

subscribers: tuple[Subscriber, ...] = ()
"""Replaced as a whole on every change, so that emitting needs no lock."""


def subscribe(subscriber: Subscriber) -> Callable[[], None]:
    """Call `subscriber` with every event of this process from now on; return a function that ends it.

    Example:
        end = events.subscribe(print)

    Args:
        subscriber: Called with each event, in the thread where it happened, possibly inside a turn: it must be quick
            and must not ask for turns. What it raises is logged, and affects neither the turn nor other subscribers.
            Given twice, it is called twice.

    Both functions may be called from any thread.
    """
    global subscribers
    subscribers = (*subscribers, subscriber)

    def unsubscribe() -> None:
        global subscribers
        # By identity: the same callable subscribed twice is two subscriptions, and one call ends one of them.
        for index, known in enumerate(subscribers):
            if known is subscriber:
                subscribers = subscribers[:index] + subscribers[index + 1 :]
                return

    return unsubscribe


def emit(event: Event) -> None:
    """Hand an event to every subscriber."""
    for subscriber in subscribers:
        try:
            subscriber(event)
        except Exception:
            log.exception("a subscriber failed on %r", event)
