"""`flock`: a kernel lock on the sidecar, with a gate in front of it. The default.

Promise    At most one holder among all processes of this host. A dead holder's lock is free at once: the kernel
           closes its descriptors. Waiters come in about the order in which they reached the gate, and a holder that
           wants the lock again stands behind them.
How        flock(2) on `.<name>.lock` (`filelock.lock_descriptor`). The gate is an open-file-description byte lock
           (fcntl(2), F_OFD_SETLKW) on the same file, far behind its end: a waiter takes the gate, then the lock, then
           leaves the gate. Only one process at a time waits for the lock itself, the others for the gate.
Does not   exclude hosts from each other, unless the network file system carries flock(2) over (see docs/guarantees).
           The sidecar is never deleted: whoever deletes it splits its waiters over two files.
Fails by   OSError from opening the sidecar; `UnsupportedLock` where the file system has no kernel locks;
           `StrategyMismatch` if the sidecar is held by another strategy.

The gate is for fairness only. Where it does not exist (other systems, some network mounts) waiters race for the lock,
as with plain flock(2), and nothing else changes.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import struct
import sys
import time
from collections.abc import Callable, Iterator
from typing import ClassVar, Final

import attrs

from storewriter import _forks
from storewriter._kernel_locks import kernel_locks
from storewriter._keys import sidecar
from storewriter._liveness import describe, myself
from storewriter._owner import Owner
from storewriter._replace import make_folders
from storewriter._system import NOFOLLOW, NONBLOCK, SYSTEM
from storewriter.errors import LockLost, NotARegularFile, StrategyMismatch, UnsupportedLock

try:
    import fcntl
except ImportError:  # Windows: filelock locks a byte range there, and waiting means polling
    fcntl = None  # type: ignore[assignment]

__all__ = ["Flock"]

NAME: Final = "flock"

_SIDECAR_FLAGS: Final = os.O_RDWR | os.O_CREAT | NOFOLLOW | getattr(os, "O_CLOEXEC", 0) | NONBLOCK
# O_NONBLOCK: a FIFO planted under the sidecar's name must not make the open wait for its other end.

_KEEP: Final = 0.05
"""Seconds for which a hold is passed on inside a process at most. The gate shows our own contenders at once; this is
for those who do not use it: flock(1), other libraries."""

_HAS_GATE: Final = sys.platform == "linux" and struct.calcsize("P") == 8 and fcntl is not None
_OFD_GETLK: Final = 36
_OFD_SETLK: Final = 37
_OFD_SETLKW: Final = 38
_GATE_BYTE: Final = 1 << 62
"""Far behind the end of any record, so that it can meet no other byte lock."""


def _gate(kind: int) -> bytes:
    # struct flock of 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid (fcntl(2): l_pid must be 0).
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, _GATE_BYTE, 1, 0)


if _HAS_GATE:
    _TAKE_GATE: Final = _gate(fcntl.F_WRLCK)
    _LEAVE_GATE: Final = _gate(fcntl.F_UNLCK)
    _FREE: Final = struct.pack("h", fcntl.F_UNLCK)

_NO_LOCKS: Final = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL})

_descriptors: set[int] = set()
"""Sidecars that this process has open. A forked child closes its copies: flock(2) belongs to the open file, so the
child would keep the lock of a parent that dies."""


def _close_in_child() -> None:
    for fd in _descriptors:
        with contextlib.suppress(OSError):
            os.close(fd)
    _descriptors.clear()


_forks.in_child(_close_in_child)


@attrs.frozen
class Flock:
    """Kernel lock on the sidecar `.<name>.lock` (see the module)."""

    name: ClassVar[str] = NAME
    is_quick: ClassVar[bool] = True
    waits: ClassVar[bool] = fcntl is not None

    def attempt(self, path: str, label: str | None) -> _FlockHold | None:
        """See `Strategy`. Does not get in while another process stands at the gate."""
        while True:
            fd = _open(path)
            try:
                if _gate_is_taken(fd) or not _try_lock(fd, path):
                    _close(fd)
                    return None
                found = os.fstat(fd)
                if found.st_nlink and stat.S_ISREG(found.st_mode):
                    _announce(fd, path, label, found)
                    return _FlockHold(fd, path)
                _require_regular(found, path)
            except BaseException:
                _close(fd)
                raise
            _close(fd)

    def wait(self, path: str, label: str | None) -> _FlockHold:
        """See `WaitingStrategy`."""
        while True:
            fd = _open(path)
            hold: _FlockHold | None = None
            try:
                _require_same_strategy(fd, path)
                _pass_the_gate(fd)
                if _is_current(fd, path):
                    _write_record(fd, label)
                    hold = _FlockHold(fd, path)
                    return hold
            finally:
                if hold is None:
                    _close(fd)

    def owner(self, path: str) -> Owner | None:
        """See `Strategy`. The kernel's word counts; the record adds since when and what for."""
        try:
            fd = os.open(sidecar(path), os.O_RDONLY | NOFOLLOW | NONBLOCK | getattr(os, "O_CLOEXEC", 0))
        except OSError:
            return None
        try:
            return _owner_of(fd)
        finally:
            os.close(fd)


