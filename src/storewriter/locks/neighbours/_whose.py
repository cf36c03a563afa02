"""Identifies the lock that is found where a neighbour's belongs, and what to configure for it."""

from __future__ import annotations

import json
import os
import stat
import struct
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, cast

import attrs

from storewriter._platform.descriptors import Descriptor
from storewriter._platform.fcntl import FREE, HAS_BYTE_LOCKS, OFD_GETLK, fcntl
from storewriter._platform.kernel_locks import holders
from storewriter._platform.liveness import Verdict, describe, here, judge
from storewriter._platform.owner import Owner
from storewriter._platform.system import CLOEXEC, NOFOLLOW, NONBLOCK
from storewriter.errors import StrategyMismatch

_LIMIT: Final = 64 * 1024
"""Bytes of a lock file that are ever read; what is longer is no record of a holder."""

CONFIGURE: Final = {
    "flock": 'PerStoreWriterQueue(Flock(file="{file}"))',
    "openclaw": "PerStoreWriterQueue(also=OpenClawLock({file}))",
    "proper-lockfile": "PerStoreWriterQueue(also=ProperLockfile({file}))",
}
"""By convention: what takes its lock as well."""


def advice_for(kind: str, template: str) -> str:
    """The line of code that takes this kind of lock, at this name."""
    if kind == "flock":
        return CONFIGURE[kind].format(file=template)
    return CONFIGURE[kind].format(file="" if template == "{name}.lock" else f"file={template!r}")


@attrs.frozen
class Record:
    """The content of a lock file with a record: OpenClaw's, fs-safe's, or our own in their form."""

    raw: bytes
    pid: int | None = None
    created: float | None = None
    """Seconds since the epoch."""
    owner: Owner | None = None
    """As far as the record and this machine show; None without a pid."""
    hold: str | None = None
    """Names the hold, if the record is storewriter's."""

    def verdict(self) -> Verdict:
        """Whether its owner is provably gone."""
        return Verdict.UNKNOWN if self.owner is None else judge(self.owner)

    def described(self) -> Owner | None:
        """The owner with its command, for people."""
        owner = self.owner
        if owner is None or owner.pid is None or self.verdict() is not Verdict.ALIVE:
            return owner
        return attrs.evolve(describe(owner.pid), since=self.created)


def read_record(fd: int) -> Record:
    """The record of an open lock file; one without facts for what is none."""
    raw = os.pread(fd, _LIMIT, 0)
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return Record(raw)
    return _record(raw, cast("dict[str, Any]", found)) if isinstance(found, dict) else Record(raw)


def _record(raw: bytes, fields: dict[str, Any]) -> Record:
    pid, created = _whole(fields.get("pid")), _moment(fields.get("createdAt"))
    hold = fields.get("hold")
    if pid is None or not 0 < pid < 1 << 31:
        return Record(raw, created=created)
    started = _whole(fields.get("startTime"))
    machine = here()
    # A record without a host was written by a program that judges owners by their pid alone. So do we: all programs
    # that use such a lock share one PID namespace.
    is_named = isinstance(fields.get("host"), str)
    owner = Owner(
        pid=pid,
        host=fields["host"] if is_named else machine.host,
        since=created,
        start_ticks=_whole(fields.get("starttime")) if started is None else started,
        boot_id=fields["bootId"] if is_named and isinstance(fields.get("bootId"), str) else None,
        pid_namespace=_whole(fields.get("pidNamespace")) if is_named else machine.pid_namespace,
    )
    return Record(raw, pid, created, owner, hold if isinstance(hold, str) else None)


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _moment(value: object) -> float | None:
    if not isinstance(value, str):
        return None
    try:
        return datetime.fromisoformat(value).timestamp()
    except (ValueError, OverflowError):
        return None


def record_at(lock: str) -> Record | None:
    """The record at a path; None if there is none that can be read."""
    file = Descriptor()
    try:
        fd = file.open(os.open, lock, os.O_RDONLY | NOFOLLOW | NONBLOCK | CLOEXEC)
        return read_record(fd) if stat.S_ISREG(os.fstat(fd).st_mode) else None
    except OSError as error:
        if error.errno is None:
            raise  # a signal handler's
        return None
    finally:
        file.close(quietly=True)


def kernel_holder(name: str) -> Owner | None:
    """The process of another program that holds flock(2) on a file alone, or an fcntl(2) lock; None: there is none."""
    lock = kernel_lock(name)
    return None if lock is None else lock[1]


