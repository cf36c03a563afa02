"""Exclusive turns: lane + lock = a turn.

Promise    At most one turn per store at any instant, over all tasks, threads, event loops and processes; inside a
           process in the order of the requests. A turn that fails, is cancelled or times out affects no other turn.
How        A ticket in the lane of the store's key (`_turns/line.py`); at the head, a hold from the strategy (`locks/`).
           Waiting, deadlines and warnings are decided once, in `_turns/entering.py`.
Fails by   LockTimeout, QueueFull, ReentrantTurn, StrategyMismatch, UnsupportedLock, OSError. Cancellation stays what
           it is.
"""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from types import MethodType, TracebackType
from typing import Any, Final, TypeVar, overload

import attrs

from storewriter._backends.addresses import Place, is_url, lock_of
from storewriter._files.keys import canonical
from storewriter._platform.owner import Owner
from storewriter._turns import line
from storewriter._turns.adapter import LockAdapter
from storewriter._turns.ending import (
    Tie,
    end_apart,
    leave_each,
    release_abandoned,
    start_last,
    start_release,
)
from storewriter._turns.entering import aenter, enter
from storewriter._turns.line import HOLDING, Settings, Ticket, new_ticket
from storewriter._turns.messages import local_owner
from storewriter._turns.off_loop import off_loop
from storewriter.backoff import Backoff
from storewriter.locks import Hold, Neighbour, Strategy, joined, named
from storewriter.locks._adapter import FileLock

__all__ = ["PerStoreWriterQueue", "Turn", "default_queue", "run_exclusive"]

T = TypeVar("T")

log = logging.getLogger("storewriter")


class Unset:
    """The value of a `timeout` that was not given: the one of the store or of the queue counts."""

    def __repr__(self) -> str:
        """As the default of a parameter, in `help()` and in editors."""
        return "UNSET"


UNSET = Unset()


class Turn:
    """The exclusive right to work on one or several stores, until the `with` block ends.

    What `with queue.turn(...) as turn:` gives. Its attributes may be read from any thread.
    """

    __slots__ = ("_locks", "_tickets", "label")

    label: str | None
    """What the turn is for, as its caller put it."""
    _locks: Sequence[LockAdapter]
    _tickets: Sequence[Ticket]

    @property
    def paths(self) -> tuple[str, ...]:
        """Canonical paths of the files, in the order in which they were taken."""
        return tuple(lock.key for lock in self._locks)

    @property
    def path(self) -> str:
        """The store; of several, the first."""
        return self.paths[0]

    def check(self) -> None:
        """Raise an error if another process may have the turn by now.

        For long blocks, before they do what cannot be undone. A kernel lock cannot be revoked while it is held, but
        its file, or the folder, may have been deleted: then other processes lock a new one.

        Raises:
            LockLost: A lease ran out, the lock file is gone, or this is a forked child.
            RuntimeError: The block has ended.
        """
        for ticket in self._tickets:
            hold_of(ticket).check()

    def __repr__(self) -> str:
        return f"<Turn on {', '.join(self.paths)}>"


def hold_of(ticket: Ticket) -> Hold:
    """The hold of a ticket that has its turn."""
    hold: Any = ticket.lane.hold
    if ticket.state is not HOLDING or hold is None:
        msg = f"this turn on {ticket.lane.key} has ended"
        raise RuntimeError(msg)
    return hold  # type: ignore[no-any-return]


def _check_seconds(queue: Any, attribute: attrs.Attribute[Any], value: float | None) -> None:
    require_seconds(attribute.name, value)


def _check_backoff(queue: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, Backoff):
        msg = f"backoff must be a Backoff, got {value!r}"
        raise TypeError(msg)


def _check_max_pending(queue: Any, attribute: attrs.Attribute[Any], value: int | None) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        msg = f"max_pending must be None or a whole number from 0, got {value!r}"
        raise ValueError(msg)


def _neighbours(also: Neighbour | Iterable[Neighbour] | None) -> tuple[Neighbour, ...]:
    given = () if also is None else (also,) if isinstance(also, Neighbour) else tuple(also)
    for one in given:
        if not isinstance(one, Neighbour):
            msg = f"also={one!r} is no neighbour's lock; use one of storewriter.locks, for instance OpenClawLock()"
            raise TypeError(msg)
    return given