class _FlockHold:
    """A sidecar that is open and locked."""

    __slots__ = ("_fd", "_generation", "_path", "_taken")

    def __init__(self, fd: int, path: str) -> None:
        self._fd = fd
        self._path = path
        self._generation = _forks.generation
        self._taken = time.monotonic()

    def may_pass(self) -> bool:
        return time.monotonic() - self._taken < _KEEP and not _gate_is_taken(self._fd)

    def check(self) -> None:
        if self._generation != _forks.generation:
            msg = f"the turn on {self._path} belongs to the parent process; this forked child holds nothing"
            raise LockLost(msg, path=self._path, owner=None)

    @contextlib.contextmanager
    def fence(self) -> Iterator[None]:
        self.check()
        yield

    def describe(self, label: str | None) -> None:
        _write_record(self._fd, label)

    def release(self) -> None:
        if self._generation != _forks.generation:
            return
        fd = self._fd
        if fd < 0:
            msg = f"the hold on {self._path} was already released"
            raise RuntimeError(msg)
        try:
            # Explicitly, and not only by closing: a child between fork and exec has a copy of the descriptor, and
            # flock(2) ends with the last copy. And before it is marked: interrupted here, it can be released again.
            _unlock_descriptor(fd)
        finally:
            self._fd = -1
            _close(fd)

    def __del__(self) -> None:
        # An interrupt between the lock and its holder loses the hold, and nobody else can close it.
        if self._fd >= 0 and self._generation == _forks.generation:
            _close(self._fd)


def _open(path: str) -> int:
    """Open the sidecar, creating it and the folders above it."""
    name = sidecar(path)
    try:
        fd = os.open(name, _SIDECAR_FLAGS, 0o600)
    except FileNotFoundError:
        make_folders(path, SYSTEM, durable=True)
        fd = os.open(name, _SIDECAR_FLAGS, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP:
            msg = f"{name} is a symbolic link; the lock file of {path} must be a file of its own. Remove the link."
            raise OSError(errno.ELOOP, msg) from error
        raise
    _descriptors.add(fd)
    return fd


def _close(fd: int) -> None:
    _descriptors.discard(fd)
    os.close(fd)


_lock_descriptor: Callable[..., bool] | None = None
_unlock_descriptor: Callable[[int], None]


def _load_filelock() -> Callable[..., bool]:
    """Import filelock at the first lock: it costs more than the rest of this package together."""
    global _lock_descriptor, _unlock_descriptor
    from filelock import lock_descriptor, unlock_descriptor

    _unlock_descriptor = unlock_descriptor
    _lock_descriptor = lock_descriptor
    return lock_descriptor


def _try_lock(fd: int, path: str) -> bool:
    try:
        return (_lock_descriptor or _load_filelock())(fd, blocking=False)
    except OSError as error:
        raise _unsupported(error, path) from error


def _unsupported(error: OSError, path: str) -> OSError:
    if error.errno not in _NO_LOCKS:
        return error
    problem = UnsupportedLock(
        f"the file system of {path} has no kernel locks ({error.strerror}), so lock='flock' cannot exclude anybody "
        f"there. Use lock='lease' on every program that writes this store.",
        path=path,
        strategy=NAME,
        filesystem=None,
    )
    problem.errno = error.errno
    return problem


def _gate_is_taken(fd: int) -> bool:
    """Whether somebody stands at the gate. Only asked, not taken: one call instead of two, and the turn that slips in
    between asking and locking costs the other one place, once."""
    if not _HAS_GATE:
        return False
    try:
        return fcntl.fcntl(fd, _OFD_GETLK, _TAKE_GATE)[:2] != _FREE
    except OSError:
        return False  # no byte locks here: no gate, no queue, and still a lock


def _pass_the_gate(fd: int) -> None:
    """Wait for the gate, then for the lock, then leave the gate."""
    at_gate = False
    if _HAS_GATE:
        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, _OFD_SETLKW, _TAKE_GATE)
            at_gate = True
    _load_filelock()
    fcntl.flock(fd, fcntl.LOCK_EX)
    if at_gate:
        # After the lock: the next one moves up from the gate to wait for the lock, so there is always exactly one.
        fcntl.fcntl(fd, _OFD_SETLK, _LEAVE_GATE)


