"""The same functions, run one by one or as neighbours in a batch: by threads, by tasks, in transactions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from helpers.lines import held, lined_up
from helpers.waiting import until_async
from storewriter import AsyncStore, PerStoreWriterQueue, Store
from storewriter._commits import batch

Change = Callable[[Any], Any]

ALONE = ("update", "transform", "transaction")
TOGETHER = ("threads", "asyncio", "trio")
COMPANIES = (*ALONE, *TOGETHER)


class Company:
    """One store, and in which of these ways functions are applied to it."""

    def __init__(self, kind: str, queue: PerStoreWriterQueue, path: Path, **settings: Any) -> None:
        self.kind = kind
        self.queue = queue
        self.path = path
        self.store: Store[Any] = Store(path, queue=queue, durability="process", **settings)
        self.tasks: AsyncStore[Any] = AsyncStore(path, queue=queue, durability="process", **settings)

    def apply(self, *changes: Change) -> list[Any]:
        """Apply them in this order; returns the result of each, or the error that it ended with."""
        if self.kind in TOGETHER:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(batch, "APPLY_SECONDS", 60.0)  # or a busy processor makes two batches of them
                if self.kind == "threads":
                    return self._by_threads(changes)
                return anyio.run(self._by_tasks, changes, backend=self.kind)
        return [outcome(lambda change=change: self._alone(change)) for change in changes]  # type: ignore[misc]

    def _alone(self, change: Change) -> Any:
        if self.kind == "update":
            return self.store.update(change)
        result: Any = None
        if self.kind == "transform":

            def transformed(state: Any) -> Any:
                nonlocal result
                result = change(state)
                return state

            self.store.transform(transformed)
        else:
            with self.store.transaction() as tx:
                result = change(tx.state)
        return result

    def _by_threads(self, changes: Sequence[Change]) -> list[Any]:
        calls = [lambda change=change: self.store.update(change) for change in changes]  # type: ignore[misc]
        with held(self.queue, self.path) as holding:
            workers = lined_up(self.queue, self.path, *calls)
            holding.release()
            for worker in workers:
                worker.wait()
        return [outcome(worker.result) for worker in workers]

    async def _by_tasks(self, changes: Sequence[Change]) -> list[Any]:
        outcomes: list[Any] = [None] * len(changes)

        async def run(place: int, change: Change) -> None:
            try:
                outcomes[place] = await self.tasks.update(change)
            except Exception as error:  # noqa: BLE001 - the outcome, which the test judges
                outcomes[place] = error

        with held(self.queue, self.path) as holding:
            async with anyio.create_task_group() as group:
                for place, change in enumerate(changes):
                    group.start_soon(run, place, change)
                    await until_async(lambda place=place: self.queue.pending(self.path) == place + 1)  # type: ignore[misc]
                holding.release()
        return outcomes


def outcome(call: Callable[[], Any]) -> Any:
    """What it returns, or the error that it raises."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - the outcome, which the test judges
        return error
