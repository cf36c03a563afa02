"""Stores in PostgreSQL beside what people write by hand: updates a second, waits and fairness over several processes.

    python -m benchmarks.postgres postgresql://localhost/test [--processes 1 4 16] [--sizes 1000 50000] [--seconds 5]
        [--contenders storewriter "row lock"] [--rounds 3]

Each process has 16 tasks, which update one document back to back: one counter, and text up to the size.

`storewriter`    `AsyncStore` on the URL: the updates that wait are committed together.
`row lock`       psycopg, one transaction an update: SELECT ... FOR UPDATE, UPDATE, COMMIT.
`compare, swap`  psycopg, one conditional UPDATE, repeated until it finds the version that it has read.

The table of the documents is made in a schema `storewriter_benchmark`, which is dropped at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg

from storewriter import AsyncStore
from storewriter.postgres import create

TASKS = 16
TABLE = "storewriter_benchmark.documents"

Update = Callable[[], Awaitable[Any]]


def bump(state: dict[str, Any]) -> None:
    state["n"] += 1


async def of_store(url: str) -> Update:
    store: Any = AsyncStore(f"{url}#state")
    return lambda: store.update(bump)


async def _connections(url: str) -> asyncio.Queue[Any]:
    """One connection a task, as a pool of that size would have."""
    idle: asyncio.Queue[Any] = asyncio.Queue()
    for _ in range(TASKS):
        conninfo = url.partition("?table")[0].replace(f"&table={TABLE}", "")
        idle.put_nowait(await psycopg.AsyncConnection.connect(conninfo, autocommit=True))
    return idle


async def of_row_lock(url: str) -> Update:
    idle = await _connections(url)

    async def update() -> None:
        connection = await idle.get()
        async with connection.transaction():
            cursor = await connection.execute(f"SELECT body FROM {TABLE} WHERE name = 'state' FOR UPDATE")
            state = json.loads((await cursor.fetchone())[0])
            bump(state)
            await connection.execute(f"UPDATE {TABLE} SET body = %s WHERE name = 'state'", [json.dumps(state).encode()])
        idle.put_nowait(connection)

    return update


async def of_compare_and_swap(url: str) -> Update:
    idle = await _connections(url)

    async def update() -> None:
        connection = await idle.get()
        while True:
            cursor = await connection.execute(f"SELECT body, version FROM {TABLE} WHERE name = 'state'")
            body, version = await cursor.fetchone()
            state = json.loads(body)
            bump(state)
            cursor = await connection.execute(
                f"UPDATE {TABLE} SET body = %s, version = version + 1 WHERE name = 'state' AND version = %s",
                [json.dumps(state).encode(), version],
            )
            if cursor.rowcount == 1:
                break
        idle.put_nowait(connection)

    return update


CONTENDERS: dict[str, Callable[[str], Awaitable[Update]]] = {
    "storewriter": of_store,
    "row lock": of_row_lock,
    "compare, swap": of_compare_and_swap,
}


async def work(contender: str, url: str, seconds: float, ready: Callable[[], object]) -> list[float]:
    """The waits of all updates of one process."""
    update = await CONTENDERS[contender](url)
    ready()
    end, waits = time.monotonic() + seconds, []

    async def task() -> None:
        while time.monotonic() < end:
            began = time.monotonic()
            await update()
            waits.append(time.monotonic() - began)

    await asyncio.gather(*(task() for _ in range(TASKS)))
    return waits


def process(contender: str, url: str, seconds: float, barrier: Any, answers: Any) -> None:
    answers.put(asyncio.run(work(contender, url, seconds, barrier.wait)))


def measured(contender: str, url: str, count: int, seconds: float) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(count), context.Queue()
    workers = [context.Process(target=process, args=(contender, url, seconds, barrier, answers)) for _ in range(count)]
    for worker in workers:
        worker.start()
    found = [answers.get() for _ in workers]
    for worker in workers:
        worker.join()
    counts, waits = [len(each) for each in found], [wait for each in found for wait in each]
    jain = sum(counts) ** 2 / (len(counts) * sum(each * each for each in counts))
    p99 = statistics.quantiles(waits, n=100)[98] * 1000
    return {"updates": sum(counts), "rate": sum(counts) / seconds, "p99": p99, "jain": jain}


def reset(conninfo: str, size: int) -> None:
    state = {"n": 0, "text": "x" * max(0, size - 25)}
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(f"DELETE FROM {TABLE}")
        connection.execute(
            f"INSERT INTO {TABLE} (name, body, version, commit_id, updated_at) "
            f"VALUES ('state', %s, 1, gen_random_uuid(), now())",
            [json.dumps(state).encode()],
        )


def counted(conninfo: str) -> int:
    with psycopg.connect(conninfo) as connection:
        row = connection.execute(f"SELECT body FROM {TABLE} WHERE name = 'state'").fetchone()
        assert row is not None
        return int(json.loads(row[0])["n"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 50_000])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--contenders", nargs="+", choices=list(CONTENDERS), default=list(CONTENDERS))
    parser.add_argument("--rounds", type=int, default=1, help="how often each is measured, by turns")
    given = parser.parse_args()
    url = f"{given.url}{'&' if '?' in given.url else '?'}table={TABLE}"
    create(url)
    print("| contender | bytes | processes | updates/s | p99 ms | Jain | lost |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    try:
        for size in given.sizes:
            for count in given.processes:
                for contender in given.contenders * given.rounds:
                    reset(given.url, size)
                    found = measured(contender, url, count, given.seconds)
                    lost = found["updates"] - counted(given.url)
                    print(
                        f"| {contender} | {size} | {count} | {found['rate']:.0f} | {found['p99']:.1f} | "
                        f"{found['jain']:.3f} | {lost:.0f} |",
                        flush=True,
                    )
    finally:
        with psycopg.connect(given.url, autocommit=True) as connection:
            connection.execute("DROP SCHEMA storewriter_benchmark CASCADE")


if __name__ == "__main__":
    main()