def _require_regular(found: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        name = sidecar(path)
        raise NotARegularFile(f"{name}, the lock file of {path}, is not a regular file", path=path, kind="special")


def _is_current(fd: int, path: str) -> bool:
    """Whether the locked file still is the sidecar at that path.

    1. A opens the sidecar.  2. Somebody deletes it, or its folder.  3. B creates a new one and locks it.  4. A locks
    the old one. Both would be in; A sees here that its file has no name any more, or another one, and starts over.

    Asked after a wait, which may have been long. `attempt` locks at once what it has opened, and only looks whether
    the file has a name at all: a rename in that instant is no different from one an instant later, which no look can
    see.
    """
    found = os.fstat(fd)
    _require_regular(found, path)
    try:
        named = os.stat(sidecar(path))
    except OSError:
        return False
    return named.st_ino == found.st_ino and named.st_dev == found.st_dev


_prefix: bytes = b""
_prefix_pid = 0


def _record(label: str | None) -> bytes:
    """This process as an owner's record. All but the time and the label is the same every time."""
    global _prefix, _prefix_pid
    if _prefix_pid != os.getpid():
        _prefix = attrs.evolve(myself(), strategy=NAME).to_record()[:-2]
        _prefix_pid = os.getpid()
    what_for = b"" if label is None else b',"label":' + json.dumps(label).encode()
    return b'%b,"since":%.3f%b}\n' % (_prefix, time.time(), what_for)


_REWRITE: Final = 0.1
"""Seconds for which an unlabelled record of ours is good enough for our next turn: a write costs as much as all the
rest of a turn. `since` may be early by as much."""

_announced: dict[str, tuple[float, int]] = {}
"""By store: when this process last wrote its record there, and the file's time of change after that."""


def _announce(fd: int, path: str, label: str | None, found: os.stat_result) -> None:
    """Make sure that the record names this process; spare the write if it provably still does."""
    if label is None:
        known = _announced.get(path)
        now = time.monotonic()
        if known is not None and known[1] == found.st_mtime_ns and now - known[0] < _REWRITE:
            return
        if len(_announced) >= 256:
            _announced.clear()
        _write_record(fd, None)
        _announced[path] = (now, os.fstat(fd).st_mtime_ns)
        return
    _announced.pop(path, None)
    _write_record(fd, label)


def _write_record(fd: int, label: str | None) -> None:
    try:
        os.pwrite(fd, _record(label), 0)
    except OSError:
        # On a full disk the lock is as good as ever; only the waiters' errors will know less.
        pass


def _read_record(fd: int) -> Owner | None:
    try:
        return Owner.from_record(os.pread(fd, 4096, 0))
    except OSError:
        return None


def _owner_of(fd: int) -> Owner | None:
    record = _read_record(fd)
    holders = [lock.pid for lock in kernel_locks(os.fstat(fd)) if lock.kind == "FLOCK" and not lock.waiting]
    if not holders:
        return None if sys.platform == "linux" and os.path.exists("/proc/locks") else record
    if record is not None and record.pid in holders:
        return record
    # Somebody who keeps no record: flock(1), filelock, another language. Its pid is all the kernel tells.
    return attrs.evolve(describe(holders[0]), strategy=None) if holders[0] > 0 else Owner()


def _require_same_strategy(fd: int, path: str) -> None:
    """Refuse to stand behind a holder whose strategy does not exclude us when it counts."""
    record = _read_record(fd)
    if record is None or record.strategy in (None, NAME):
        return
    holder = _owner_of(fd)
    if holder is None or holder.strategy != record.strategy:
        return  # an old record: whoever holds the lock now is somebody else
    raise StrategyMismatch(
        f"{path} is guarded with lock={record.strategy!r} by {holder}, and lock={NAME!r} was asked for: the two would "
        f"not exclude each other. Use the same strategy in every program, or let that one end first.",
        path=path,
        ours=NAME,
        theirs=str(record.strategy),
        owner=holder,
    )
