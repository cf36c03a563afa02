"""`lease`: a marker with a heartbeat, which runs out. For hosts that share a file system, and for holders that hang.

Promise    A holder that is dead, or has not refreshed its marker for `stale` seconds, is succeeded. If it comes back,
           its commit is refused with `LockLost` and nothing is written.
How        `filelock.SoftFileLease` at `.<name>.marker`, refreshed every third of `stale` by a thread of its own. Its
           age is counted by each contender on its own clock. The commit is fenced: refreshed, checked and renamed
           under the guard that every take-over needs (`_guard.py`).
Does not   stop the old holder's code: only its commit. Where kernel locks do not reach every host there is no guard,
           and a holder that is paused for `stale` between the check and the rename still renames (docs/strategies.md).
Fails by   OSError from the marker or the sidecar; StrategyMismatch, also for another `stale`; LockLost.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import attrs

from storewriter._platform.owner import Owner
from storewriter.errors import StoreWriterError
from storewriter.locks._marker_attempt import attempt_marker
from storewriter.locks._marker_hold import MarkerHold
from storewriter.locks._marker_owner import owner_of_store
from storewriter.locks._marker_policy import LeaseState, MarkerPolicy

if TYPE_CHECKING:
    from filelock import SoftFileLock

__all__ = ["Lease"]


def _seconds(instance: Any, attribute: attrs.Attribute[Any], value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (math.isfinite(value) and value > 0):
        msg = f"Lease.stale must be a finite number of seconds above 0, got {value!r}"
        raise ValueError(msg)


def _policy_of(strategy: Lease) -> MarkerPolicy:
    # Imported when the strategy is made: at the first turn, a handler or a lack of descriptors might be in the way.
    from filelock import SoftFileLease

    stale = float(strategy.stale)

    def make(name: str, state: LeaseState) -> SoftFileLock:
        return SoftFileLease(
            name,
            mode=0o600,
            thread_local=False,
            lease_duration=stale,
            heartbeat_interval=stale / 3,
            on_compromise=lambda compromise: state.report(compromise.reason),
        )

    return MarkerPolicy("lease", stale, make)


@attrs.frozen
class Lease:
    """`lease`: a marker that runs out, for hosts that share a file system, and for holders that hang.

    A thread of its own refreshes the marker every third of `stale`. Every program that writes a store must use the same
    `stale`. Waiters poll. A frozen value; its methods are those of `Strategy`.

    Example:
        PerStoreWriterQueue(Lease(stale=30.0))

    A value out of range is a ValueError.
    """

    stale: float = attrs.field(default=60.0, validator=_seconds)
    """Seconds without a refresh after which a holder is succeeded and its commit is refused; finite, above 0."""
    _policy: MarkerPolicy = attrs.field(
        init=False, eq=False, repr=False, default=attrs.Factory(_policy_of, takes_self=True)
    )

    name = "lease"
    is_quick = False

    def attempt(self, path: str, label: str | None) -> MarkerHold | None:
        """Try once to lock a store. It waits for no other holder, but may wait for a disk or a server.

        Args:
            path: The canonical path of the store.
            label: What the turn is for, for the record in the sidecar; None: not given.

        Returns:
            The hold, or None if the lock is held.

        Raises:
            StrategyMismatch: The store is in use with another strategy, or with another `stale`.
            ForeignFile: A lock file belongs to another program, or to a user who may not write the document.
            NotARegularFile: A folder, or another thing that is no regular file, has a lock file's name.
            OSError: A lock file or the marker cannot be opened or made.
            StoreWriterError: The interpreter is shutting down: no thread can be started for the heartbeat.
        """
        if sys.is_finalizing():
            msg = (
                f"no turn on {path} any more: the interpreter is shutting down, and a lease needs a thread for its "
                f"heartbeat. Write before the program ends, for instance in a function given to `atexit`."
            )
            raise StoreWriterError(msg, path=path)
        return attempt_marker(path, label, self._policy)

    def owner(self, path: str) -> Owner | None:
        """The holder of the lock now, as far as is known.

        Args:
            path: The canonical path of the store.

        Returns:
            The owner of the marker; without a living owner's marker, the process that has the sidecar locked. None if
            there is neither.
        """
        return owner_of_store(path)
