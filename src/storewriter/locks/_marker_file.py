"""The existence marker `.<name>.marker`: its record, and whether it still counts.

Promise    `marker` and `lease` use one name, so that each finds the other's marker. A marker that cannot be parsed is
           distinguished from one that is not there.
How        The record is filelock's: its protocol 2 (`mode=exclusive` or `mode=lease`), or the older three lines of a
           plain `SoftFileLock`. Age is counted on this process's monotonic clock, from when this process first saw
           the marker as it is now: no clock of another host, and no jump of one, can make it older.
Does not   write, remove or lock anything.
"""

from __future__ import annotations

import errno
import math
import os
import stat
import time
from collections.abc import Callable
from typing import Final, Literal

import attrs

from storewriter._platform import liveness
from storewriter._platform.descriptors import Descriptor
from storewriter._platform.liveness import Verdict
from storewriter._platform.owner import Owner
from storewriter._platform.system import CLOEXEC, NOFOLLOW, NONBLOCK
from storewriter.locks import _rights

_LIMIT: Final = 1024
"""Bytes of a marker that filelock reads; a longer one is damaged."""

GRACE: Final = 2.0
"""Seconds for which a marker without a readable record is left alone: its creator may be about to write it."""


RELEASED: Final = b"filelock/released\n"
"""What filelock, and we, write into a marker that was given back and could not be removed."""


def marker_file(path: str) -> str:
    """Path of the marker of a store: `.<name>.marker` beside it."""
    folder, name = path.rsplit(os.sep, 1)
    return f"{folder}{os.sep}.{name}.marker"


class UnreadableMarker(PermissionError):
    """There is a marker, and this process may not read it: its owner, and whether it counts, are unknown."""


@attrs.frozen
class Seen:
    """A marker at one instant."""

    identity: tuple[int, ...]
    """Device, inode, size and both times: changes with every refresh, and with every new marker."""
    strategy: Literal["marker", "lease"] | None
    """The owner of the marker; None if that cannot be read."""
    owner: Owner | None
    stale: float | None
    """A lease's term in seconds."""
    token: str | None
    """Unique name of one hold of a lease."""
    is_empty: bool
    is_released: bool = False
    """Whether its owner has released it."""
    is_folder: bool = False
    """What is there is no file at all, and cannot be taken away like one."""

    @property
    def inode(self) -> tuple[int, int]:
        """Device and inode."""
        return self.identity[0], self.identity[1]

    @property
    def modified(self) -> float:
        """Seconds since the epoch, by the file's clock."""
        return self.identity[3] / 1e9


