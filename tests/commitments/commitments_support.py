"""What the tests of commitments share: three ways to use a store behind one set of names, records, processes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import anyio

from commitments import AsyncCommitmentsStore, Candidate, CommitmentsConfig, CommitmentsStore, Item, Scope

FIXTURES = Path(__file__).with_name("fixtures")

NOW = 1899374400000
"""2030-03-10T12:00:00Z, the moment for which the fixtures were made."""

HOUR = 3_600_000
DAY = 24 * HOUR
GRACE = 72 * HOUR

SESSION_A = "agent:main:telegram:user-5550101"
SESSION_B = "agent:main:discord:channel-example-42"
SESSION_C = "agent:helper:matrix:room-example"

ENABLED = CommitmentsConfig(enabled=True)

Main = Callable[[], Coroutine[Any, Any, None]]


class Threads:
    """Plain code, in threads."""

    name = "threads"

    def open(self, path: Path | str | None, now_ms: int = NOW) -> Any:
        return _Awaitable(CommitmentsStore(path, now_ms=lambda: now_ms))

    def run(self, main: Main) -> None:
        _run_here(main())

    async def together(self, *works: Callable[[], Awaitable[Any]]) -> list[Any]:
        results: list[Any] = [None] * len(works)

        def work(place: int) -> None:
            results[place] = _run_here(works[place]())

        threads = [threading.Thread(target=work, args=(place,)) for place in range(len(works))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results


class Tasks:
    """Tasks of one event loop."""

    def __init__(self, backend: str) -> None:
        self.name = backend

    def open(self, path: Path | str | None, now_ms: int = NOW) -> Any:
        return AsyncCommitmentsStore(path, now_ms=lambda: now_ms)

    def run(self, main: Main) -> None:
        anyio.run(main, backend=self.name)

    async def together(self, *works: Callable[[], Awaitable[Any]]) -> list[Any]:
        results: list[Any] = [None] * len(works)

        async def work(place: int) -> None:
            results[place] = await works[place]()

        async with anyio.create_task_group() as tasks:
            for place in range(len(works)):
                tasks.start_soon(work, place)
        return results


class _Awaitable:
    """A store of plain code whose methods can be awaited."""

    def __init__(self, store: CommitmentsStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._store, name)
        if not callable(member):
            return member

        async def call(*args: Any, **kwargs: Any) -> Any:
            return member(*args, **kwargs)

        return call


def _run_here(coroutine: Any) -> Any:
    """Run a coroutine that never really waits."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("plain code does not wait for a loop")


Face = Threads | Tasks


def record(id_: str, **fields: Any) -> dict[str, Any]:
    """A valid record of session A, due now, as it stands in a file; fields by their names in the file."""
    window = {"earliestMs": NOW - HOUR, "latestMs": NOW + HOUR, "timezone": "UTC"}
    return {
        "id": id_,
        "agentId": "main",
        "sessionKey": SESSION_A,
        "channel": "telegram",
        "to": "5550101",
        "kind": "event_check_in",
        "sensitivity": "routine",
        "source": "inferred_user_context",
        "status": "pending",
        "reason": f"Reason of {id_}.",
        "suggestedText": f"Text of {id_}?",
        "dedupeKey": f"key:{id_}",
        "confidence": 0.9,
        "dueWindow": window | fields.pop("dueWindow", {}),
        "createdAtMs": NOW - DAY,
        "updatedAtMs": NOW - DAY,
        "attempts": 0,
    } | fields


SCOPE_A = Scope("main", SESSION_A, "telegram", to="5550101")
ITEM_A = Item(SCOPE_A, "msg-1", "run-1")


def candidate(key: str = "audition", **fields: Any) -> Candidate:
    return Candidate(
        **{  # type: ignore[arg-type]
            "kind": "event_check_in",
            "reason": "There was an audition.",
            "suggested_text": "How did it go?",
            "dedupe_key": key,
            "confidence": 0.9,
            "earliest_ms": NOW,
            "latest_ms": NOW + HOUR,
            "timezone": "UTC",
        }
        | fields
    )


def stored(path: Path) -> dict[str, dict[str, Any]]:
    """The records of a file by id, read without any of our code."""
    entries = json.loads(path.read_bytes())["commitments"]
    return {entry["id"]: entry for entry in entries if isinstance(entry, dict) and "id" in entry}


class Child:
    """A process that does one thing per line that it is told, and answers each with one line of JSON."""

    def __init__(self, path: Path) -> None:
        script = Path(__file__).with_name("commitments_child.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script), str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def tell(self, name: str, *args: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([name, *args]) + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the child ended with {self.process.wait()}"
        return json.loads(line)

    def ask(self, name: str, *args: Any) -> Any:
        self.tell(name, *args)
        return self.answer()

    def end(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def run_cli(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command line as a person or a cron job does: in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "commitments", *arguments], capture_output=True, text=True, timeout=60, **options
    )


def ids_of(records: Sequence[Any]) -> list[str]:
    return [record.id for record in records]
