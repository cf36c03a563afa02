"""What the lock of a neighbour program is: a value that makes claims, and a claim that is used once."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from storewriter._platform.owner import Owner

__all__ = ["Claim", "Neighbour"]


class Claim(Protocol):
    """One use of a neighbour's lock for one store. Made without effect; `release` follows whatever `take` does."""

    interval: float | None
    """Seconds after which a held claim must be renewed, or the neighbour takes the lock for abandoned; None: never."""
    was_reclaimed: bool
    """Whether `take` took the lock over from an owner that had abandoned it."""

    def take(self) -> bool:
        """One attempt. False: another program holds the lock. Never waits.

        Raises StrategyMismatch if what is at the lock's path belongs to another convention, and OSError.
        """
        ...

    def is_ours(self) -> bool:
        """Whether the lock at the path still is this claim's. One or two system calls; changes nothing."""
        ...

    def renew(self) -> bool:
        """Renew the lock if that is due, and return whether it is still ours. Callable from any thread."""
        ...

    def release(self) -> None:
        """Give the lock back, if it is still ours; remove nothing else. Can be repeated.

        Raises OSError if the lock could not be removed.
        """
        ...


@runtime_checkable
class Neighbour(Protocol):
    """How a program that writes the same document excludes others: an item of `PerStoreWriterQueue(also=...)`.

    The methods are called from any thread, also at the same time for different stores.
    """

    @property
    def name(self) -> str:
        """What the convention is called in messages."""
        ...

    def claim(self, path: str) -> Claim:
        """Prepare a claim on the lock of a store; nothing is taken yet.

        Args:
            path: The canonical path of the store.
        """
        ...

    def lock_path(self, path: str) -> str:
        """The path of the lock of a store.

        Args:
            path: The canonical path of the store.
        """
        ...

    def owner(self, path: str) -> Owner | None:
        """The holder of the lock now, as far as is known: for messages.

        Args:
            path: The canonical path of the store.

        Returns:
            The owner, or None if the lock is free or its holder unknown.
        """
        ...
