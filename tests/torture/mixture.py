"""One of several programs that update one store at once, through everything that a program can have at once.

`mixture.py PLACE WHO ANSWERS COUNT`: threads, a thread with transactions, two loops of asyncio and one of trio, a
forked, a spawned and a forkserver's process, and one that is forked in the middle of all that, each under a spelling of
the path of its own. Every caller takes COUNT places in the order of all updates, and writes those that it got to
ANSWERS. The working folder holds `store/state.json` and, as `links` makes them, links to it.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, Final

import trio

from storewriter import AsyncStore, PerStoreWriterQueue, Store
from storewriter.locks import Flock, ProperLockfile

TASKS: Final = 3
FILE: Final = "store/state.json"
CALLERS: Final = 2 + 1 + 3 * TASKS + 3 + 1
"""Of one program; each takes COUNT places."""
PATIENCE: Final = 100.0

State = dict[str, Any]


def links(folder: Path) -> None:
    """Make the folder of the store, and the links through which it is found as well."""
    (folder / "store").mkdir()
    (folder / "link.json").symlink_to(FILE)
    (folder / "link").symlink_to("store")


def spelled(place: str, number: int) -> str:
    """One way of writing the path of the store; the address of a database has only one."""
    if place != FILE:
        return place
    ways = (FILE, str(Path(FILE).absolute()), "link.json", "link/state.json", "./store/../link/../store/state.json")
    return ways[number % len(ways)]


def queue_for(place: str) -> PerStoreWriterQueue | None:
    """A file lock that a neighbour takes as well, and inside it a neighbour's own lock."""
    if place != FILE:
        return None
    return PerStoreWriterQueue(Flock(file="{name}.flock"), also=ProperLockfile(), timeout=PATIENCE)


def taking(who: str) -> Callable[[State], int]:
    """The update: count it under the caller's name, and take the next place in the order of all."""

    def fn(state: State) -> int:
        counts = state.setdefault("counts", {})
        counts[who] = counts.get(who, 0) + 1
        state["place"] = state.get("place", 0) + 1
        return int(state["place"])

    return fn


class Program:
    """What one process needs to know; it can be pickled."""

    def __init__(self, place: str, who: str, answers: str, count: int) -> None:
        self.place, self.who, self.answers, self.count = place, who, answers, count

    def store(self, number: int) -> Store[State]:
        return Store(spelled(self.place, number), queue=queue_for(self.place), timeout=PATIENCE)

    def note(self, caller: str, places: list[int]) -> None:
        """Outside of the store."""
        Path(self.answers, f"{caller}.json").write_text(json.dumps(places))

    def updates(self, caller: str, number: int, first: threading.Event | None = None) -> None:
        """A thread."""
        store, places = self.store(number), []
        for _ in range(self.count):
            places.append(store.update(taking(caller)))
            if first is not None:
                first.set()
        self.note(caller, places)

    def transactions(self, caller: str, number: int) -> None:
        """Another one."""
        store, places = self.store(number), []
        for _ in range(self.count):
            with store.transaction() as tx:
                places.append(taking(caller)(tx.state))
        self.note(caller, places)

    async def task(self, store: AsyncStore[State], caller: str) -> None:
        """A task of any loop."""
        self.note(caller, [await store.update(taking(caller)) for _ in range(self.count)])

    def _async_store(self, number: int) -> AsyncStore[State]:
        return AsyncStore(spelled(self.place, number), queue=queue_for(self.place), timeout=PATIENCE)

    def in_asyncio(self, caller: str, number: int) -> None:
        """A thread with a loop."""

        async def main() -> None:
            store = self._async_store(number)
            async with asyncio.TaskGroup() as group:
                for task in range(TASKS):
                    group.create_task(self.task(store, f"{caller}.{task}"))

        asyncio.run(main())

    def in_trio(self, caller: str, number: int) -> None:
        """A thread with another one."""

        async def main() -> None:
            store = self._async_store(number)
            async with trio.open_nursery() as nursery:
                for task in range(TASKS):
                    nursery.start_soon(self.task, store, f"{caller}.{task}")

        trio.run(main)

    def run(self) -> None:
        """Say that everything is ready, wait for a line, update; ends when all callers have their answers."""
        threading.excepthook = _end_with
        go = threading.Event()
        first = threading.Event()
        threads = [
            threading.Thread(target=lambda body=body: (go.wait(), body()))
            for body in (
                lambda: self.updates(f"{self.who}-thread0", 0, first),
                lambda: self.updates(f"{self.who}-thread1", 1),
                lambda: self.transactions(f"{self.who}-transactions", 2),
                lambda: self.in_asyncio(f"{self.who}-asyncio0", 3),
                lambda: self.in_asyncio(f"{self.who}-asyncio1", 4),
                lambda: self.in_trio(f"{self.who}-trio", 0),
            )
        ]
        children = self._children()
        for thread in threads:
            thread.start()
        print("ready", flush=True)
        sys.stdin.readline()
        go.set()
        for _, barrier in children:
            barrier.wait(PATIENCE)
        if not first.wait(PATIENCE):
            sys.exit("the first update was never answered")
        forked = self._fork_in_the_middle()
        for thread in threads:
            thread.join()
        for child, _ in children:
            child.join(PATIENCE)
            if child.exitcode != 0:
                sys.exit(f"{child.name} ended with {child.exitcode}")
        if os.waitpid(forked, 0)[1]:
            sys.exit("the process that was forked in the middle has failed")
        print("done", flush=True)

    def _children(self) -> list[tuple[Any, Barrier]]:
        """One process of each way to start one; they wait at their barriers."""
        children: list[tuple[Any, Barrier]] = []
        for number, method in enumerate(("fork", "spawn", "forkserver"), 1):
            context: Any = multiprocessing.get_context(method)
            barrier = context.Barrier(2)
            child = context.Process(target=in_child, args=(self, f"{self.who}-{method}", number, barrier), name=method)
            child.start()
            children.append((child, barrier))
        for _, barrier in children:
            barrier.wait(PATIENCE)
        return children

    def _fork_in_the_middle(self) -> int:
        """Of a process whose threads hold and wait for turns at this moment."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # that is the point
            pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            self.updates(f"{self.who}-middle", 2)
            code = 0
        finally:
            os._exit(code)


def _end_with(arguments: threading.ExceptHookArgs) -> None:
    """An error of one thread ends the program."""
    traceback.print_exception(arguments.exc_value)
    os._exit(1)


def in_child(program: Program, caller: str, number: int, barrier: Barrier) -> None:
    """Wait with all others, then update."""
    barrier.wait(PATIENCE)
    barrier.wait(PATIENCE)
    program.updates(caller, number)


if __name__ == "__main__":
    _place, _who, _answers, _count = sys.argv[1:]
    Program(_place, _who, _answers, int(_count)).run()
