"""OpenClaw's lock, and @openclaw/fs-safe's: a file `<document>.lock` that holds the record of its owner.

Promise    A program that takes such a lock on the document is excluded, and excludes us. A live owner keeps its lock.
           Of two contenders that see the same abandoned lock, at most one has it afterwards. Released is only the file
           that is ours, by inode and content.
How        A finished file is linked in (link(2)), so no contender ever sees an empty record. A dead owner's lock is
           removed while the folder `<lock>.reclaim` is ours, as fs-safe does; while that exists, no lock is made.
           `createdAt` is renewed in place, because some versions take a lock of a live owner once it is old.
Does not   judge processes of other containers and hosts: such a record names only a pid. A version that removes an
           abandoned lock without the folder (OpenClaw 14303dac, fs-safe 0.3) may remove its successor's; that is
           noticed before each commit (`LockLost`).
"""

from __future__ import annotations

import errno
import json
import os
import stat
import time
from datetime import UTC, datetime
from threading import Lock
from typing import Final

import attrs

from storewriter import events
from storewriter._files.folders import make_folders
from storewriter._platform import forks
from storewriter._platform.liveness import Verdict, myself
from storewriter._platform.owner import Owner
from storewriter._platform.system import CLOEXEC, NOFOLLOW, NONBLOCK, SYSTEM
from storewriter.locks._lock_file import LockFile
from storewriter.locks.neighbours._names import DEFAULT, check_stale, check_template, lock_path
from storewriter.locks.neighbours._whose import Record, kernel_holder, other_convention, read_record, record_at

__all__ = ["OpenClawLock"]


@attrs.frozen
class OpenClawLock:
    """The lock of OpenClaw and of @openclaw/fs-safe, for `PerStoreWriterQueue(also=...)`: a file with a record.

    Held for long, it is renewed by a thread of its own. A frozen value; its methods are those of `Neighbour`.

    Example:
        PerStoreWriterQueue(also=OpenClawLock(stale=30.0))

    `stale` and `file` must be what the other program uses; a value out of range is a ValueError or a TypeError.
    """

    stale: float = attrs.field(default=60.0, validator=check_stale(1.0))
    """Seconds, from 1, after which the other program takes a lock whose owner it cannot judge, or, in older versions,
    any lock. Ours is renewed four times as often. OpenClaw's stores use 60, fs-safe's default is 30."""
    file: str = attrs.field(default=DEFAULT, validator=check_template, kw_only=True)
    """Name of the lock file, `{name}` standing for the document's."""

    name = "openclaw"

    def lock_path(self, path: str) -> str:
        """The path of the lock of a store.

        Args:
            path: The canonical path of the store.
        """
        return lock_path(self.file, path)

    def claim(self, path: str) -> RecordClaim:
        """Prepare a claim on the lock of a store; nothing is taken yet.

        Args:
            path: The canonical path of the store.
        """
        return RecordClaim(path, self.lock_path(path), self.stale)

    def owner(self, path: str) -> Owner | None:
        """The holder of the lock now, as far as its record shows.

        Args:
            path: The canonical path of the store.

        Returns:
            The owner, or None if the lock is free or abandoned.
        """
        lock = self.lock_path(path)
        record = record_at(lock)
        if record is None:
            guard = f"{lock}.reclaim"
            return Owner(label=f"OpenClaw's {guard}") if os.path.lexists(guard) else None
        return attrs.evolve(record.described() or Owner(since=record.created), label=f"OpenClaw's {lock}")


_GUARD_AGE: Final = 10.0
"""Seconds after which the folder of a take-over counts as left behind by a process that was killed: a take-over
is a few system calls."""

_WRITING: Final = 2.0
"""Seconds for which a lock file without a record is left alone: its owner may be about to write it."""