def look(path: str) -> Seen | None:
    """The marker of the store at `path`; None if there is none.

    Raises OSError if it cannot be read, of the kind that opening it failed by (UnreadableMarker for want of rights);
    what is there but is no regular file counts as damaged.
    """
    file = Descriptor()
    try:
        fd = file.open(os.open, marker_file(path), os.O_RDONLY | NOFOLLOW | NONBLOCK | CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno is None:
            raise  # a signal handler's
        return _unreadable(path, error)
    try:
        return read_marker(fd)
    finally:
        file.close()


def _unreadable(path: str, error: OSError) -> Seen | None:
    """A link or a socket is never a record of ours. A regular file may be one: then its owner is unknown."""
    name = marker_file(path)
    if error.errno == errno.ENAMETOOLONG:
        return None  # what cannot be put down is not there
    try:
        found = os.lstat(name)
    except FileNotFoundError:
        return None
    if stat.S_ISREG(found.st_mode):
        kind = UnreadableMarker if isinstance(error, PermissionError) else OSError
        advice = f". {_rights.advice(path, name)}" if isinstance(error, PermissionError) else ""
        msg = f"the marker {name} cannot be read, so its owner is not known: {error.strerror}{advice}"
        raise kind(error.errno, msg) from error
    return Seen(_identity(found), *_DAMAGED, is_empty=False)


def read_marker(fd: int, found: os.stat_result | None = None) -> Seen:
    """Read an open marker; `found` is its stat result, if that is known already."""
    found = os.fstat(fd) if found is None else found
    data = os.pread(fd, _LIMIT + 1, 0) if stat.S_ISREG(found.st_mode) else b"?"
    return Seen(
        _identity(found),
        *_parsed(data),
        is_empty=not data,
        is_released=data == RELEASED,
        is_folder=stat.S_ISDIR(found.st_mode),
    )


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


_Record = tuple[Literal["marker", "lease"] | None, Owner | None, float | None, str | None]
_DAMAGED: Final[_Record] = (None, None, None, None)


def _parsed(data: bytes) -> _Record:
    # Every line ends with a newline: a record without the last one was cut short.
    if len(data) > _LIMIT or not data.endswith(b"\n"):
        return _DAMAGED
    lines = data.decode("utf-8", "replace").strip().split("\n")
    if lines[0] == "filelock/2":
        parted = [line.partition("=") for line in lines[1:]]
        return _from_fields({key: value for key, _, value in parted})
    if len(lines) in (2, 3):
        return _from_fields({"mode": "exclusive", **dict(zip(("pid", "host", "start"), lines, strict=False))})
    return _DAMAGED


def _from_fields(fields: dict[str, str]) -> _Record:
    """An unknown mode is a valid lock all the same (of a newer filelock), and counts as exclusive."""
    try:
        pid = int(fields["pid"])
        start = int(fields["start"]) if "start" in fields else None
        stale = float(fields["duration"]) if "duration" in fields else None
        host = fields["host"]
    except (KeyError, ValueError):
        return _DAMAGED
    if not 0 < pid < 1 << 31 or "mode" not in fields:
        return _DAMAGED
    if fields["mode"] != "lease":
        return "marker", _owner(pid, host, start, "marker"), None, None
    token = fields.get("token")
    if not token or stale is None or not 0 < stale < math.inf:
        return _DAMAGED
    return "lease", _owner(pid, host, start, "lease"), stale, token


_INITIAL_NAMESPACE: Final = 0xEFFFFFFC
"""Inode of a Linux host's own PID namespace, which filelock leaves unmentioned."""


def _owner(pid: int, host: str, start: int | None, strategy: str) -> Owner:
    # filelock's start token: the boot id above the lower 64 bits, the clock tick of the start in them.
    name, marked, namespace = host.partition("?pidns-")
    boot = 0 if start is None else start >> 64
    return Owner(
        pid=pid,
        host=name,
        start_ticks=None if start is None else start % (1 << 64),
        boot_id=None if not boot else _uuid(boot),
        pid_namespace=_namespace(namespace) if marked else _default_namespace(),
        strategy=strategy,
    )


def _default_namespace() -> int | None:
    return None if liveness.here().pid_namespace is None else _INITIAL_NAMESPACE


def _namespace(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        return -1  # some namespace that is not ours


def _uuid(number: int) -> str:
    digits = f"{number:032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


@attrs.define
class MarkerAge:
    """How long this process has seen a marker unchanged."""

    _identity: tuple[int, ...] | None = None
    _since: float = 0.0
    _clock: Callable[[], float] = time.monotonic

    def unchanged(self, seen: Seen) -> float:
        """Seconds since this very marker was first seen as it is now."""
        now = self._clock()
        if seen.identity != self._identity:
            self._identity = seen.identity
            self._since = now
        return now - self._since


def why_stale(seen: Seen, unchanged: float, stale: float | None) -> str | None:
    """Why a marker may be taken over, in words; None: it may not.

    `stale` is the term of a contender that uses leases; only a lease of the same term ends by it.
    """
    if seen.is_released:
        return "given back, and could not be removed then"
    if seen.owner is None:
        if unchanged < GRACE:
            return None
        return f"{'empty' if seen.is_empty else 'damaged'} marker, unchanged for {unchanged:.1f} s"
    if liveness.judge(seen.owner) is Verdict.GONE:
        return "its process is gone"
    if seen.strategy == "lease" and stale is not None and seen.stale == stale and unchanged >= stale:
        return f"not refreshed for {unchanged:.1f} s"
    return None
