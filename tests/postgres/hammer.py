"""A process that updates one document as fast as it can, from threads and from tasks, and notes what it was told.

`hammer.py PLACE WHO LOG [SILENCE]`, until its input is closed. Each caller has a number in the document, which only it
raises, by one, and only from the number that it was told last. So an update that was lost, that was applied twice, or
that was reported as failed and had happened, is seen by the next one. LOG gets a line for each answer.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from storewriter import AsyncStore, CommitUncertain, PerStoreWriterQueue, Store
from storewriter.postgres import Postgres

State = dict[str, int]


class Broken(Exception):
    """The document is not what this caller was told."""


def raising(caller: str, number: int) -> Callable[[State], None]:
    def fn(state: State) -> None:
        if state.get(caller, 0) != number - 1:
            raise Broken(f"{caller} was told {number - 1}, and the document says {state.get(caller, 0)}")
        state[caller] = number

    return fn


class Log:
    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, caller: str, what: str, number: int) -> None:
        os.write(self._file, f"{caller} {what} {number}\n".encode())


def judged(log: Log, caller: str, number: int, error: Exception, read: State) -> int:
    """The number to go on from after an error."""
    log.note(caller, type(error).__name__, number)
    if isinstance(error, Broken):
        raise error
    if isinstance(error, CommitUncertain):
        return read.get(caller, 0)  # as the error says: read before repeating it
    return number - 1


def thread(store: Any, caller: str, log: Log, ended: threading.Event) -> None:
    number = 0
    while not ended.is_set():
        number += 1
        try:
            store.update(raising(caller, number))
        except Exception as error:  # noqa: BLE001 - judged
            number = judged(log, caller, number, error, store.read())
        else:
            log.note(caller, "done", number)


async def task(store: Any, caller: str, log: Log, ended: threading.Event) -> None:
    number = 0
    while not ended.is_set():
        number += 1
        try:
            await store.update(raising(caller, number))
        except Exception as error:  # noqa: BLE001 - judged
            number = judged(log, caller, number, error, await store.read())
        else:
            log.note(caller, "done", number)


def main(place: str, who: str, path: str, silence: str = "30") -> None:
    queue = PerStoreWriterQueue(timeout=60.0, warn_after=None)
    document = Postgres(place, silence=float(silence))
    log, ended = Log(path), threading.Event()
    store: Any = Store(document, queue=queue)
    astore: Any = AsyncStore(document, queue=queue)

    async def tasks() -> None:
        await asyncio.gather(*(task(astore, f"{who}-task{number}", log, ended) for number in range(3)))

    threads = [threading.Thread(target=thread, args=(store, f"{who}-thread{n}", log, ended)) for n in range(3)]
    threads.append(threading.Thread(target=lambda: asyncio.run(tasks())))
    for one in threads:
        one.start()
    print("ready", flush=True)
    sys.stdin.read()
    ended.set()
    for one in threads:
        one.join()
    print("ended", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