_TMPFILE: Final = getattr(os, "O_TMPFILE", 0)
_NEW: Final = os.O_RDWR | NOFOLLOW | CLOEXEC
_MODE: Final = 0o644
"""Readable by other users' programs, which judge the owner by it."""
_NO_TMPFILE: Final = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL, errno.EPERM, errno.EXDEV})
"""What a system answers that has no nameless files here, or cannot give one a name."""

_held: set[str] = set()
"""The holds of this process, by the name in their record."""
forks.in_child(_held.clear)


class RecordClaim:
    """See `Claim`."""

    __slots__ = (
        "_file", "_fresh", "_guard_is_unmade", "_hold", "_lock", "_mutex", "_path", "_record", "_stale", "interval",
        "was_reclaimed",
    )  # fmt: skip

    def __init__(self, path: str, lock: str, stale: float) -> None:
        self._path = path
        self._lock = lock
        self._stale = stale
        self._file = LockFile()
        """Ours: open as long as it may have the name, so its inode number cannot come back."""
        self._mutex = Lock()
        """Between the heartbeat and the holder."""
        self._hold = os.urandom(8).hex()
        self._record = b""
        self._guard_is_unmade: object = True
        """None while the folder of a take-over is ours."""
        self._fresh = 0.0
        """When it last showed a sign of life (time.monotonic())."""
        self.interval: float | None = stale / 4
        self.was_reclaimed = False

    @property
    def _guard(self) -> str:
        return f"{self._lock}.reclaim"

    def take(self) -> bool:
        if os.path.lexists(self._guard) and not self._clear_guard():
            return False
        _held.add(self._hold)
        if self._put_down() or self._take_over():
            return True
        self.release()
        return False

    # -- ours ----------------------------------------------------------------------------------------------------------

    def _put_down(self) -> bool:
        """Give a finished file the lock's name. False: there is one of that name."""
        self._fresh = time.monotonic()
        self._record = self._new_record()
        try:
            if not (_TMPFILE and self._link_nameless()):
                self._file.open(os.open, self._lock, _NEW | os.O_CREAT | os.O_EXCL, _MODE)
                os.pwrite(self._file.fd, self._record, 0)
        except FileExistsError:
            self._file.close()
            return False
        except FileNotFoundError:  # a strategy without a file of its own has not made the folder of the document
            make_folders(self._path, SYSTEM)
            return False
        return True

    def _link_nameless(self) -> bool:
        """False: that cannot be done here."""
        try:
            fd = self._file.open(os.open, os.path.dirname(self._lock), _NEW | _TMPFILE, _MODE)
            os.pwrite(fd, self._record, 0)
            # With a descriptor as `src_dir_fd` linkat(2) follows the link that /proc shows for it; plain link(2) would
            # not.
            os.link(f"/proc/self/fd/{fd}", self._lock, src_dir_fd=fd, follow_symlinks=True)
        except FileExistsError:
            raise
        except OSError as error:
            if error.errno not in _NO_TMPFILE:
                raise
            self._file.close()
            return False
        return True

    def _new_record(self) -> bytes:
        """The record as the others write it, with both spellings of the start time, and what we judge ourselves by."""
        me = myself()
        fields = {
            "pid": me.pid,
            "createdAt": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "startTime": me.start_ticks,
            "starttime": me.start_ticks,
            "host": me.host,
            "bootId": me.boot_id,
            "pidNamespace": me.pid_namespace,
            "hold": self._hold,
        }
        known = {name: value for name, value in fields.items() if value is not None}
        return json.dumps(known, indent=2).encode() + b"\n"

    def is_ours(self) -> bool:
        return self._is_named() and os.pread(self._file.fd, len(self._record) + 1, 0) == self._record

    def _is_named(self) -> bool:
        if not self._file.is_open:
            return False
        try:
            return os.path.samestat(os.lstat(self._lock), os.fstat(self._file.fd))
        except FileNotFoundError:
            return False

    def renew(self) -> bool:
        with self._mutex:
            return self._renew()

    def _renew(self) -> bool:
        assert self.interval is not None
        if not self.is_ours():
            return False
        if time.monotonic() - self._fresh < self.interval:
            return True
        self._fresh = time.monotonic()
        record = self._new_record()
        os.pwrite(self._file.fd, record, 0)  # as long as the one before
        self._record = record
        return self._is_named()

    def release(self) -> None:
        with self._mutex:
            try:
                self._remove()
            except OSError as error:
                if error.errno is not None:  # otherwise a signal handler's: the release is repeated
                    self._forget()
                raise
            self._forget()

    def _remove(self) -> None:
        if self._guard_is_unmade is None:
            os.rmdir(self._guard)
            self._guard_is_unmade = True
        # A sign of life first, if the last one is old: no contender may find it abandoned between the look and the
        # removal. One that was interrupted before its record was complete is ours by its inode.
        if self._file.is_open and self._is_named() and (self._renew() or not self._is_complete()):
            os.unlink(self._lock)

    def _forget(self) -> None:
        """What could not be removed is taken over by the next attempt of this process, or by anyone at our end."""
        self._file.close()
        _held.discard(self._hold)

    def _is_complete(self) -> bool:
        return os.fstat(self._file.fd).st_size >= len(self._record)

    # -- another owner's -----------------------------------------------------------------------------------------------

    def _take_over(self) -> bool:
        """Put ours in the place of an abandoned one. False: it is not, or another contender was faster."""
        seen = self._look()
        if seen is None:
            return False
        record, found = seen
        why = self._why_abandoned(record, found)
        if why is None:
            return False
        try:
            (self._guard_is_unmade,) = map(os.mkdir, (self._guard,))
        except FileExistsError:
            return False
        again = self._look()
        if again is None or again[0].raw != record.raw or not os.path.samestat(again[1], found):
            return False
        os.unlink(self._lock)
        if not self._put_down():
            return False
        self.was_reclaimed = True
        os.rmdir(self._guard)
        self._guard_is_unmade = True
        owner = record.owner or "an unknown process"
        events.log.warning("took over OpenClaw's lock %s of %s from %s: %s", self._lock, self._path, owner, why)
        if events.subscribers:
            events.emit(events.LockReclaimed(path=self._path, owner=record.owner, reason=why))
        return True

    def _look(self) -> tuple[Record, os.stat_result] | None:
        file = LockFile()
        try:
            fd = file.open(os.open, self._lock, os.O_RDONLY | NOFOLLOW | NONBLOCK | CLOEXEC)
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise other_convention(self._path, self._lock, OpenClawLock.name, found)
            return read_record(fd), found
        except FileNotFoundError:
            return None
        finally:
            file.close(quietly=True)

    def _why_abandoned(self, record: Record, found: os.stat_result) -> str | None:
        """Why a lock counts no more, in words; None: it does.

        Raises StrategyMismatch if it is none of this kind, but a file on which another program holds flock(2).
        """
        verdict = record.verdict()
        if verdict is Verdict.GONE:
            return "its process is gone"
        if verdict is Verdict.ALIVE:
            is_left = record.pid == os.getpid() and record.hold is not None and record.hold not in _held
            return "left behind by this very process, in which it is not held any more" if is_left else None
        age = time.time() - (found.st_mtime if record.created is None else record.created)
        if record.pid is None and age > _WRITING and kernel_holder(self._lock) is not None:
            raise other_convention(self._path, self._lock, OpenClawLock.name, found)
        return f"its owner cannot be judged, and it is {age:.1f} s old" if age > self._stale else None

    def _clear_guard(self) -> bool:
        """Remove the folder of a take-over whose process was killed. False: it is still under way."""
        try:
            found = os.lstat(self._guard)
            age = time.time() - found.st_mtime
            if not stat.S_ISDIR(found.st_mode) or age < _GUARD_AGE:
                return False
            os.rmdir(self._guard)
        except FileNotFoundError:
            return True
        events.log.warning("removed %s, left behind %.0f s ago by a process that has died", self._guard, age)
        return True
