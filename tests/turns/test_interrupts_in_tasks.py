"""An error that a signal handler raises in a task of asyncio: the turn ends, and no two threads save one batch."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers import interrupts
from helpers.waiting import until, wait_for
from storewriter import AsyncStore, PerStoreWriterQueue, Store
from storewriter._turns import line, marks, off_loop, waiters
from storewriter.testing import Call, intercepted


def count(state: dict[str, Any]) -> None:
    state["n"] = state.get("n", 0) + 1


class Interrupted(BaseException):
    """Comes from a signal handler."""


@pytest.mark.parametrize("operation", ["update", "transaction"])
def test_a_task_that_is_interrupted_while_a_thread_saves_waits_for_that_thread(
    queue: PerStoreWriterQueue, path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    path.write_text("{}")
    saves, overlaps, is_waited_for = threading.Event(), threading.Event(), threading.Event()
    savers: set[int] = set()

    def around(call: Call, proceed: Callable[[], Any]) -> Any:
        if call.name == "write":
            savers.add(threading.get_ident())
            if saves.is_set():
                overlaps.set()
            else:
                saves.set()
                wait_for(is_waited_for, "the task that waits for this thread, although it was interrupted")
        return proceed()

    real = waiters.AsyncioWaiter.sleep_through

    async def sleep_through(self: Any) -> Any:
        if waits:
            waits.pop()
            wait_for(saves, "the thread that saves")
            raise Interrupted
        return await real(self)

    join = off_loop._Call.join

    def joined(self: Any) -> None:
        is_waited_for.set()
        join(self)

    waits: list[int] = []
    monkeypatch.setattr(waiters.AsyncioWaiter, "sleep_through", sleep_through)
    monkeypatch.setattr(off_loop._Call, "join", joined)
    store: AsyncStore[Any] = AsyncStore(path, queue=queue, system=intercepted(around))

    async def main() -> None:
        if operation == "update":
            waits.append(1)
            await store.update(count)
        else:
            async with store.transaction() as tx:
                count(tx.state)
                waits.append(1)

    with pytest.raises(Interrupted):
        asyncio.run(main())
    assert not overlaps.is_set()
    assert len(savers) == 1
    assert Store(path, queue=queue).read() == {"n": 1}
    with queue.turn(path, timeout=0):
        pass


def _is_ours(code: Any) -> bool:
    return "/storewriter/" in code.co_filename and "/tests/" not in code.co_filename


@pytest.mark.parametrize("kind", [interrupts.Interrupt, interrupts.Ended])
def test_wherever_an_update_of_a_task_is_interrupted_its_turn_ends(
    kind: interrupts.Kind, queue: PerStoreWriterQueue, path: Path
) -> None:
    """Python makes a RuntimeError of a StopIteration that comes out of a coroutine."""
    store: AsyncStore[Any] = AsyncStore(path, queue=queue)
    loops: list[asyncio.AbstractEventLoop] = []

    def operation() -> None:
        loops[0].run_until_complete(store.update(count))

    loops.append(asyncio.new_event_loop())
    operation()
    points = interrupts.points(operation, _is_ours)
    loops.pop().close()
    for point in points:
        loops.append(asyncio.new_event_loop())
        landing = interrupts.interrupted(operation, point, kind=kind)
        assert landing.kind in (kind.__name__, None, "RuntimeError" if kind is interrupts.Ended else None), landing
        loops[0].run_until_complete(asyncio.sleep(0))
        loops.pop().close()
        gc.collect()
        with queue.turn(path, timeout=10.0):
            pass
        assert not any(marks.inside.values()), landing
        assert Store(path, queue=queue).read()["n"] <= len(points) + 2


@pytest.mark.parametrize("operation", ["turn", "transaction"])
def test_wherever_a_turn_of_a_task_is_interrupted_it_ends(
    operation: str, queue: PerStoreWriterQueue, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in the first instant of `__aexit__`, which has no `try` around it."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    path.write_text("{}")
    store: AsyncStore[Any] = AsyncStore(path, queue=queue, durability="process")
    loops: list[asyncio.AbstractEventLoop] = []

    async def work() -> None:
        if operation == "turn":
            async with queue.turn(path):
                pass
        else:
            async with store.transaction() as tx:
                count(tx.state)

    def run() -> None:
        loops[0].run_until_complete(work())

    loops.append(asyncio.new_event_loop())
    run()
    points = interrupts.points(run, lambda code: _is_ours(code) or code is work.__code__)
    loops.pop().close()
    landed: set[str] = set()
    for point in points:
        loops.append(asyncio.new_event_loop())
        landing = interrupts.interrupted(run, point)
        landed.add(landing.place)
        loops[0].run_until_complete(asyncio.sleep(0))
        loops.pop().close()
        gc.collect()
        until(lambda: line.lanes.get(str(path)) is None, f"the end of a turn interrupted at {landing.place}")
        assert not any(marks.inside.values()), landing
        assert Store(path, queue=queue).read().get("n", 0) <= len(points) + 2
    assert any("__aexit__" in place for place in landed), landed
