"""A signal handler, or a finalizer, that updates a store, wherever in this package its thread is.

It is done, or refused at once with ReentrantTurn. It never waits for its own thread, and no other thread waits for it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import CodeType
from typing import Any

import anyio
import attrs
import pytest

import storewriter
from helpers.handlers import HANDLERS, handled
from helpers.interrupts import points
from helpers.lines import Worker
from helpers.waiting import until, until_async, wait_for
from storewriter import AsyncStore, LockTimeout, PerStoreWriterQueue, ReentrantTurn, Store

_SOURCE = os.path.dirname(storewriter.__file__)


def _ours(code: CodeType) -> bool:
    return code.co_filename.startswith(_SOURCE)


def count(state: dict[str, int]) -> None:
    state["n"] = state.get("n", 0) + 1


@attrs.define
class Scene:
    """Three stores: that of the operation, one that is held by another thread, and one that it updates meanwhile."""

    folder: Path
    queue: PerStoreWriterQueue = attrs.field(factory=lambda: PerStoreWriterQueue(timeout=10.0))
    workers: list[Worker] = attrs.field(factory=list)
    outcomes: list[object] = attrs.field(factory=list)

    def store(self, name: str) -> Store[dict[str, int]]:
        return Store(self.folder / f"{name}.json", queue=self.queue, durability="process")

    @property
    def path(self) -> Path:
        return self.folder / "own.json"

    @contextlib.contextmanager
    def _held(self, asked: threading.Event) -> Any:
        """Another thread holds the second store, until it has updated the third one, when the handler asks."""
        has_it = threading.Event()

        def hold() -> None:
            with self.queue.turn(self.folder / "held.json"):
                has_it.set()
                wait_for(asked, "the handler")
                self.store("third").update(count)

        worker = Worker(hold)
        wait_for(has_it, "a held turn")
        try:
            yield
        finally:
            asked.set()
            worker.result()

    def run(self, operation: Callable[[Scene], None], place: Any, kind: str, name: str) -> bool:
        """Run it with the handler at this place, which updates the store of this name."""
        asked = threading.Event()
        store = self.store(name)

        def handler() -> None:
            asked.set()
            try:
                self.outcomes.append(store.update(count))
            except Exception as error:  # noqa: BLE001 - judged by the test
                self.outcomes.append(error)

        with self._held(asked):
            was_run = handled(lambda: operation(self), place, kind, handler)
        for worker in self.workers:
            worker.result()
        return was_run


def update(scene: Scene) -> None:
    scene.store("own").update(count)


def update_with_neighbours(scene: Scene) -> None:
    """One stands before it and one behind it in the batch."""
    has_it, ended = threading.Event(), threading.Event()

    def line_up() -> None:
        before = scene.queue.pending(scene.path)
        scene.workers.append(Worker(lambda: scene.store("own").update(count)))
        until(lambda: scene.queue.pending(scene.path) > before, "a neighbour in line")

    def hold() -> None:
        with scene.queue.turn(scene.path):
            line_up()
            has_it.set()
            until(lambda: scene.queue.pending(scene.path) > 1 or ended.is_set(), "the caller in line")
            if not ended.is_set():
                line_up()

    holder = Worker(hold)
    wait_for(has_it, "a held turn")
    try:
        scene.store("own").update(count)
    finally:
        ended.set()
        holder.result()


def transaction(scene: Scene) -> None:
    with scene.store("own").transaction() as tx:
        count(tx.state)


def late(scene: Scene) -> None:
    """A turn that is asked for in vain."""
    has_it, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with scene.queue.turn(scene.path):
            has_it.set()
            wait_for(let_go)

    holder = Worker(hold)
    wait_for(has_it, "a held turn")
    try:
        with contextlib.suppress(LockTimeout):
            scene.store("own").update(count, timeout=0)
    finally:
        let_go.set()
        holder.result()


def pending(scene: Scene) -> None:
    with scene.queue.turn(scene.path):
        scene.queue.pending(scene.path)


async def _tasks(scene: Scene) -> None:
    """Three tasks in one batch; a fourth one is cancelled while it waits."""
    store = AsyncStore(scene.path, queue=scene.queue, durability="process")
    scope = anyio.CancelScope()

    async def cancelled() -> None:
        with scope:
            await store.update(count)

    async with anyio.create_task_group() as group:
        async with scene.queue.turn(scene.path):
            for place in range(1, 5):
                group.start_soon(cancelled if place == 2 else lambda: store.update(count))
                await until_async(lambda place=place: scene.queue.pending(scene.path) == place)  # type: ignore[misc]
            scope.cancel()
            await until_async(lambda: scene.queue.pending(scene.path) == 3)


def asyncio_tasks(scene: Scene) -> None:
    anyio.run(_tasks, scene, backend="asyncio")


def trio_tasks(scene: Scene) -> None:
    anyio.run(_tasks, scene, backend="trio")


OPERATIONS = [update, update_with_neighbours, transaction, late, pending, asyncio_tasks, trio_tasks]
SHARED = {asyncio_tasks, trio_tasks}
"""Each run makes an event loop: their four cases share the points between them."""
CASES = [
    (operation, name, kind)
    for operation in OPERATIONS
    for name in ("own", "held")
    for kind in HANDLERS
    if (operation, name) != (late, "own")  # the holder waits for the operation, and so for the handler
]
ALL = [
    pytest.param(*case, None, marks=[pytest.mark.slow, pytest.mark.timeout(600)]) for case in CASES if case[0] in SHARED
]


@pytest.mark.parametrize(
    ("operation", "name", "kind", "share"),
    [(*case, place % 4 if case[0] in SHARED else None) for place, case in enumerate(CASES)] + ALL,  # type: ignore[operator]
)
def test_a_handler_that_updates_is_answered_and_holds_up_no_other_thread(
    operation: Callable[[Scene], None], name: str, kind: str, share: int | None, tmp_path: Path
) -> None:
    """At every point of the operation; or at every fourth one, from the one at place `share`."""
    number = 0

    def scene() -> Scene:
        nonlocal number
        number += 1
        folder = tmp_path / str(number)
        folder.mkdir()
        return Scene(folder)

    operation(scene())  # what is imported or examined once
    first = scene()
    tried = [point for point in points(lambda: operation(first), _ours) if not point.instead]
    if share is not None:
        tried = tried[share::4]
    for worker in first.workers:
        worker.result()
    wrong: list[str] = []
    ran = refused = 0
    for point in tried:
        one = scene()
        ran += one.run(operation, point, kind, name)
        refused += sum(isinstance(outcome, ReentrantTurn) for outcome in one.outcomes)
        others = [outcome for outcome in one.outcomes if outcome is not None and not isinstance(outcome, ReentrantTurn)]
        if others:
            wrong.append(f"{point.code.co_qualname} {point.before}: {others}")
            break  # it may have taken long
    assert not wrong, "\n".join(wrong)
    assert ran > len(tried) / 2 > 15  # which thread comes first decides about some of them
    assert refused > 0
