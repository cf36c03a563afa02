"""A lock from a library around load, modify, save."""

import asyncio
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from pathlib import Path

import fasteners
import portalocker
from filelock import AsyncFileLock, FileLock, SoftFileLease, SoftFileLock

from benchmarks.peers.reference import ReferenceLock, pause
from storewriter.cli.bench.contender import AsyncUpdate, Contender, TakeTurn, Target, Update
from storewriter.cli.bench.document import plain_update

LOCK_ONLY = frozenset({"S1", "S2", "S4", "S5", "S7", "S8", "S10"})
"""Where locks differ; how much a larger document costs does not depend on the lock around it."""

PATIENCE = 30.0
"""Seconds that a caller waits for its lock: as long as storewriter's default."""


def sidecar(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def in_turn(turns: Callable[[Path], TakeTurn]) -> Callable[[Target], Callable[[], Update]]:
    """Every caller has a lock object of its own."""

    def updates(target: Target) -> Callable[[], Update]:
        def opened() -> Update:
            turn = turns(target.path)

            def update() -> None:
                with turn():
                    plain_update(target.path, durable=target.durable)

            return update

        return opened

    return updates


def behind_asyncio_lock(
    turns: Callable[[Path], TakeTurn],
) -> Callable[[Target], Callable[[], AsyncUpdate]]:
    """What people write in asyncio code: an `asyncio.Lock`, and inside it the blocking part in a thread."""

    def async_updates(target: Target) -> Callable[[], AsyncUpdate]:
        tasks_line = asyncio.Lock()
        blocking = in_turn(turns)(target)()

        async def update() -> None:
            async with tasks_line:
                await asyncio.to_thread(blocking)

        return lambda: update

    return async_updates


def behind_threading_lock(turns: Callable[[Path], TakeTurn]) -> Callable[[Target], Callable[[], Update]]:
    """One `threading.Lock` for all threads, and a file lock inside it."""

    def updates(target: Target) -> Callable[[], Update]:
        threads_line = threading.Lock()
        blocking = in_turn(turns)(target)()

        def update() -> None:
            with threads_line:
                blocking()

        return lambda: update

    return updates


def _reused(lock: AbstractContextManager[object]) -> TakeTurn:
    return lambda: lock


def _filelock(path: Path) -> TakeTurn:
    return _reused(FileLock(sidecar(path), timeout=PATIENCE))


def _softfilelock(path: Path) -> TakeTurn:
    return _reused(SoftFileLock(sidecar(path), timeout=PATIENCE))


def _softfilelease(path: Path) -> TakeTurn:
    return _reused(SoftFileLease(sidecar(path), timeout=PATIENCE))


def _portalocker(path: Path) -> TakeTurn:
    return _reused(portalocker.Lock(sidecar(path), timeout=PATIENCE))


def _fasteners(path: Path) -> TakeTurn:
    return _reused(fasteners.InterProcessLock(sidecar(path)))


def _reference(path: Path) -> TakeTurn:
    return lambda: ReferenceLock(sidecar(path))


def _nothing(path: Path) -> TakeTurn:
    @contextmanager
    def turn() -> Iterator[None]:
        yield

    return turn


def flock(path: Path) -> TakeTurn:
    """A blocking flock, its file opened anew for every turn as a program does that keeps no descriptor."""

    @contextmanager
    def turn() -> Iterator[None]:
        descriptor = os.open(sidecar(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)

    return turn


def _backoff(path: Path) -> TakeTurn:
    """A flock that is tried again after the reference's pauses, but without giving up."""

    @contextmanager
    def turn() -> Iterator[None]:
        descriptor = os.open(sidecar(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _retry(descriptor)
            yield
        finally:
            os.close(descriptor)

    return turn


def _retry(descriptor: int) -> None:
    for attempt in count():
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(pause(attempt))
        else:
            return


class KeptFlock:
    """No generator, no lookup: the cheapest context manager that can be written around two system calls."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(sidecar(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def __enter__(self) -> None:
        fcntl.flock(self.descriptor, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)


def _flock_kept(path: Path) -> TakeTurn:
    return _reused(KeptFlock(path))


def _async_filelock_turns(path: Path) -> Callable[[], AsyncFileLock]:
    lock = AsyncFileLock(sidecar(path), timeout=PATIENCE)
    return lambda: lock


def _async_filelock_updates(target: Target) -> Callable[[], AsyncUpdate]:
    def opened() -> AsyncUpdate:
        lock = AsyncFileLock(sidecar(target.path), timeout=PATIENCE)

        async def update() -> None:
            async with lock:
                await asyncio.to_thread(plain_update, target.path, durable=target.durable)

        return update

    return opened


_kept: dict[Path, FileLock] = {}


def _filelock_kept(path: Path) -> TakeTurn:
    return _reused(_kept.setdefault(path, FileLock(sidecar(path), timeout=PATIENCE)))


LOCKS = (
    Contender(
        name="no-lock",
        about="load, modify, save and nothing else: atomic rename protects each write, not the update",
        across_processes=False,
        only=frozenset({"S3", "S4", "S5", "S6"}),
        updates=in_turn(_nothing),
        async_updates=lambda target: lambda: _in_thread(target),
    ),
    Contender(
        name="asyncio-lock",
        about="asyncio.Lock around load, modify, save: excludes the tasks of one loop, and no other program",
        across_processes=False,
        async_updates=behind_asyncio_lock(_nothing),
    ),
    Contender(
        name="filelock",
        about="filelock.FileLock, a kernel lock that is polled; tasks line up at an asyncio.Lock first",
        updates=in_turn(_filelock),
        async_updates=behind_asyncio_lock(_filelock),
        turns=_filelock,
    ),
    Contender(
        name="filelock-async",
        about="one filelock.AsyncFileLock a task, polled",
        async_updates=_async_filelock_updates,
        async_turns=_async_filelock_turns,
    ),
    Contender(
        name="filelock-tlock",
        about="threads line up at a threading.Lock, then take the FileLock",
        only=frozenset({"S4"}),
        updates=behind_threading_lock(_filelock),
    ),
    Contender(
        name="filelock-kept",
        about="FileLock objects kept in a dict by path, as programs with many stores do",
        only=frozenset({"S8"}),
        updates=in_turn(_filelock_kept),
    ),
    Contender(
        name="softfilelock",
        about="filelock.SoftFileLock, an existence marker that is polled",
        only=LOCK_ONLY,
        updates=in_turn(_softfilelock),
        turns=_softfilelock,
    ),
    Contender(
        name="softfilelease",
        about="filelock.SoftFileLease, a marker with a heartbeat; a stuck holder may overlap another",
        only=LOCK_ONLY,
        updates=in_turn(_softfilelease),
        turns=_softfilelease,
    ),
    Contender(
        name="portalocker",
        about="portalocker.Lock, a kernel lock polled every 0.25 s",
        only=LOCK_ONLY,
        updates=in_turn(_portalocker),
        turns=_portalocker,
    ),
    Contender(
        name="fasteners",
        about="fasteners.InterProcessLock, a kernel lock that is polled and does not exclude threads",
        only=LOCK_ONLY,
        updates=in_turn(_fasteners),
        turns=_fasteners,
    ),
    Contender(
        name="reference",
        about="the lock that storewriter replaces: an existence file, 6 retries, 8 ms x 1.35 up to 180 ms, an error",
        only=LOCK_ONLY | {"S3", "S6", "S11"},
        updates=in_turn(_reference),
        async_updates=behind_asyncio_lock(_reference),
        turns=_reference,
    ),
    Contender(
        name="bare-flock",
        about="a bare blocking flock around load, modify, save: no gate, no identity check, no timeout",
        only=LOCK_ONLY - {"S8"},
        updates=in_turn(flock),
        turns=flock,
    ),
    Contender(
        name="backoff",
        about="a flock retried with backoff, 8 ms x 1.35 up to 180 ms, until it is free",
        only=LOCK_ONLY - {"S8"},
        updates=in_turn(_backoff),
        turns=_backoff,
    ),
    Contender(
        name="bare-flock-kept",
        about="the two system calls of a flock alone, on a descriptor kept open",
        only=frozenset({"S1"}),
        turns=_flock_kept,
    ),
)


def _in_thread(target: Target) -> AsyncUpdate:
    async def update() -> None:
        await asyncio.to_thread(plain_update, target.path, durable=target.durable)

    return update
