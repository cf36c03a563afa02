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
    """`marker`: the lock is held while the file `.<name>.marker` exists. For file systems without kernel locks.

    A dead holder's marker is taken over on proof of its death; one of another host or container stays until it is
    removed. Waiters poll. A frozen value; its methods are those of `Strategy`.

    Example:
        PerStoreWriterQueue(Marker())
    """

    _policy: MarkerPolicy = attrs.field(init=False, eq=False, repr=False, factory=lambda: _policy())

    name = "marker"
    is_quick = False

    def attempt(self, path: str, label: str | None) -> MarkerHold | None:
        """Try once to lock a store. It waits for no other holder, but may wait for a disk or a server.

        Args:
            path: The canonical path of the store.
            label: What the turn is for, for the record in the sidecar; None: not given.

        Returns:
            The hold, or None if the lock is held.

        Raises:
            StrategyMismatch: The store is in use with another strategy.
            ForeignFile: A lock file belongs to another program, or to a user who may not write the document.
            NotARegularFile: A folder, or another thing that is no regular file, has a lock file's name.
            OSError: A lock file or the marker cannot be opened or made.
        """
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


def _policy() -> MarkerPolicy:
    # Imported when the strategy is made: at the first turn, a handler or a lack of descriptors might be in the way.
    from filelock import MarkerSoftFileLock

    def make(name: str, state: LeaseState) -> SoftFileLock:
        # Protocol 2 of filelock's records, not SoftFileLock's own: under that one a lease's marker would pass for a
        # damaged one and be taken over after two seconds.
        return MarkerSoftFileLock(name, mode=0o600, thread_local=False)

    return MarkerPolicy("marker", None, make)
