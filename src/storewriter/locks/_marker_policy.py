"""What distinguishes `marker` from `lease`, and whether a hold of either was lost."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from storewriter import events

if TYPE_CHECKING:
    from filelock import SoftFileLock


@attrs.define(eq=False)
class LeaseState:
    """Whether a hold's heartbeat has failed, or its marker was taken over."""

    path: str
    reason: str | None = None

    def report(self, reason: str) -> None:
        """Record the reason, log it and emit `LeaseLost`, once. Called from the heartbeat's thread too."""
        if self.reason is not None:
            return
        self.reason = reason
        events.log.warning("the lock on %s was lost (%s); the commit will be refused", self.path, reason)
        if events.subscribers:
            events.emit(events.LeaseLost(path=self.path, reason=reason))


@attrs.frozen
class MarkerPolicy:
    """The differences of the two strategies."""

    name: str
    stale: float | None
    """Term of a lease in seconds; None: a marker never runs out."""
    make: Callable[[str, LeaseState], SoftFileLock] = attrs.field(eq=False)
    """From the marker's path to filelock's lock; one lock for one hold."""

    def __str__(self) -> str:
        return self.name if self.stale is None else f"lease(stale={self.stale:g})"

    @property
    def lock_kind(self) -> int:
        """How the sidecar is locked: alone, or, so that a stuck holder can be succeeded, together with others."""
        return fcntl.LOCK_EX if self.stale is None else fcntl.LOCK_SH
