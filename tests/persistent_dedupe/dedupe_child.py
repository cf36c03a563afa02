"""A process of its own for the tests: reads one command per line, answers each with one line of JSON."""

from __future__ import annotations

import json
import os
import random
import sys
from typing import Any

import anyio

from persistent_dedupe import AsyncPersistentDedupe, DedupeOptions, PersistentDedupe
from storewriter import PerStoreWriterQueue


def main() -> None:
    folder, options = sys.argv[1], DedupeOptions(**json.loads(sys.argv[2]))
    dedupe = PersistentDedupe(folder, options)
    for line in sys.stdin:
        name, *args = json.loads(line)
        print(json.dumps(COMMANDS[name](dedupe, *args)), flush=True)


def check(dedupe: PersistentDedupe, *keys: str) -> list[bool]:
    return [bool(dedupe.check_and_record(key)) for key in keys]


def claim(dedupe: PersistentDedupe, key: str) -> str:
    return dedupe.claim(key).status.value


def commit(dedupe: PersistentDedupe, key: str) -> bool:
    return bool(dedupe.commit(key))


def release(dedupe: PersistentDedupe, key: str) -> bool:
    dedupe.release(key)
    return True


def fork(dedupe: PersistentDedupe, key: str) -> list[str]:
    """What a forked child of this process is told about a key that this process has claimed."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        answers = [dedupe.claim(key).status.value, str(dedupe.memory_size), str(bool(dedupe.check_and_record("c")))]
        os.write(writing, json.dumps(answers).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answers = json.load(pipe)
    os.waitpid(pid, 0)
    return answers  # type: ignore[no-any-return]


def hold(dedupe: PersistentDedupe) -> str:
    """Hold the namespace's turn until the next line comes."""
    path = dedupe.path()
    assert path is not None
    with PerStoreWriterQueue().turn(path, label="a long job"):
        print(json.dumps("held"), flush=True)
        sys.stdin.readline()
    return "released"


def race(dedupe: PersistentDedupe, count: int, tasks: int, pair: int, seed: int) -> list[int]:
    """Check `count` keys, each twice and by two tasks at once; which were told new, as often as they were.

    Processes of one pair walk the same keys at the same time, in an order that differs a little, so that each is
    ahead of the other now and then.
    """
    order = list(range(count))
    random.Random(pair).shuffle(order)
    dice = random.Random(seed)
    order = [order[place] for place in sorted(range(count), key=lambda place: place + dice.uniform(0, 4 * tasks))]
    new: list[int] = []
    racing = AsyncPersistentDedupe(dedupe._context.location, dedupe.options)

    async def checker(lane: int) -> None:
        new.extend([key for key in order[lane // 2 :: tasks // 2] if await racing.check_and_record(f"key-{key}")])

    async def run() -> None:
        async with anyio.create_task_group() as group:
            for lane in range(tasks):
                group.start_soon(checker, lane)

    anyio.run(run)
    return new


COMMANDS: dict[str, Any] = {
    "check": check,
    "claim": claim,
    "commit": commit,
    "release": release,
    "fork": fork,
    "hold": hold,
    "race": race,
}

if __name__ == "__main__":
    main()