def kernel_lock(name: str) -> tuple[str, Owner] | None:
    """The kind of that lock as well, as /proc/locks calls it: `FLOCK`, or `POSIX` for one of fcntl(2).

    What /proc/locks shows is confirmed by the file itself, because some file systems go by another device number there.
    Without that nothing is tried: a lock that is tried for an instant could refuse the other program.
    """
    file = Descriptor()
    try:
        fd = file.open(os.open, name, os.O_RDONLY | NOFOLLOW | NONBLOCK | CLOEXEC)
        found = os.fstat(fd)
        return _lock_on(found, fd) if stat.S_ISREG(found.st_mode) else None
    except OSError as error:
        if error.errno is None:
            raise  # a signal handler's
        return None
    finally:
        file.close(quietly=True)


def _lock_on(found: os.stat_result, fd: int) -> tuple[str, Owner] | None:
    for kind, is_locked in (("FLOCK", _is_flocked), ("POSIX", _is_byte_locked)):
        owner = _holder_by(found, fd, kind, is_locked)
        if owner is not None:
            return kind, owner
    return None


def _holder_by(found: os.stat_result, fd: int, kind: str, is_locked: Callable[[int], bool]) -> Owner | None:
    pids = [pid for pid in holders(found, kind) if pid != os.getpid()]
    if not pids or not is_locked(fd):
        return None
    return describe(pids[0]) if pids[0] > 0 else Owner()


def _is_flocked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


_WHOLE_FILE: Final = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
"""The question whether any byte of a file is locked (fcntl(2))."""


def _is_byte_locked(fd: int) -> bool:
    return HAS_BYTE_LOCKS and fcntl.fcntl(fd, OFD_GETLK, _WHOLE_FILE)[:2] != FREE


@attrs.frozen
class Foreign:
    """A lock of another program, as it is found beside a document."""

    lock: str
    """Its path."""
    kind: str
    """`flock`, `fcntl`, `openclaw`, `proper-lockfile`, or `unknown`."""
    what: str
    """What it is, in words."""
    owner: Owner | None
    """Who holds it, if that can be told."""
    is_new: bool = False
    """Whether it is an empty file that its owner may be about to write a record into: then `kind` is a guess."""


_WRITING: Final = 2.0
"""Seconds for which an empty file may be one whose record is on its way."""


def foreign(lock: str, found: os.stat_result) -> Foreign | None:
    """The lock at a path, and its likely convention and holder; None: it has gone meanwhile."""
    if stat.S_ISDIR(found.st_mode):
        age = max(0.0, time.time() - found.st_mtime)
        what = f"a folder, refreshed {age:.1f} s ago, as proper-lockfile makes it"
        return Foreign(lock, "proper-lockfile", what, None)
    if not stat.S_ISREG(found.st_mode):
        return Foreign(lock, "unknown", "neither a file nor a folder", None)
    held = kernel_lock(lock)
    if held is not None:
        return locked(lock, *held)
    record = record_at(lock)
    if record is not None and record.pid is not None:
        what = "a file with the record of its owner, as OpenClaw and fs-safe make it"
        return Foreign(lock, "openclaw", what, record.described())
    if record is None and not os.path.lexists(lock):
        return None
    is_empty = found.st_size == 0
    a_file = "an empty file" if is_empty else "a file"
    what = f"{a_file}, not locked now, as filelock, portalocker and flock(1) leave it"
    is_new = is_empty and time.time() - found.st_mtime < _WRITING
    return Foreign(lock, "flock", what, None, is_new)


def locked(lock: str, kind: str, holder: Owner) -> Foreign:
    """A lock file that is locked in the kernel."""
    if kind == "POSIX":
        what = "a file on which an fcntl(2) lock is held, as by fasteners or lockf(3)"
        return Foreign(lock, "fcntl", what, holder)
    what = "a file on which flock(2) is held, as by filelock, portalocker or flock(1)"
    return Foreign(lock, "flock", what, holder)


def other_convention(path: str, lock: str, ours: str, found: os.stat_result) -> StrategyMismatch:
    """The error for a lock path that another convention uses: both programs would fail, or not see each other."""
    seen = foreign(lock, found) or Foreign(lock, "unknown", "of another kind", None)
    theirs = f" by {seen.owner}" if seen.owner is not None else ""
    then = "" if seen.kind not in CONFIGURE else f" Configure {advice_for(seen.kind, '{name}.lock')} for that one,"
    return StrategyMismatch(
        f"{lock} is {seen.what}{theirs}, and {ours} was configured for {path}: the two would not exclude each other."
        f"{then} or, if no program uses it any more, remove it.",
        path=path,
        ours=ours,
        theirs=seen.kind,
        owner=seen.owner,
    )
