"""What turns need of a lock: `LockAdapter`, and what it returns, `Hold`.

Turns know nothing else of locks, and nothing of files.

An adapter is one lock on one store. It makes one attempt and never sleeps; where it must poll or the kernel wakes it,
`wait` does that in the waiting thread of the store's lane. Deadlines, warnings and the order of tickets are the lane's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from storewriter._platform.owner import Owner
from storewriter.errors import StrategyMismatch


class Hold(Protocol):
    """A lock that is held: a value, used once.

    The methods are called by one thread at a time, not always by the thread that made the attempt.
    """

    def may_pass(self) -> bool:
        """Whether the hold may go on to the next turn of this process without being released.

        Called between two turns. It never waits.

        Returns:
            False once another process should come first, or if the hold was lost.
        """
        ...

    def check(self) -> None:
        """Check that no other process can hold the lock now.

        Raises:
            LockLost: The lock was taken over or its file was removed, or this process is a forked child.
        """
        ...

    def describe(self, label: str | None) -> None:
        """Write the label of the turn where waiters read it; called when a hold is passed on to another turn.

        Args:
            label: What the turn is for; None if its caller gave no label.
        """
        ...

    def release(self) -> None:
        """Give the lock back. It removes only what is this hold's own.

        In a forked child it does nothing. An interrupted release is repeated.

        Raises:
            OSError: The lock could not be given back.
            RuntimeError: It was given back before.
        """
        ...


class LockAdapter(Protocol):
    """One lock on one store."""

    @property
    def key(self) -> str:
        """Names the store in this process: tickets with equal keys are in one lane. Shown in messages, not parsed."""
        ...

    @property
    def name(self) -> str:
        """The kind of the lock, as in `lock=`."""
        ...

    @property
    def settings(self) -> object:
        """What the adapters of one key must agree on to exclude each other. Compared with `==`; its repr is shown."""
        ...

    @property
    def is_quick(self) -> bool:
        """Whether an attempt and a release may run on an event loop: they never wait for a disk or a network."""
        ...

    @property
    def sidecar(self) -> str | None:
        """The path of the lock file, if there is one."""
        ...

    def next_look(self) -> float:
        """The time (`time.monotonic()`) from which on `look` is due."""
        ...

    def look(self) -> None:
        """Called before a ticket joins the lane, if it is due. May raise `StrategyMismatch`."""
        ...

    def attempt(self, label: str | None, /) -> Hold | None:
        """One try to take the lock, in the caller's thread; None if it is taken. Never waits.

        Raises `StrategyMismatch`, `UnsupportedLock` or OSError.
        """
        ...

    def wait(self, label: str | None, wanted: Callable[[], bool], replace: Callable[[], None]) -> Hold | None:
        """Wait for the lock, in the lane's waiting thread. None once `wanted()` is false.

        A wait that is stuck may call `replace`, from another thread, which starts a second wait in place of this one;
        this one then raises `WaiterReplaced`. Raises `RetriesExhausted` if the number of attempts is limited.
        """
        ...

    def owner(self) -> Owner | None:
        """The holder of the lock now, as far as is known; None if it is free, or the holder is unknown."""
        ...

    def mismatch(self, owner: Owner) -> StrategyMismatch | None:
        """The error if that holder uses another kind of lock, which an attempt may not have detected."""
        ...

    def whereabouts(self) -> str:
        """Where the lock is, for the message of a timeout: `lock file /srv/.state.json.lock`, for example."""
        ...

    def advice(self, owner: Owner | None) -> str | None:
        """What to do about a holder that does not let go, as sentences for the message of a timeout.

        None: what holds for a lock in a file whose holder is `owner`.
        """
        ...

    def same_lock(self, keys: Iterable[str]) -> LockAdapter | None:
        """This lock by the first of these keys that names it too: one store under two names. None: none does."""
        ...
