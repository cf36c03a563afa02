"""What threads, tasks and processes did with one list, written down for `is_linearizable`.

CLOCK_MONOTONIC is the same for all processes of a machine, so their histories can be put together.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import attrs
import pytest

from helpers.children import Child, child
from helpers.linearizability import Operation
from storewriter import AsyncStore, Store


def step(state: Hashable, operation: Operation) -> Hashable | None:
    """The store as a tuple of what was appended."""
    assert isinstance(state, tuple)
    if operation.name == "append":
        is_possible = operation.returned is None or operation.result == len(state)
        return (*state, operation.argument) if is_possible else None
    if operation.name == "fail":
        return state
    return state if tuple(operation.result) == state else None


def appending(value: Any) -> Callable[[list[Any]], int]:
    """A function that appends a value and returns its place."""

    def fn(state: list[Any]) -> int:
        state.append(value)
        return len(state) - 1

    return fn


class Recorder:
    """What was called in this process, and what came of it: every third call reads, every fifth or so fails."""

    def __init__(self) -> None:
        self.history: list[Operation] = []

    def did(self, name: str, argument: Any, result: Any, called: float) -> None:
        self.history.append(Operation(name, argument, result, called, time.monotonic()))

    def thread(self, store: Store[list[Any]], who: str, count: int) -> None:
        for place in range(count):
            called = time.monotonic()
            if place % 3 == 2:
                self.did("read", None, store.read(), called)
            elif place % 5 == 3:
                self._fail(store, who, called)
            else:
                self.did("append", f"{who}{place}", store.update(appending(f"{who}{place}")), called)

    def _fail(self, store: Store[list[Any]], who: str, called: float) -> None:
        def fn(state: list[Any]) -> None:
            state.append(f"phantom of {who}")
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            store.update(fn)
        self.did("fail", None, None, called)

    async def task(self, store: AsyncStore[list[Any]], who: str, count: int) -> None:
        for place in range(count):
            called = time.monotonic()
            if place % 3 == 2:
                self.did("read", None, await store.read(), called)
            else:
                self.did("append", f"{who}{place}", await store.update(appending(f"{who}{place}")), called)


_PROCESS = """
store = Store(path, default=list, queue=PerStoreWriterQueue(timeout=60), durability="process")
history = []
def appending(value):
    def fn(state):
        state.append(value)
        return len(state) - 1
    return fn
say("ready"); hear()
for place in range(int(args[1])):
    called = time.monotonic()
    if place % 3 == 2:
        history.append(["read", None, store.read(), called, time.monotonic()])
    else:
        value = args[0] + str(place)
        history.append(["append", value, store.update(appending(value)), called, time.monotonic()])
say(json.dumps(history))
"""


@attrs.frozen
class Processes:
    """Processes that have begun to work."""

    _children: Sequence[Child]

    def history(self) -> list[Operation]:
        """What they did, once they have done it."""
        return [Operation(*entry) for process in self._children for entry in json.loads(process.hear())]


@contextmanager
def working_processes(place: object, names: str, count: int) -> Iterator[Processes]:
    """A process for each name, that does `count` operations on the list; they start together."""
    with ExitStack() as stack:
        children = [stack.enter_context(child(_PROCESS, place, name, count)) for name in names]
        for process in children:
            process.expect("ready")
        for process in children:
            process.tell()
        yield Processes(children)