class _Adapters(dict[str, FileLock]):
    """By store, its lock as one queue takes it. A dictionary that fills itself: a turn looks into it without a call."""

    def __init__(self, strategy: Strategy, backoff: Backoff) -> None:
        self.strategy = strategy
        self._backoff = backoff

    def __missing__(self, path: str) -> FileLock:
        if len(self) >= _REMEMBERED:
            self.clear()
        adapter = self[path] = FileLock(self.strategy, self._backoff, path)
        return adapter


_REMEMBERED: Final = 512
"""Adapters that a queue keeps at most; the table is emptied when full."""


def _adapters_of(queue: Any) -> _Adapters:
    return _Adapters(joined(queue.lock, queue.also), queue.backoff)


def _settings_of(queue: Any) -> Settings:
    return Settings(queue.backoff, queue.max_pending, queue.warn_after)


@attrs.frozen(eq=False)
class PerStoreWriterQueue:
    """Exclusive turns on files: one line for each, first come, first served, over tasks, threads and processes.

    Example:
        queue = PerStoreWriterQueue(timeout=5.0)
        with queue.turn("report.csv", label="nightly report"):
            ...

    A queue is only settings: two queues on one file share its line. All methods may be called from any thread; turns
    work in plain threads, asyncio and trio. The settings are fixed: `attrs.evolve(queue, timeout=1.0)` makes another
    queue. A setting of the wrong kind is a TypeError, a value out of range a ValueError.
    """

    lock: Strategy = attrs.field(default="flock", converter=named)  # type: ignore[assignment]
    """Lock strategy: `flock`, `marker`, `lease`, `none`, or an object from `storewriter.locks`."""
    backoff: Backoff = attrs.field(default=Backoff(), kw_only=True, validator=_check_backoff)
    """Pace of the strategies that must poll."""
    timeout: float | None = attrs.field(default=30.0, kw_only=True, validator=_check_seconds)
    """Seconds for the whole wait, lane and lock; None waits for ever; 0 takes a free store or none."""
    max_pending: int | None = attrs.field(default=None, kw_only=True, validator=_check_max_pending)
    """How many callers may wait for one store, without the holder; None: no limit."""
    warn_after: float | None = attrs.field(default=1.0, kw_only=True, validator=_check_seconds)
    """Seconds of waiting after which one log record names the holder; None: never."""

    also: tuple[Neighbour, ...] = attrs.field(default=None, converter=_neighbours, kw_only=True, repr=False)
    """Locks of other programs that write the same document, taken inside our own: one or several of
    `storewriter.locks.OpenClawLock()` and `ProperLockfile()` (docs/strategies.md, Neighbours)."""

    _adapters: _Adapters = attrs.field(init=False, repr=False, default=attrs.Factory(_adapters_of, takes_self=True))
    _settings: Settings = attrs.field(init=False, repr=False, default=attrs.Factory(_settings_of, takes_self=True))

    def __attrs_post_init__(self) -> None:
        # What takes the neighbours' locks as well is the queue's strategy from now on.
        object.__setattr__(self, "lock", self._adapters.strategy)

    def turn(self, *paths: Place, label: str | None = None, timeout: float | None | Unset = UNSET) -> TurnRequest:
        """Return a turn on a store, or on several: `with` in plain code, `async with` in asyncio and trio.

        The caller joins the line when it enters the block, and has the turn inside it. Several stores are taken in one
        global order (of their canonical paths), so two such turns cannot deadlock. Cancelled while waiting, the caller
        leaves the line, and the block is not entered. One object serves one block at a time.

        Args:
            paths: Files to take the turn on, at least one. They need not exist; missing folders are created. The same
                file named twice counts once. A document that is no file is named by its URL or its backend.
            label: What the turn is for; shown to other callers while they wait for it.
            timeout: Seconds for the whole wait, for all paths together; None: no limit; 0: only if it is free. Not
                given: that of the queue.

        The errors come when the block is entered; nothing is held then.

        Raises:
            LockTimeout: The turn did not come in time; the error names the holder.
            QueueFull: `max_pending` callers wait already.
            ReentrantTurn: This task or thread has the turn on one of the files already, or is a signal handler in the
                middle of a step of a queue.
            StrategyMismatch: Another process uses another lock strategy for the file.
            UnsupportedLock: The strategy cannot exclude other processes on this file system.
            ReservedName: The name is that of another store's lock file or backup.
            ForeignFile: Another program's file has the name of the lock file.
            OSError: The lock file cannot be made or opened.
        """
        if not paths:
            msg = "turn() needs the path of at least one store"
            raise TypeError(msg)
        seconds = self.timeout if isinstance(timeout, Unset) else require_seconds("timeout", timeout)
        request = TurnRequest()  # and not with an `__init__`: see `new_ticket`
        request._queue = self
        request._paths = paths
        request._label = label
        request._timeout = seconds
        request._tickets = []
        request._claim = [None]
        request._user = None
        return request

    @overload
    async def run_exclusive(
        self,
        path: Place,
        fn: Callable[[], Awaitable[T]],
        *,
        label: str | None = None,
        timeout: float | None | Unset = UNSET,
    ) -> T: ...

    @overload
    async def run_exclusive(
        self,
        path: Place,
        fn: Callable[[], T],
        *,
        label: str | None = None,
        timeout: float | None | Unset = UNSET,
    ) -> T: ...

    async def run_exclusive(
        self,
        path: Place,
        fn: Callable[[], Any],
        *,
        label: str | None = None,
        timeout: float | None | Unset = UNSET,
    ) -> Any:
        """Run `fn` in a turn of its own, in the caller's task, on asyncio or trio; return what it returns.

        Cancelled while it waits, `fn` is not called. Cancelled after that, `fn` is cancelled, and the turn ends.

        Args:
            path: File to take the turn on.
            fn: Called without arguments; async or plain. A plain one blocks the event loop as long as it runs.
            label: What the turn is for; shown to other callers while they wait for it.
            timeout: Seconds to wait for the turn; None: no limit. Not given: that of the queue.

        Raises:
            StoreWriterError: The kinds that entering `turn` raises; then `fn` was not called.
            OSError: As above.
        """
        async with self.turn(path, label=label, timeout=timeout):
            result = fn()
            return await result if inspect.isawaitable(result) else result

    def pending(self, path: Place) -> int:
        """Return how many callers of this process wait for the turn on `path` now, without the holder."""
        return line.pending(self._lock_of(path).key)

    def owner(self, path: Place) -> Owner | None:
        """Return who has the turn on `path` now, in this process or another; None: none, or it is unknown.

        For people and logs: it may have changed when the answer arrives. Raises OSError if the lock file cannot be
        read.
        """
        lock = self._lock_of(path)
        return local_owner(line.lanes.get(lock.key)) or lock.owner()

    def _lock_of(self, place: Place) -> LockAdapter:
        """The lock on a store."""
        if isinstance(place, (bytes, os.PathLike)) or (isinstance(place, str) and not is_url(place)):
            return self._adapters[canonical(place)]
        return lock_of(place)


