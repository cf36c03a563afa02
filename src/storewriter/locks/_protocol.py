"""What a lock strategy is: the protocol that users' own strategies keep too.

A strategy is a value (two equal strategies agree with each other). It makes one attempt and never sleeps; waiting,
deadlines and backoff are decided once, in `per_store_writer_queue.py`. A successful attempt returns a hold.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import ClassVar, Protocol, runtime_checkable

from storewriter._platform.owner import Owner
from storewriter._turns.adapter import Hold as TurnHold

__all__ = ["Hold", "Strategy", "WaitingStrategy"]


class Hold(TurnHold, Protocol):
    """The right to write one store: what an attempt returns, used once.

    To what turns need of it, this adds what the commit of a file needs.
    """

    @property
    def token(self) -> str | None:
        """Distinguishes this hold from a successor's beside it (a lease); None if it cannot be taken over."""
        ...

    def fence(self) -> AbstractContextManager[None]:
        """Around the instant of a commit: checks that the hold is still ours, and lets no successor in meanwhile.

        Entering may wait for a contender that looks at the lock at this moment.

        Raises:
            LockLost: On entry: as `check`.
        """
        ...


@runtime_checkable
class Strategy(Protocol):
    """How processes exclude each other from one store: what `lock=` takes.

    The methods are called from any thread, also at the same time for different stores. For one store a process makes
    one attempt at a time.
    """

    @property
    def name(self) -> str:
        """The name of the strategy in `lock=`, in errors and on the command line."""
        ...

    @property
    def is_quick(self) -> bool:
        """Whether an attempt and a release may run on an event loop: a few system calls that never wait for a disk."""
        ...

    def attempt(self, path: str, label: str | None) -> Hold | None:
        """Try once to lock a store. It never waits for another holder.

        Args:
            path: The canonical path of the store.
            label: What the turn is for, for the owner's record, if there is one; None: not given.

        Returns:
            The hold, or None if the lock is held.

        Raises:
            StrategyMismatch: The store is guarded in another way.
            UnsupportedLock: This strategy cannot work on that file system.
            ForeignFile: The lock file belongs to another program, or to a user who may not write the document.
            OSError: The lock file cannot be opened or locked.
        """
        ...

    def owner(self, path: str) -> Owner | None:
        """The holder of the lock now, as far as is known: for messages.

        Args:
            path: The canonical path of the store.

        Returns:
            The owner; fields that are not known are None. None if the lock is free, or nothing is known of its holder.
        """
        ...


@runtime_checkable
class WaitingStrategy(Strategy, Protocol):
    """A strategy whose waiters the kernel wakes. Other strategies are polled with the queue's `Backoff`."""

    waits: ClassVar[bool]
    """Whether `wait` is to be used; with False the strategy is polled."""

    def wait(self, path: str, label: str | None) -> Hold:
        """Wait in the kernel until the lock is ours, for as long as that takes.

        Called in a thread of its own, which nothing interrupts: a caller that has given up no longer waits for that
        thread, and the hold goes to the next caller, or is released.

        Args:
            path: The canonical path of the store.
            label: What the turn is for; None: not given.

        Returns:
            The hold.

        Raises:
            StrategyMismatch: The store is guarded in another way.
            UnsupportedLock: This strategy cannot work on that file system.
            OSError: The lock file cannot be opened or locked.
        """
        ...
