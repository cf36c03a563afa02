"""The errors that the strategies have in common."""

from __future__ import annotations

import errno

from storewriter._files.keys import sidecar
from storewriter._platform import mounts
from storewriter._platform.owner import Owner
from storewriter.errors import LockLost, StrategyMismatch, UnsupportedLock


def taken_away(path: str) -> LockLost:
    """The error for a sidecar that was taken away from under its holder: the next one locks another file."""
    return LockLost(
        f"the lock file {sidecar(path)} was deleted or replaced while the turn on {path} was held, so "
        f"another process may have the lock too. Nothing was written; leave lock files alone while programs use the "
        f"store.",
        path=path,
        owner=None,
    )


def is_parents(path: str) -> LockLost:
    """The error in a forked child: the turn is its parent's."""
    msg = f"the turn on {path} belongs to the parent process; this forked child holds nothing"
    return LockLost(msg, path=path, owner=None)


def mismatch(path: str, ours: str, theirs: str, owner: Owner | None) -> StrategyMismatch:
    """The error for a store that is in use with another strategy."""
    return StrategyMismatch(
        f"{path} is guarded with lock={theirs!r} by {owner or 'an unknown process'}, and lock={ours!r} was asked for: "
        f"the two would not exclude each other. Use the same strategy in every program, or let that one end first.",
        path=path,
        ours=ours,
        theirs=theirs,
        owner=owner,
    )


def unsupported(path: str, strategy: str, error: OSError | None) -> UnsupportedLock:
    """The error for a file system on which a kernel lock does not exclude."""
    mount = mounts.mount_of(path)
    where = "the file system" if mount is None else f"the file system ({mount.kind}, mounted at {mount.point})"
    why = (
        f"has no kernel locks ({error.strerror})"
        if error is not None
        else "grants a kernel lock that is held: a second descriptor was not refused"
    )
    problem = UnsupportedLock(
        f"{where} of {path} {why}, so lock={strategy!r} cannot exclude other writers there. "
        f"Use lock='lease' in every program that writes this store.",
        path=path,
        strategy=strategy,
        filesystem=None if mount is None else mount.kind,
    )
    problem.errno = errno.ENOLCK if error is None else error.errno
    return problem
