"""A process that updates the store until it is killed, and notes what it asked and was answered."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

import attrs
import trio
from clients import Client, OfAsyncStore, OfCommitments, OfDedupe, OfStore, OfTransactions
from ledger import Ledger

from scenarios import Scenario
from storewriter import CommitUncertain, LockLost
from storewriter.testing import Call, System, intercepted

_AUDITED: Final = frozenset(
    {"open", "os.rename", "os.remove", "os.link", "os.utime", "os.chmod", "os.chown", "os.truncate", "os.mkdir"}
    | {"fcntl.flock", "fcntl.fcntl"}
)
"""Audit events (PEP 578) of the system calls of locks; those of a commit come through its `System`."""

THREADS: Final = 4


@attrs.frozen
class Fate:
    """What happens to the process at one of its fault points."""

    what: Literal["kill", "stop"]
    point: int
    """At which one, counted from its first update."""


class Points:
    """Counts the fault points that all threads of the process come to."""

    def __init__(self, fate: Fate | None, ledger: Ledger) -> None:
        self._fate = fate
        self._ledger = ledger
        self._count = 0
        self._mutex = threading.Lock()

    def come_to(self, name: str) -> None:
        fate = self._fate
        if fate is None:
            return
        self._count += 1
        if self._count == fate.point:
            self._ledger.note("p", f"{fate.what} at {name}")
            os.kill(os.getpid(), signal.SIGKILL if fate.what == "kill" else signal.SIGSTOP)

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """See `sys.addaudithook`. Called before the event."""
        if event in _AUDITED:
            self.come_to(event)

    def system(self) -> System:
        """A `System` whose every call is a fault point, before and after."""

        def around(call: Call, proceed: Callable[[], Any]) -> Any:
            self.come_to(call.name)
            result = proceed()
            self.come_to(f"after {call.name}")
            return result

        return intercepted(around)


def run(scenario: Scenario, path: Path, name: str, ledger: Ledger, fate: Fate | None) -> None:
    """Update until the end of the process. Never returns, but for an error that should not be."""
    try:
        points = Points(fate, ledger)
        sys.addaudithook(points.audit)
        system = points.system()
        if scenario.api in ("asyncio", "trio"):
            _run_tasks(scenario, OfAsyncStore(scenario, path, system), name, ledger)
        else:
            _run_threads(scenario, path, system, name, ledger)
    except BaseException:  # noqa: BLE001 - noted for the referee
        ledger.note("w", f"{name} ended with {traceback.format_exc()[-1500:]}")


def _run_threads(scenario: Scenario, path: Path, system: System, name: str, ledger: Ledger) -> None:
    client = _client(scenario, path, system)
    threads = [
        threading.Thread(target=_writes, args=(client, f"{name}.{number}", ledger, scenario.plant))
        for number in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _client(scenario: Scenario, path: Path, system: System) -> Client:
    if scenario.api == "commitments":
        return OfCommitments(scenario, path)
    if scenario.api == "dedupe":
        return OfDedupe(scenario, path)
    return (OfTransactions if scenario.api == "transactions" else OfStore)(scenario, path, system)


class _Line:
    """The updates of one thread or task: their numbers, under a name that is changed after an uncertain outcome."""

    def __init__(self, name: str, ledger: Ledger) -> None:
        self._base = self.name = name
        self._ledger = ledger
        self._names = 0
        self.number = 1

    def ask(self) -> tuple[str, int]:
        self._ledger.note("i", self.name, self.number)
        return self.name, self.number

    def answered(self, result: object) -> None:
        self._ledger.note("a", self.name, self.number, result)
        self.number += 1

    def failed(self, error: Exception) -> None:
        """LockLost says that nothing was written: the same number again. Of CommitUncertain that is not known."""
        if isinstance(error, LockLost):
            self._ledger.note("r", self.name, self.number)
        elif isinstance(error, CommitUncertain):
            self._ledger.note("u", self.name, self.number)
            self._names += 1
            self.name, self.number = f"{self._base}'{self._names}", 1
        else:
            self._ledger.note("w", f"{self.name} {self.number}: {type(error).__name__}: {error}")
            self._names += 1
            self.name, self.number = f"{self._base}'{self._names}", 1


def _writes(client: Client, name: str, ledger: Ledger, plant: str) -> None:
    line = _Line(name, ledger)
    while True:
        asked = line.ask()
        if plant == "acknowledge before the save":
            line.answered(asked[1])
            client.perform(*asked)
            continue
        try:
            result = client.perform(*asked)
        except Exception as error:  # noqa: BLE001 - judged there
            line.failed(error)
        else:
            line.answered(result)


def _run_tasks(scenario: Scenario, client: OfAsyncStore, name: str, ledger: Ledger) -> None:
    async def writes(number: int) -> None:
        line = _Line(f"{name}.{number}", ledger)
        while True:
            asked = line.ask()
            try:
                result = await client.perform(*asked)
            except Exception as error:  # noqa: BLE001 - judged there
                line.failed(error)
            else:
                line.answered(result)

    async def in_trio() -> None:
        async with trio.open_nursery() as nursery:
            for number in range(scenario.tasks):
                nursery.start_soon(writes, number)

    async def in_asyncio() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(scenario.tasks):
                group.create_task(writes(number))

    if scenario.api == "trio":
        trio.run(in_trio)
    else:
        asyncio.run(in_asyncio())
