"""`marker`: a file whose existence is the lock. For file systems without kernel locks.

Promise    At most one holder among all who reach the folder. A dead holder's marker is taken over at the next attempt,
           on proof: no such process, or its pid belongs to another one, or the machine was booted since.
How        `filelock.MarkerSoftFileLock` at `.<name>.marker`: created exclusively, with a record of its owner. Where
           the file system has kernel locks the turn holds one on the sidecar too, so that users of `flock` meet it.
Does not   judge a process of another host or container, nor its age: such a marker stays until its owner, or a person,
           removes it. `lease` is for those.
Fails by   OSError from the marker or the sidecar; StrategyMismatch; LockLost if the marker was removed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from storewriter._platform.owner import Owner
from storewriter.locks._marker_attempt import attempt_marker
from storewriter.locks._marker_hold import MarkerHold
from storewriter.locks._marker_owner import owner_of_store
from storewriter.locks._marker_policy import LeaseState, MarkerPolicy

if TYPE_CHECKING:
    from filelock import SoftFileLock

__all__ = ["Marker"]


@attrs.frozen
class Marker:
    """Existence of `.<name>.marker` (see the module)."""

    _policy: MarkerPolicy = attrs.field(init=False, eq=False, repr=False, factory=lambda: _policy())

    name = "marker"
    is_quick = False

    def attempt(self, path: str, label: str | None) -> MarkerHold | None:
        """See `Strategy`."""
        return attempt_marker(path, label, self._policy)

    def owner(self, path: str) -> Owner | None:
        """See `Strategy`. Without a living owner's marker, the process that has the sidecar locked."""
        return owner_of_store(path)


def _policy() -> MarkerPolicy:
    # Imported when the strategy is made: at the first turn, a handler or a lack of descriptors might be in the way.
    from filelock import MarkerSoftFileLock

    def make(name: str, state: LeaseState) -> SoftFileLock:
        # Protocol 2 of filelock's records, not SoftFileLock's own: under that one a lease's marker would pass for a
        # damaged one and be taken over after two seconds.
        return MarkerSoftFileLock(name, mode=0o600, thread_local=False)

    return MarkerPolicy("marker", None, make)
