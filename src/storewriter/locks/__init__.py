"""How processes exclude each other: the strategies that `lock=` takes, and the protocol for your own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import attrs

from storewriter.locks._protocol import Hold, Strategy, WaitingStrategy
from storewriter.locks.flock import Flock
from storewriter.locks.in_process import InProcess
from storewriter.locks.lease import Lease
from storewriter.locks.marker import Marker
from storewriter.locks.neighbours import FlockFile, Neighbour, OpenClawLock, ProperLockfile
from storewriter.locks.neighbours._joined import Joined

__all__ = [
    "Flock",
    "Hold",
    "InProcess",
    "Lease",
    "LockName",
    "Marker",
    "Neighbour",
    "OpenClawLock",
    "ProperLockfile",
    "Strategy",
    "WaitingStrategy",
    "joined",
    "named",
]

LockName = Literal["flock", "marker", "lease", "none"]
"""Names of the strategies: `flock` is `Flock()`, `marker` `Marker()`, `lease` `Lease()`, `none` `InProcess()`."""


def named(lock: LockName | Strategy) -> Strategy:
    """The strategy for a `lock=` argument.

    Args:
        lock: `flock`, `marker`, `lease` or `none`, or an object that keeps the `Strategy` protocol.

    Returns:
        The object itself, or a strategy with that name and its default settings.

    Raises:
        ValueError: There is no strategy of that name.
        TypeError: The object does not keep the protocol.
    """
    if isinstance(lock, str):
        try:
            return _BY_NAME[lock]()
        except KeyError:
            msg = f"lock={lock!r} is not a strategy; choose one of {', '.join(map(repr, _BY_NAME))}, or pass an object"
            raise ValueError(msg) from None
    if not isinstance(lock, Strategy):
        msg = f"lock={lock!r} does not keep the Strategy protocol (name, is_quick, attempt, owner)"
        raise TypeError(msg)
    return lock


def joined(lock: Strategy, also: tuple[Neighbour, ...]) -> Strategy:
    """The strategy that takes a lock and, inside it, the neighbours' locks.

    Args:
        lock: Our own lock. A strategy that this function has returned stands for the lock that it was given.
        also: The neighbours' locks, in the order in which they are taken.

    Returns:
        `lock` itself if there are no neighbours.

    Raises:
        ValueError: Two neighbours would have one lock file: each would take the other's for a foreign one.
    """
    given = lock.given if isinstance(lock, Joined) else lock
    own, file = _parted(given)
    neighbours = (*(() if file is None else (file,)), *also)
    _require_different_names(neighbours)
    return Joined(own, neighbours, given) if neighbours else given


def _parted(lock: Strategy) -> tuple[Strategy, Neighbour | None]:
    """Our own lock, and the other lock file that a `Flock(file=...)` names."""
    if not isinstance(lock, Flock) or lock.file is None:
        return lock, None
    return attrs.evolve(lock, file=None), FlockFile(lock.file)


def _require_different_names(neighbours: tuple[Neighbour, ...]) -> None:
    by_path: dict[str, Neighbour] = {}
    for neighbour in neighbours:
        other = by_path.setdefault(neighbour.lock_path("/store"), neighbour)
        if other is not neighbour:
            msg = (
                f"{neighbour!r} and {other!r} use one name for their locks, and a name can belong to one convention "
                f"only: configure the one that the other program uses, or give each its own `file`"
            )
            raise ValueError(msg)


_BY_NAME: dict[LockName, Callable[[], Strategy]] = {"flock": Flock, "marker": Marker, "lease": Lease, "none": InProcess}