def require_seconds(name: str, value: float | None) -> float | None:
    """A number of seconds from 0, or None. Raises ValueError for anything else."""
    wrong = None if value is None else _not_seconds(value)
    if wrong is None:
        return value
    msg = f"{name} must be None or a number of seconds from 0, got {wrong}"
    raise ValueError(msg)


def _not_seconds(value: float) -> str | None:
    """What to show of a value that is not a number of seconds."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"{value!r}, which is not a number"
    if not value >= 0:  # NaN is not
        return repr(value)
    try:
        float(value)
    except OverflowError:
        return "one that is too large"
    return None


class TurnRequest:
    """What `queue.turn()` returns: enter it with `with` or `async with`. One object serves one turn at a time."""

    __slots__ = ("__weakref__", "_claim", "_label", "_loop", "_paths", "_queue", "_tickets", "_timeout", "_user")

    _queue: PerStoreWriterQueue
    _paths: tuple[Place, ...]
    _label: str | None
    _timeout: float | None
    _tickets: list[Ticket]
    _claim: list[None]
    """The user of this object deletes its only item: one succeeds. That is no call, so no interrupt comes between the
    claim and its name, `_user`."""
    _user: Ticket | None
    _loop: Any

    def __repr__(self) -> str:
        label = "" if self._label is None else f", label={self._label!r}"
        state = "in use" if self._tickets else "not in use"
        return f"<TurnRequest for {', '.join(map(repr, self._paths))}{label}, {state}>"

    def __enter__(self) -> Turn:
        locks = self._locks()
        user = ticket = new_ticket(self._queue._settings, self._label, self._timeout)
        tickets = self._tickets
        try:
            try:
                del self._claim[0]
            except IndexError:
                raise _in_use() from None
            self._user = user
            for lock in locks:
                if tickets:
                    ticket = ticket.again()
                # Both before `enter`: after an interrupt in it, the ticket is found here; and if no `try` can catch
                # the interrupt, the turn ends when this object is collected.
                # As `tie_to`, without the call, and without variables: they would outlive the turn.
                ticket.finalizer = (Tie(self, start_last), Tie(self, release_abandoned))
                ticket.finalizer[1].ticket = ticket
                ticket.finalizer[0].start = MethodType(start_release, (ticket,))
                tickets.append(ticket)
                enter(ticket, lock)
            return _new_turn(locks, tuple(tickets), self._label)
        except BaseException:
            if self._user is user:
                try:
                    self.__exit__(None, None, None)
                except BaseException:
                    # Where it begins, an interrupt ends it before its own `try` (see `end_apart`).
                    if tickets and self._tickets is tickets:
                        self._tickets = []
                        tickets[0].identity = tickets[-1].identity = None
                        end_apart((tickets,))
                    raise
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all turns: last in, first out, and every one of them even if one release fails. Can be repeated."""
        tickets = self._tickets
        try:
            leave_each(tickets)
        except BaseException:
            try:
                leave_each(tickets)  # it may not have begun
            except BaseException:
                if tickets:
                    self._tickets = []
                    tickets[0].identity = tickets[-1].identity = None
                    end_apart((tickets,))
                raise
            raise
        finally:
            self._user = None
            self._claim = [None]

    async def __aenter__(self) -> Turn:
        locks = self._locks()
        user = ticket = new_ticket(self._queue._settings, self._label, self._timeout)
        tickets = self._tickets
        try:
            try:
                del self._claim[0]
            except IndexError:
                raise _in_use() from None
            self._user = user
            self._loop = user.loop
            for lock in locks:
                if tickets:
                    ticket = ticket.again()
                ticket.finalizer = (Tie(self, start_last), Tie(self, release_abandoned))
                ticket.finalizer[1].ticket = ticket
                ticket.finalizer[0].start = MethodType(start_release, (ticket,))
                tickets.append(ticket)
                await aenter(ticket, lock)
            return _new_turn(locks, tuple(tickets), self._label)
        except BaseException:
            if self._user is user:
                self._loop = user.loop
                await self.__aexit__(None, None, None)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for ticket in self._tickets:
            if not ticket.is_quick:
                break
        else:
            self.__exit__(None, None, None)
            return
        _, cancelled = await off_loop(partial(self.__exit__, None, None, None), self._loop)
        if cancelled is not None:
            raise cancelled

    def _locks(self) -> Sequence[LockAdapter]:
        """One for each store, in the order in which they are taken."""
        queue, paths = self._queue, self._paths
        if len(paths) == 1:
            try:
                return (queue._adapters[canonical(paths[0])],)  # type: ignore[arg-type]  # if it is one
            except (TypeError, ValueError):  # not the path of a file
                pass
        locks = {lock.key: lock for lock in map(queue._lock_of, paths)}
        return tuple(locks[key] for key in sorted(locks))


