"""`none`: the in-process lane alone. For stores that only one process ever writes, and for measuring the rest."""

from __future__ import annotations

import contextlib

import attrs

from storewriter._platform import forks
from storewriter._platform.owner import Owner
from storewriter.errors import LockLost

__all__ = ["InProcess"]


@attrs.frozen
class InProcess:
    """`none`: no lock between processes. For stores that only one process ever writes.

    A frozen value; its methods are those of `Strategy`.

    Example:
        PerStoreWriterQueue(InProcess())
    """

    name = "none"
    is_quick = True

    def attempt(self, path: str, label: str | None) -> _InProcessHold:
        """Return a hold, always: the queue has already excluded this process's other tasks and threads.

        Args:
            path: The canonical path of the store.
            label: Not used.
        """
        return _InProcessHold(path)

    def owner(self, path: str) -> Owner | None:
        """None: the queue itself knows the holder, which is in this process.

        Args:
            path: Not used.
        """
        return None


class _InProcessHold:
    __slots__ = ("_generation", "_path")

    token: str | None = None

    def __init__(self, path: str) -> None:
        self._path = path
        self._generation = forks.generation

    def may_pass(self) -> bool:
        return True

    def check(self) -> None:
        if self._generation != forks.generation:
            msg = f"the turn on {self._path} belongs to the parent process; this forked child holds nothing"
            raise LockLost(msg, path=self._path, owner=None)

    def fence(self) -> contextlib.AbstractContextManager[None]:
        self.check()
        return contextlib.nullcontext()

    def describe(self, label: str | None) -> None:
        pass

    def release(self) -> None:
        pass
