"""The same functions, run one by one or as neighbours in a batch: by threads, by tasks, in transactions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anyio

from helpers.lines import held, lined_up
from helpers.waiting import until_async
from storewriter import AsyncStore, PerStoreWriterQueue, Store

Change = Callable[[Any], Any]

ALONE = ("update", "transform", "transaction")
TOGETHER = ("threads", "asyncio", "trio")
COMPANIES = (*ALONE, *TOGETHER)


def apply_all(
    company: str, queue: PerStoreWriterQueue, path: Path, changes: Sequence[Change], **settings: Any
) -> list[Any]:
    """Apply the functions in this order; returns the result of each, or the error that it ended with."""
    if company in ALONE:
        store = Store(path, queue=queue, durability="process", **settings)
        return [outcome(lambda change=change: _alone(company, store, change)) for change in changes]  # type: ignore[misc]
    if company == "threads":
        store = Store(path, queue=queue, durability="process", **settings)
        return _by_threads(queue, path, [lambda change=change: store.update(change) for change in changes])  # type: ignore[misc]
    return anyio.run(_by_tasks, queue, path, changes, settings, backend=company)


def outcome(call: Callable[[], Any]) -> Any:
    """What it returns, or the error that it raises."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - the outcome, which the test judges
        return error


def _alone(company: str, store: Store[Any], change: Change) -> Any:
    if company == "update":
        return store.update(change)
    results: list[Any] = []
    if company == "transform":

        def transformed(state: Any) -> Any:
            results.append(change(state))
            return state

        store.transform(transformed)
    else:
        with store.transaction() as tx:
            results.append(change(tx.state))
    return results[-1]


def _by_threads(queue: PerStoreWriterQueue, path: Path, calls: list[Callable[[], Any]]) -> list[Any]:
    with held(queue, path) as holding:
        workers = lined_up(queue, path, *calls)
        holding.release()
        for worker in workers:
            worker.wait()
    return [outcome(worker.result) for worker in workers]


async def _by_tasks(
    queue: PerStoreWriterQueue, path: Path, changes: Sequence[Change], settings: dict[str, Any]
) -> list[Any]:
    store = AsyncStore[Any](path, queue=queue, durability="process", **settings)
    outcomes: list[Any] = [None] * len(changes)

    async def run(place: int, change: Change) -> None:
        try:
            outcomes[place] = await store.update(change)
        except Exception as error:  # noqa: BLE001 - the outcome, which the test judges
            outcomes[place] = error

    with held(queue, path) as holding:
        async with anyio.create_task_group() as group:
            for place, change in enumerate(changes):
                group.start_soon(run, place, change)
                await until_async(lambda place=place: queue.pending(path) == place + 1)  # type: ignore[misc]
            holding.release()
    return outcomes
