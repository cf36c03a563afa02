"""What a lock strategy is: the protocol that users' own strategies keep too.

A strategy is a value (two equal strategies agree with each other). It makes one attempt and never sleeps; waiting,
deadlines and backoff are decided once, in `per_store_writer_queue.py`. A successful attempt returns a hold.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import ClassVar, Protocol, runtime_checkable

from storewriter._platform.owner import Owner

__all__ = ["Hold", "Strategy", "WaitingStrategy"]


class Hold(Protocol):
    """The right to write one store: a value, used once."""

    def may_pass(self) -> bool:
        """Whether the hold may go on to the next turn of this process without being released.

        False once another process should come first. Called by the holder between two turns.
        """
        ...

    def check(self) -> None:
        """Raise `LockLost` if another process may hold the lock now."""
        ...

    @property
    def token(self) -> str | None:
        """Names this hold, if a successor's may exist beside it (a lease); None if it cannot be taken over."""
        ...

    def fence(self) -> AbstractContextManager[None]:
        """Around the instant of a commit: checks that the hold is still ours, and lets no successor in meanwhile.

        Raises `LockLost` on entry if it is not.
        """
        ...

    def describe(self, label: str | None) -> None:
        """Write the label of the turn where waiters read it; called when a hold is passed on to another turn."""
        ...

    def release(self) -> None:
        """Give it back. It removes only what is this hold's own."""
        ...


@runtime_checkable
class Strategy(Protocol):
    """How processes exclude each other from one store."""

    @property
    def name(self) -> str:
        """What it is called in `lock=`, errors and the command line."""
        ...

    @property
    def is_quick(self) -> bool:
        """Whether an attempt and a release may run on an event loop: a few system calls that never wait for a disk."""
        ...

    def attempt(self, path: str, label: str | None) -> Hold | None:
        """One try to lock the store at this canonical path; None if the lock is held. Never waits.

        `label`, what the turn is for, belongs into the owner's record, if there is one.
        Raises `StrategyMismatch` if the store is guarded in another way, `UnsupportedLock` if this strategy cannot
        work there, or OSError.
        """
        ...

    def owner(self, path: str) -> Owner | None:
        """The holder of the lock now, as far as is known; None if it is free, or the holder is unknown."""
        ...


@runtime_checkable
class WaitingStrategy(Strategy, Protocol):
    """A strategy whose waiters the kernel wakes. Other strategies are polled with the queue's `Backoff`."""

    waits: ClassVar[bool]

    def wait(self, path: str, label: str | None) -> Hold:
        """Wait in the kernel until the lock is ours. Runs in a thread of its own and cannot be interrupted."""
        ...
