"""Removes a marker that no contender takes over by itself, at a person's word.

Promise    Exactly the marker that was seen is removed, or none: it is looked at once more where no contender can put
           another one in its place, under the locks with which contenders do that. Its holder, if it still lives,
           does not commit: the check before a commit finds that its marker has gone (`LockLost`).
Does not   end a kernel lock. The process that holds one has to end.
"""

from __future__ import annotations

import contextlib
import fcntl
import os

from storewriter._files.keys import sidecar
from storewriter.locks._guard import Guard
from storewriter.locks._lock_file import NO_LOCKS, LockFile
from storewriter.locks._marker_file import Seen, look, marker_file

__all__ = ["break_marker", "token_of"]


def token_of(seen: Seen) -> str:
    """Names one hold: a lease's own token, or the identity of a marker."""
    if seen.token is not None:
        return seen.token
    device, inode, size, modified, _ = seen.identity
    return f"{device:x}-{inode:x}-{size:x}-{modified:x}"


def break_marker(path: str, seen: Seen) -> str | None:
    """Remove the marker `seen` of the store at a canonical path. Returns why not, in words; None: it is removed.

    Raises OSError.
    """
    presence = LockFile()
    guard = Guard(path) if seen.strategy == "lease" else None
    try:
        presence.open_at(path, sidecar(path))
        # As contenders do: leases share it, every other marker has it alone.
        kind = fcntl.LOCK_EX if guard is None else fcntl.LOCK_SH
        try:
            fcntl.flock(presence.fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return (
                "a process on this host holds the kernel lock on the lock file, too, and only its end gives that back"
            )
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        if guard is not None:
            guard.take(wait=True)
        return _remove(path, seen)
    finally:
        if guard is not None:
            guard.close()
        with contextlib.suppress(OSError):
            if presence.is_open:
                fcntl.flock(presence.fd, fcntl.LOCK_UN)
        presence.close()


def _remove(path: str, seen: Seen) -> str | None:
    now = look(path)
    if now is None:
        return "it has been given back meanwhile"
    if now.inode != seen.inode or token_of(now) != token_of(seen):
        return "another hold has taken its place meanwhile"
    os.unlink(marker_file(path))
    return None
