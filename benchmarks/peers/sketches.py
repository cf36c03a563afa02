"""What the design can reach: written by hand, without the guarantees, to know the limit."""

import asyncio
import json
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import orjson

from benchmarks.peers.locks import flock
from storewriter.cli.bench.contender import AsyncUpdate, Contender, Target, Update
from storewriter.cli.bench.document import State, bump, replace

ONE_CALLER = frozenset({"S2", "S9"})
"""Where there is nobody to exclude."""


def _save_only(encode: Callable[[State], bytes]) -> Callable[[Target], Callable[[], Update]]:
    """Encode, write, flush, rename, flush the folder: nobody is excluded and nothing is loaded."""

    def updates(target: Target) -> Callable[[], Update]:
        state = json.loads(target.path.read_bytes())
        temporary = target.path.with_name("temporary")
        folder = os.open(target.path.parent, os.O_RDONLY | os.O_DIRECTORY)

        def update() -> None:
            bump(state)
            _write(temporary, encode(state), durable=target.durable)
            os.rename(temporary, target.path)
            if target.durable:
                os.fsync(folder)

        return lambda: update

    return updates


def _write(path: Path, data: bytes, *, durable: bool) -> None:
    """The fewest system calls that do it."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    written = os.write(file, data)
    if written != len(data):
        raise OSError(f"wrote {written} of {len(data)} bytes")
    if durable:
        os.fsync(file)
    os.close(file)


def _commit(target: Target, turn: Callable[[], AbstractContextManager[object]], updates: int) -> None:
    with turn():
        state = orjson.loads(target.path.read_bytes())
        for _ in range(updates):
            bump(state)
        replace(target.path, orjson.dumps(state), durable=target.durable)


def _batched_tasks(target: Target) -> Callable[[], AsyncUpdate]:
    turn = flock(target.path)
    waiting: list[asyncio.Future[None]] = []
    committing = asyncio.Lock()

    async def update() -> None:
        mine = asyncio.get_running_loop().create_future()
        waiting.append(mine)
        async with committing:
            if not mine.done():
                batch = waiting.copy()
                waiting.clear()
                await asyncio.to_thread(_commit, target, turn, len(batch))
                for each in batch:
                    each.set_result(None)

    return lambda: update


def _batched_threads(target: Target) -> Callable[[], Update]:
    turn = flock(target.path)
    waiting: list[threading.Event] = []
    committing = threading.Lock()

    def update() -> None:
        mine = threading.Event()
        waiting.append(mine)
        with committing:
            if not mine.is_set():
                batch = waiting[:]
                del waiting[: len(batch)]  # what was appended meanwhile stays
                _commit(target, turn, len(batch))
                for each in batch:
                    each.set()

    return lambda: update


SKETCHES = (
    Contender(
        name="bare-json",
        about="the physical limit with the standard library: encode, write, flush, rename, flush the folder",
        only=ONE_CALLER,
        updates=_save_only(lambda state: json.dumps(state).encode()),
    ),
    Contender(
        name="bare-orjson",
        about="the physical limit with a compiled encoder",
        only=ONE_CALLER,
        updates=_save_only(orjson.dumps),
    ),
    Contender(
        name="flock-batched",
        about="group commit by hand over one JSON file: no failures, no cancellation, no fairness, no checks",
        only=frozenset({"S3", "S4", "S6"}),
        updates=_batched_threads,
        async_updates=_batched_tasks,
    ),
)