def _new_turn(locks: Sequence[LockAdapter], tickets: Sequence[Ticket], label: str | None) -> Turn:
    turn = Turn()
    turn._locks = locks
    turn._tickets = tickets
    turn.label = label
    return turn


def _in_use() -> RuntimeError:
    """One user at a time: two threads that enter the same object would end each other's turns."""
    return RuntimeError("this turn is already in use; ask queue.turn() for another one")


default_queue = PerStoreWriterQueue()
"""The queue of `run_exclusive` and of stores that are given none."""


@overload
async def run_exclusive(path: Place, fn: Callable[[], Awaitable[T]]) -> T: ...


@overload
async def run_exclusive(path: Place, fn: Callable[[], T]) -> T: ...


async def run_exclusive(path: Place, fn: Callable[[], Any]) -> Any:
    """Run `fn` in a turn on a file, in the caller's task, on asyncio or trio; return what it returns.

    The turn is one of the queue of this process: lock strategy `flock`, 30 s timeout. Cancelled while it waits, `fn` is
    not called. Cancelled after that, `fn` is cancelled, and the turn ends.

    Args:
        path: File to take the turn on. It need not exist.
        fn: Called without arguments; async or plain. A plain one blocks the event loop as long as it runs.

    Raises:
        StoreWriterError: The kinds that entering `PerStoreWriterQueue.turn` raises; then `fn` was not called.
        OSError: The lock file cannot be made or opened.
    """
    return await default_queue.run_exclusive(path, fn)
