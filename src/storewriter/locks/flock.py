"""`flock`: a kernel lock on the sidecar, with a gate in front of it. The default.

Promise    At most one holder among all processes of this host. A dead holder's lock is free at once: the kernel
           closes its descriptors. Waiters come in about the order in which they reached the gate, and a holder that
           wants the lock again queues behind them. A mount on which locks do not exclude is refused, one on which
           they do not reach other hosts is warned about (or refused: `untrusted=`).
How        flock(2) on `.<name>.lock`, as `filelock.lock_descriptor` takes it. The gate is a byte lock on the same file
           (`_gate.py`): a waiter takes the gate, then the lock, then leaves the gate. Only one process at a time waits
           for the lock itself, the others for the gate.
Does not   exclude hosts from each other, unless the network file system carries flock(2) over (docs/strategies.md).
           The sidecar is never deleted: to delete it splits its waiters over two files, and its holder at that time
           does not commit (`LockLost`).
Fails by   OSError from opening the sidecar; `UnsupportedLock` where the file system has no kernel locks;
           `StrategyMismatch` if the sidecar is held by another strategy.

The gate is for fairness only. Where it does not exist (other systems, some network mounts) waiters race for the lock,
as with plain flock(2), and nothing else changes. A process that is stopped at the gate is passed by.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable
from typing import ClassVar, Final, Literal

import attrs

from storewriter import events
from storewriter._files.keys import is_named, sidecar, sidecars
from storewriter._platform import forks, mounts
from storewriter._platform.descriptors import opened
from storewriter._platform.fcntl import FREE, HAS_BYTE_LOCKS, OFD_GETLK, fcntl
from storewriter._platform.kernel_locks import processes_at
from storewriter._platform.liveness import describe
from storewriter._platform.owner import Owner
from storewriter.errors import UnsupportedLock
from storewriter.locks._gate import GATE_BYTE, TAKE, lock_through_gate, stalled
from storewriter.locks._holder import open_to_read, require_same_strategy, sidecar_holder
from storewriter.locks._lock_file import FLAGS, NO_LOCKS, LockFile, look_over, require_own_file
from storewriter.locks._record import write_record
from storewriter.locks._refusals import is_parents, taken_away, unsupported
from storewriter.locks.neighbours import FlockFile

__all__ = ["Flock"]

NAME: Final = "flock"

_KEEP: Final = 0.05
"""Seconds for which a hold is passed on inside a process at most. The gate shows our own contenders at once; this is
for programs that do not use it: flock(1), other libraries."""

Untrusted = Literal["warn", "refuse", "allow"]

_fine: dict[str, set[int]] = {"warn": set(), "refuse": set(), "allow": set()}
"""By policy: the devices on which locks were tried and found good enough."""


def _fine_for(strategy: Flock) -> set[int]:
    return _fine.get(strategy.untrusted, set())  # what is no policy is refused right after


def _other_file(file: str | None) -> str | None:
    """Raises TypeError or ValueError for what cannot be the name of a lock file."""
    if file is None or file == ".{name}.lock":
        return None
    return FlockFile(file).file


@attrs.frozen
class Flock:
    """`flock`: a kernel lock on the sidecar `.<name>.lock`, with a queue in front of it. The default.

    A dead holder's lock is free at once. Processes come in about the order in which they began to wait. A frozen
    value; its methods are those of `WaitingStrategy`.

    Example:
        PerStoreWriterQueue(Flock(file="{name}.lock"))

    Another value than those named for `untrusted`, or a `file` that is no name of a lock file, is a ValueError or a
    TypeError.
    """

    untrusted: Untrusted = attrs.field(
        default="warn", validator=attrs.validators.in_(tuple(_fine)), kw_only=True, eq=False
    )
    """A mount whose locks do not reach the other hosts that may have it: `warn` (once a mount, in the log), `refuse`
    (`UnsupportedLock`) or `allow`. One whose locks do not exclude at all is refused unless this is `allow`."""
    file: str | None = attrs.field(default=None, converter=_other_file, kw_only=True)
    """Name of another lock file beside the document, such as `{name}.lock`, that a queue locks as well, inside our own
    lock: programs that hold flock(2) on it (filelock, portalocker, flock(1)) are excluded. None, or `.{name}.lock`: our
    own lock file alone."""
    _fine: set[int] = attrs.field(init=False, eq=False, repr=False, default=attrs.Factory(_fine_for, takes_self=True))

    name = NAME
    is_quick = True
    waits: ClassVar[bool] = True

    def attempt(self, path: str, label: str | None) -> _FlockHold | None:
        """Try once to lock a store. It never waits.

        Args:
            path: The canonical path of the store.
            label: What the turn is for, for the record in the sidecar; None: not given.

        Returns:
            The hold, or None if the lock is held, or a process that has waited longer comes first.

        Raises:
            UnsupportedLock: Kernel locks do not exclude there (`untrusted`).
            ForeignFile: The sidecar belongs to another program, or to a user who may not write the document.
            NotARegularFile: What has the sidecar's name is no regular file.
            OSError: The sidecar cannot be opened or locked.
        """
        name = sidecars.get(path) or sidecar(path)
        while True:
            hold = _new_hold(path, name, label)
            try:
                try:
                    fd = hold.open(os.open, name, FLAGS)
                except OSError as error:
                    fd = hold._open_after(error, path, name)
                try:
                    is_ours = not _has_waiter(fd, path)
                    if is_ours:
                        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError as error:
                    if error.errno not in _TAKEN:
                        raise _unsupported(error, path) from error
                    is_ours = False
                if is_ours:
                    found = os.fstat(fd)
                    if found.st_dev not in self._fine:
                        self._examine(fd, path, found.st_dev)
                    if found.st_nlink == 1 and stat.S_ISREG(found.st_mode):
                        known = _announced.get(path)
                        if (
                            label is not None
                            or known is None
                            or known[1] != found.st_mtime_ns
                            or hold.taken - known[0] >= _REWRITE
                        ):
                            _announce(fd, path, label, found)
                        hold.found = found
                        return hold
                    require_own_file(found, path)
            except BaseException:
                # As `hold.close()`, without a function that begins: a second interrupt there would leave the lock taken
                # for as long as what was raised keeps the frames; in a cycle, until the garbage collector runs.
                key, fd = hold._key, hold.fd
                if key is not None and key in opened:
                    del opened[key]
                    hold._key, hold.fd = None, -1
                    os.close(fd)
                raise
            hold.close()
            if not is_ours:
                return None

    def wait(self, path: str, label: str | None, replace: Callable[[], None] | None = None) -> _FlockHold:
        """Wait in the kernel until the lock is ours, for as long as that takes.

        Args:
            path: The canonical path of the store.
            label: What the turn is for, for the record in the sidecar; None: not given.
            replace: Starts a thread that makes the same wait in place of this one. It is called, from another thread,
                if this one sleeps behind a process that has been stopped; then this one ends with `WaiterReplaced` when
                it wakes up. None: it waits until that process goes on.

        Returns:
            The hold.

        Raises:
            StrategyMismatch: The sidecar is held by another strategy.
            UnsupportedLock: The file system has no kernel locks.
            ForeignFile: The sidecar belongs to another program, or to a user who may not write the document.
            NotARegularFile: What has the sidecar's name is no regular file.
            OSError: The sidecar cannot be opened or locked.
        """
        name = sidecars.get(path) or sidecar(path)
        while True:
            hold = _new_hold(path, name, label)
            try:
                try:
                    fd = hold.open(os.open, name, FLAGS)
                except OSError as error:
                    fd = hold._open_after(error, path, name)
                require_same_strategy(fd, path, NAME)
                try:
                    lock_through_gate(fd, path, replace)
                except OSError as error:
                    raise _unsupported(error, path) from error
                # Checked after a wait, which may have been long. `attempt` locks at once what it has opened, and only
                # checks whether the file has a name at all: a rename in that instant is no different from one an
                # instant later, which no check can see.
                found = os.fstat(fd)
                is_ours = is_named(found.st_ino, found.st_dev, path)
                if is_ours and found.st_nlink == 1 and stat.S_ISREG(found.st_mode):
                    look_over(fd, found, path, name)
                    write_record(fd, NAME, label)
                    hold.found = found
                    hold.taken = time.monotonic()
                    hold.had_to_wait = True
                    return hold
                require_own_file(found, path)
            except BaseException:
                hold.close()
                raise
            hold.close()

    def owner(self, path: str) -> Owner | None:
        """The holder of the lock now: the kernel names the process; its record adds `since` and `label`.

        Args:
            path: The canonical path of the store.

        Returns:
            The owner. If the lock is free, and a process is next in the queue and does not take it, that process. None
            if there is neither, or it cannot be seen from here.
        """
        return sidecar_holder(path) or _waiter_at_gate(path)

    def _examine(self, fd: int, path: str, device: int) -> None:
        """The first turn on a device: what is a lock worth there? Raises UnsupportedLock."""
        trust, mount = mounts.examine(fd, sidecar(path), device)
        if self.untrusted != "allow":
            if trust is mounts.Trust.NONE:
                raise unsupported(path, NAME, None)
            if trust is mounts.Trust.HOST_ONLY:
                self._object_to(path, mount)
        self._fine.add(device)

    def _object_to(self, path: str, mount: mounts.Mount | None) -> None:
        kind = None if mount is None else mount.kind
        text = (
            f"{path} is on a file system ({kind}) whose kernel locks may not reach other hosts: programs on two hosts "
            f"may write it at the same time. Use lock='lease' in every program, or lock=Flock(untrusted='allow') if "
            f"only one host writes it."
        )
        if self.untrusted == "refuse":
            raise UnsupportedLock(text, path=path, strategy=NAME, filesystem=kind)
        events.log.warning("%s", text)


class _FlockHold(LockFile):
    """A sidecar that is open and locked."""

    __slots__ = ("_generation", "_label", "_name", "_path", "found", "had_to_wait", "taken")

    token: str | None = None
    is_irrevocable = True
    """Nothing needs to be held on to during a commit: `check` will do in place of `fence`."""
    found: os.stat_result
    """What was locked."""
    taken: float
    had_to_wait: bool
    """Whether others want the lock, too."""
    _path: str
    _name: str
    _label: str | None
    _generation: int

    def may_pass(self) -> bool:
        return time.monotonic() - self.taken < _KEEP and not _has_waiter(self.fd, self._path)

    def check(self) -> None:
        if self._generation != forks.generation:
            raise is_parents(self._path)
        found = self.found
        try:
            named = os.lstat(self._name)  # as `is_named`, without the calls
            is_ours = named.st_ino == found.st_ino and named.st_dev == found.st_dev
        except OSError as error:
            if error.errno is None:
                raise  # a signal handler's
            is_ours = False
        if not is_ours:
            raise taken_away(self._path)

    def fence(self) -> contextlib.AbstractContextManager[None]:
        # flock(2) cannot be revoked; only the file can be unlinked.
        self.check()
        return contextlib.nullcontext()

    def describe(self, label: str | None) -> None:
        if label != self._label:
            self._label = label
            write_record(self.fd, NAME, label)

    def release(self) -> None:
        if self._generation != forks.generation:
            return
        if self._key is None:
            msg = f"the hold on {self._path} was already released"
            raise RuntimeError(msg)
        try:
            # Explicitly, and not only by closing: a child between fork and exec has a copy of the descriptor, and
            # flock(2) ends with the last copy. Interrupted before it is closed, it can be released again.
            fcntl.flock(self.fd, fcntl.LOCK_UN)
        finally:
            self.close()
        if self.had_to_wait:
            # The next holder had the gate. The waiter behind it has been woken for the gate, but may not run yet; until
            # it does, the gate looks free, and this process would take the lock again before it.
            os.sched_yield()


_TAKEN: Final = frozenset({errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK})
"""What flock(2) answers for a lock that is held; EACCES on some file systems."""


def _new_hold(path: str, name: str, label: str | None) -> _FlockHold:
    """A hold that is not open yet."""
    hold = _FlockHold.__new__(_FlockHold)
    hold.fd = -1
    hold._key = None
    hold._path = path
    hold._name = name
    hold._label = label
    hold._generation = forks.generation
    hold.taken = time.monotonic()
    hold.had_to_wait = False
    return hold


def _has_waiter(fd: int, path: str) -> bool:
    """Whether a waiter has the gate, and should come before a caller that has not waited yet.

    The gate is tested, not taken: one call instead of two. A waiter that comes between this test and the lock is
    overtaken by one turn, once.
    """
    if not HAS_BYTE_LOCKS or path in stalled:
        return False
    try:
        return fcntl.fcntl(fd, OFD_GETLK, TAKE)[:2] != FREE
    except OSError as error:
        if error.errno is None:
            raise  # a signal handler's
        return False  # no byte locks here: no gate, no queue, and still a lock


def _waiter_at_gate(path: str) -> Owner | None:
    """The process that has the gate of a store, if it is another one than this, and can be named."""
    fd = open_to_read(path)
    if fd is None:
        return None
    try:
        is_taken = _has_waiter(fd, "")
    finally:
        os.close(fd)
    pids = processes_at(sidecar(path), GATE_BYTE) if is_taken else []
    return next((describe(pid) for pid in pids if pid != os.getpid()), None)


def _unsupported(error: OSError, path: str) -> OSError:
    return unsupported(path, NAME, error) if error.errno in NO_LOCKS else error


_REWRITE: Final = 0.1
"""Seconds for which an unlabelled record of ours is good enough for our next turn: a write costs as much as all the
rest of a turn. `since` may be early by as much."""

_announced: dict[str, tuple[float, int]] = {}
"""By store: when this process last wrote its record there, and the file's time of change after that."""


def _announce(fd: int, path: str, label: str | None, found: os.stat_result) -> None:
    """Write the record, which names this process."""
    _announced.pop(path, None)
    look_over(fd, found, path, sidecar(path))
    write_record(fd, NAME, label)
    if label is None:
        if len(_announced) >= 256:
            _announced.clear()
        _announced[path] = (time.monotonic(), os.fstat(fd).st_mtime_ns)
