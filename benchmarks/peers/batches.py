"""Group commit by hand: the first caller commits the functions of all that wait, in their order."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from storewriter.cli.bench.contender import AsyncUpdate, Update

Function = TypeVar("Function")
Commit = Callable[[Sequence[Function]], None]


def of_tasks(function: Callable[[], Function], commit: Commit[Function]) -> Callable[[], AsyncUpdate]:
    """`function()` makes the function of one update; `commit` applies several and saves once, in a thread."""
    waiting: list[tuple[asyncio.Future[None], Function]] = []
    committing = asyncio.Lock()

    async def update() -> None:
        mine = asyncio.get_running_loop().create_future()
        waiting.append((mine, function()))
        async with committing:
            if not mine.done():
                batch = waiting.copy()
                waiting.clear()
                await asyncio.to_thread(commit, [function for _, function in batch])
                for done, _ in batch:
                    done.set_result(None)

    return lambda: update


def of_threads(function: Callable[[], Function], commit: Commit[Function]) -> Callable[[], Update]:
    """The same for threads; the one that commits does it itself."""
    waiting: list[tuple[threading.Event, Function]] = []
    committing = threading.Lock()

    def update() -> None:
        mine = threading.Event()
        waiting.append((mine, function()))
        with committing:
            if not mine.is_set():
                batch = waiting[:]
                del waiting[: len(batch)]  # what was appended meanwhile stays
                commit([function for _, function in batch])
                for done, _ in batch:
                    done.set()

    return lambda: update
