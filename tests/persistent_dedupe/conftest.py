"""The three ways to use a dedupe object behind one set of names, and child processes that answer line by line."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from persistent_dedupe import AsyncPersistentDedupe, DedupeOptions, PersistentDedupe
from persistent_dedupe.runner import OneShotResult, run_here
from storewriter.locks import Hold, InProcess

NOW = 1899374400.0
"""The moment at which the fixtures were taken, in seconds since the epoch."""

Main = Callable[[], Coroutine[Any, Any, None]]


class Awaitables:
    """A sync object whose methods can be awaited."""

    def __init__(self, dedupe: PersistentDedupe) -> None:
        self._dedupe = dedupe

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._dedupe, name)
        if not callable(member) or name in ("path", "clear_memory"):
            return member

        async def call(*args: Any, **kwargs: Any) -> Any:
            return member(*args, **kwargs)

        return call


class Threads:
    """Plain code."""

    name = "threads"

    def make(self, location: Any, **options: Any) -> Any:
        return Awaitables(PersistentDedupe(location, DedupeOptions(**options)))

    def run(self, main: Main) -> None:
        run_here(main())

    async def together(self, *works: Callable[[], Awaitable[Any]]) -> list[Any]:
        results: list[Any] = [None] * len(works)

        def work(place: int) -> None:
            results[place] = run_here(works[place]())  # type: ignore[arg-type]

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

    def make(self, location: Any, **options: Any) -> Any:
        return AsyncPersistentDedupe(location, DedupeOptions(**options))

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


@pytest.fixture(params=["threads", "asyncio", "trio"])
def face(request: pytest.FixtureRequest) -> Threads | Tasks:
    return Threads() if request.param == "threads" else Tasks(request.param)


class Child:
    """A process that does one thing per line that it is told, and answers each with one line of JSON."""

    def __init__(self, folder: Path, options: dict[str, Any]) -> None:
        script = Path(__file__).with_name("dedupe_child.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script), str(folder), json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
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

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def start_child(tmp_path: Path) -> Iterator[Callable[..., Child]]:
    children: list[Child] = []

    def start(**options: Any) -> Child:
        child = Child(tmp_path, {"ttl": 3600, "durability": "process", **options})
        children.append(child)
        return child

    yield start
    for child in children:
        child.end()


@pytest.fixture
def fixtures() -> Path:
    return Path(__file__).with_name("fixtures")


@attrs.define(eq=False)
class Gate:
    """A lock strategy whose commits can be held up, or made to fail, from a test."""

    name: str = "gate"
    is_quick: bool = True
    saving: OneShotResult[bool] = attrs.field(factory=OneShotResult[bool])
    """Set when a save has begun."""
    open: threading.Event = attrs.field(factory=threading.Event)
    """Saves wait until this is set."""
    before: list[Exception] = attrs.field(factory=list)
    """Errors that the next saves meet, one each."""
    after: list[Exception] = attrs.field(factory=list)
    """Errors that the next saves meet once the document is in place."""

    def attempt(self, path: str, label: str | None) -> GatedHold:
        return GatedHold(self, InProcess().attempt(path, label))

    def owner(self, path: str) -> None:
        return None

    @contextlib.contextmanager
    def fence(self, inner: Hold) -> Iterator[None]:
        self.saving.set(True)
        assert self.open.wait(20)
        if self.before:
            raise self.before.pop(0)
        with inner.fence():
            yield
        if self.after:
            raise self.after.pop(0)


class GatedHold:
    def __init__(self, gate: Gate, inner: Hold) -> None:
        self._inner = inner
        self.fence = lambda: gate.fence(inner)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@pytest.fixture
def gate() -> Gate:
    return Gate()
