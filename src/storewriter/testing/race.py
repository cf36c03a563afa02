"""Show whether two calls of a function that changes a file can lose an update, and by which order of steps.

How        The functions get the path of a copy of the file, never the file itself. First they run one after the other,
           in both orders: what they leave then is right. After that:
           * threads, processes: the first call is stopped where it is about to save (an audit event of Python, PEP 578,
             that opens the file for writing or renames another one over it) and has loaded; the second call runs to its
             end; then the first one saves. If the second call does not end, because it waits for a lock, they exclude
             each other.
           * tasks, commands: they run together, some times.
           What the file says then must be what one of the two orders has left. Parts that differ between two runs of
           the same order (times, random identifiers) are compared by their number only.
Does not   prove that there is no race: other steps, and more than two callers, are not tried.
"""

from __future__ import annotations

import inspect
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final, Literal

import anyio
import attrs

from storewriter.per_store_writer_queue import PerStoreWriterQueue

__all__ = ["How", "LostUpdate", "Mutator", "Race", "race", "race_commands"]

How = Literal["threads", "processes", "tasks"]

Backend = Literal["asyncio", "trio"]

Mutator = Callable[[str], Any]
"""Loads the file at a path, changes it and saves it. For tasks: an async function."""

_TOGETHER: Final = 30
"""So many times tasks run together."""


@attrs.frozen
class LostUpdate:
    """One order of steps that loses an update, or fails."""

    how: str
    """How the calls ran: as threads, tasks or processes."""
    steps: tuple[str, ...]
    """The steps, in order. They are as few as there can be: two loads and two saves."""
    found: str
    """What the file says then, shortened."""
    expected: str
    """What it says after the same calls one after the other."""

    def __str__(self) -> str:
        steps = "\n".join(f"  {number}. {step}" for number, step in enumerate(self.steps, 1))
        return f"as {self.how}:\n{steps}\n  the file then says  {self.found}\n  instead of          {self.expected}"


@attrs.frozen
class Race:
    """What `race` has seen."""

    tried: tuple[str, ...]
    """The ways in which the calls ran together."""
    lost: tuple[LostUpdate, ...]
    """The ways in which an update was lost; none if that did not happen."""

    def __str__(self) -> str:
        if not self.lost:
            return f"no update was lost ({', '.join(self.tried)})"
        return "\n".join(["updates are lost", *map(str, self.lost)])


def race(
    first: Mutator,
    second: Mutator | None = None,
    *,
    path: str | os.PathLike[str],
    how: Sequence[How] | None = None,
    in_turns: bool = False,
    patience: float = 1.0,
    backend: Backend = "asyncio",
) -> Race:
    """Run two calls that change a file against each other, on copies of it.

    Args:
        first: called with the path of a copy. It loads, changes and saves.
        second: the other call; None: the same function again.
        path: the file. It may be missing: then the calls begin without one. It is only read.
        how: `threads`, `processes` (forked from this one), `tasks` (of one event loop; the functions are async).
            None: tasks for async functions, and threads and processes for others.
        in_turns: whether each call is made in a turn of storewriter on its file, which shows what that would change.
        patience: seconds after which a second call that has not ended is taken to wait for the first one's lock.
        backend: whose event loop runs tasks: `asyncio` or `trio`.

    Returns:
        What was tried and which updates were lost. An error of a call is raised, if it is raised in a call alone too;
        one that is raised only beside another call counts as a lost update.

    Raises:
        ValueError: a call does not change the file, or `how` is unknown, or not for this kind of function.

    """
    pair = (first, first if second is None else second)
    tried: list[str] = []
    lost: list[LostUpdate] = []
    for way in how or _ways_of(first):
        runner = _RUNNERS.get(way)
        if runner is None:
            raise ValueError(f"how={way!r} is unknown: it is one of {', '.join(_RUNNERS)}")
        calls = [_call(fn, way, in_turns, backend) for fn in pair]
        expected = _one_after_the_other(calls, Path(path))
        tried.append(way)
        outcome = runner(calls, Path(path), expected, patience)
        if outcome is not None:
            lost.append(outcome)
    return Race(tuple(tried), tuple(lost))


def _ways_of(fn: Mutator) -> Sequence[How]:
    return ("tasks",) if inspect.iscoroutinefunction(fn) else ("threads", "processes")


def race_commands(
    words: Sequence[str],
    *,
    path: str | os.PathLike[str],
    callers: int = 4,
    rounds: int = 10,
    in_turns: bool = False,
) -> Race:
    """Run a command several times at once, on copies of a file that it changes.

    Args:
        words: the command; `{}` in a word stands for the path of the copy, which is in its environment as `STORE` too.
        path: the file. It may be missing. It is only read.
        callers: how many commands run at once; 2 or more.
        rounds: how often that is tried at most.
        in_turns: whether each command runs in a turn of storewriter on the file.

    Returns:
        What was seen. A command's steps cannot be stopped, so the result of a clean race is weaker than `race`'s.

    Raises:
        ValueError: the command does not change the file, fails when it runs alone, or has no `{}` and no `STORE`.
        OSError: it cannot be started.

    """
    queue = PerStoreWriterQueue(timeout=None, warn_after=None)

    def run(copy: str) -> None:
        with queue.turn(copy) if in_turns else nullcontext():
            command = [word.replace("{}", copy) for word in words]
            ended = subprocess.run(command, env={**os.environ, "STORE": copy}, capture_output=True, check=False)
        if ended.returncode:
            said = ended.stderr.decode(errors="replace").strip()
            raise ValueError(f"{words[0]} ended with {ended.returncode}" + (f": {said[-200:]}" if said else ""))

    call = _Call(run, run)
    calls = [call] * callers
    expected = _one_after_the_other(calls, Path(path))
    steps = (f"{callers} commands load the file", "all save it")
    for _ in range(rounds):
        with _copy(Path(path)) as copy, ThreadPoolExecutor(callers) as pool:
            errors = [future.exception() for future in [pool.submit(run, copy) for _ in calls]]
            error = next((str(error) for error in errors if error is not None), None)
            outcome = _judge("commands", steps, copy, expected, error)
        if outcome is not None:
            return Race(("commands",), (outcome,))
    return Race(("commands",), ())


@attrs.frozen
class _Call:
    run: Callable[[str], Any]
    """In this thread, to its end."""
    start: Mutator
    """For tasks: makes the coroutine."""
    backend: Backend = "asyncio"
    """For tasks: whose event loop runs it."""


def _call(fn: Mutator, way: How, in_turns: bool, backend: Backend) -> _Call:
    queue = PerStoreWriterQueue(timeout=None, warn_after=None)  # the second call is meant to wait
    turn: Callable[[str], Any] = queue.turn if in_turns else lambda _: nullcontext()
    if way != "tasks":
        if inspect.iscoroutinefunction(fn):
            raise ValueError(f"how={way!r} needs plain functions, and this one is async: use how='tasks'")

        def run(path: str) -> None:
            with turn(path):
                fn(path)

        return _Call(run, fn)
    if not inspect.iscoroutinefunction(fn):
        raise ValueError("how='tasks' needs async functions")

    async def start(path: str) -> None:
        async with turn(path) if in_turns else _no_turn():
            await fn(path)

    return _Call(lambda path: anyio.run(start, path, backend=backend), start, backend)


@contextmanager
def _copy(path: Path) -> Generator[str]:
    """A copy of the file under its own name, in a folder that goes afterwards."""
    with tempfile.TemporaryDirectory(prefix="race-", ignore_cleanup_errors=True) as folder:
        copy = Path(folder) / path.name
        if path.exists():
            shutil.copy2(path, copy)
        yield str(copy)


class _no_turn:
    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *_: object) -> None: ...


@attrs.frozen
class _Expected:
    """What the calls leave when they run one after the other: in each order, twice."""

    outcomes: tuple[tuple[Any, Any], ...]

    def has(self, found: Any) -> bool:
        """Whether some order explains it."""
        return any(_fits(found, *twins) for twins in self.outcomes)

    def text(self) -> str:
        return _short(self.outcomes[0][0])


def _one_after_the_other(calls: Sequence[_Call], path: Path) -> _Expected:
    start = _content(path)
    twice: list[tuple[Any, Any]] = []
    for order in (calls, calls[::-1]):
        outcomes: list[Any] = []
        for _ in range(2):
            with _copy(path) as copy:
                for call in order:
                    call.run(copy)
                outcomes.append(_content(Path(copy)))
        twice.append((outcomes[0], outcomes[1]))
    if any(start == outcome for pair in twice for outcome in pair):
        raise ValueError(f"the calls leave {path} as it was: there is no update that could be lost")
    return _Expected(tuple(twice))


_ABSENT: Final = "(no file)"


def _content(path: Path) -> Any:
    """What a file says: as JSON if it is that, otherwise its bytes."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return _ABSENT
    try:
        return json.loads(data)
    except ValueError:
        return data


def _fits(found: Any, one: Any, other: Any) -> bool:
    """Whether `found` is like `one`, where that is like `other`: what differs between the two is random."""
    kind = one.__class__
    if not (kind is other.__class__ is found.__class__):
        return bool(found == one) or kind is not other.__class__
    if kind is dict:
        if one.keys() != other.keys():
            return len(found) == len(one)
        return bool(found.keys() == one.keys()) and all(_fits(found[key], one[key], other[key]) for key in one)
    if kind is list:
        return len(found) == len(one) and all(map(_fits, found, one, other))
    return bool(found == one) or one != other


def _short(content: Any) -> str:
    text = content if isinstance(content, str) else repr(content)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _judge(way: str, steps: Sequence[str], copy: str, expected: _Expected, error: str | None) -> LostUpdate | None:
    found = _content(Path(copy))
    if error is not None:
        return LostUpdate(way, tuple(steps), f"{_short(found)}, and a call has failed: {error}", expected.text())
    return None if expected.has(found) else LostUpdate(way, tuple(steps), _short(found), expected.text())


_stops: dict[int, tuple[str, Callable[[], object]]] = {}
"""By thread: the real path of the file that it changes, and what happens before it is saved."""
_is_hooked = False


def _audit(event: str, arguments: tuple[Any, ...]) -> None:  # pragma: no cover - CPython traces no audit hook
    """See `sys.addaudithook`. It stays for the life of the process, so it looks at `_stops` first."""
    if not _stops or event not in ("open", "os.rename", "os.truncate"):
        return
    entry = _stops.get(threading.get_ident())
    if entry is None:
        return
    target, stop = entry
    if _saves(event, arguments, target):
        del _stops[threading.get_ident()]
        stop()


def _saves(event: str, arguments: tuple[Any, ...], target: str) -> bool:  # pragma: no cover - in the hook
    name = _text_of(arguments[1] if event == "os.rename" else arguments[0])
    if name is None or os.path.basename(name) != os.path.basename(target) or os.path.realpath(name) != target:
        return False
    if event != "open":
        return True
    _, mode, flags = arguments
    if isinstance(mode, str):
        return any(letter in mode for letter in "wax+")
    return bool(flags & (os.O_WRONLY | os.O_RDWR))


def _text_of(name: Any) -> str | None:  # pragma: no cover - in the hook
    """A path as text; None for a descriptor."""
    return None if isinstance(name, int) else os.fsdecode(name)


def _stop_before_save(path: str, stop: Callable[[], object]) -> None:
    """Have this thread call `stop` once, before it saves the file."""
    global _is_hooked
    if not _is_hooked:
        sys.addaudithook(_audit)
        _is_hooked = True
    _stops[threading.get_ident()] = (os.path.realpath(path), stop)


_STEPS: Final = (
    "the first call loads the file",
    "the second call loads the file, and saves it",
    "the first call saves the file",
)


def _run_stopped(call: _Call, path: str, stops: bool, caller: _Thread | _Process) -> str | None:
    """Make a call, stopped before it saves if `stops`. Returns what it has raised, as text."""

    def stop() -> None:  # pragma: no cover - in the hook
        caller.is_there.set()
        caller.may_go_on.wait()

    try:
        if stops:
            _stop_before_save(path, stop)
        call.run(path)
    except Exception as error:  # noqa: BLE001 - what a caller's function raises is reported
        return f"{type(error).__name__}: {error}"
    finally:
        _stops.pop(threading.get_ident(), None)
        caller.is_there.set()
    return None


class _Thread:
    """A call in a thread that stops before it saves."""

    def __init__(self, call: _Call, path: str, *, stops: bool) -> None:
        self.is_there = threading.Event()
        """It is about to save, or has ended."""
        self.may_go_on = threading.Event()
        self.error: str | None = None
        self._thread = threading.Thread(target=self._run, args=(call, path, stops), daemon=True)
        self._thread.start()

    def _run(self, call: _Call, path: str, stops: bool) -> None:
        self.error = _run_stopped(call, path, stops, self)

    def has_ended(self, patience: float | None) -> bool:
        self._thread.join(patience)
        return not self._thread.is_alive()


class _Process:
    """The same in a forked process."""

    def __init__(self, call: _Call, path: str, *, stops: bool) -> None:
        context = multiprocessing.get_context("fork")
        self.is_there = context.Event()
        self.may_go_on = context.Event()
        self._errors = context.SimpleQueue()
        self._process = context.Process(target=self._run, args=(call, path, stops), daemon=True)
        self._process.start()

    def _run(self, call: _Call, path: str, stops: bool) -> None:
        error = _run_stopped(call, path, stops, self)
        if error is not None:
            self._errors.put(error)

    def has_ended(self, patience: float | None) -> bool:
        self._process.join(patience)
        return self._process.exitcode is not None

    @property
    def error(self) -> str | None:
        if not self._errors.empty():
            return str(self._errors.get())
        return None if self._process.exitcode == 0 else f"exit code {self._process.exitcode}"


def _stopped(way: str, start: type[_Thread] | type[_Process]) -> Callable[..., LostUpdate | None]:
    def run(calls: Sequence[_Call], path: Path, expected: _Expected, patience: float) -> LostUpdate | None:
        with _copy(path) as copy:
            one = start(calls[0], copy, stops=True)
            one.is_there.wait()
            other = start(calls[1], copy, stops=False)
            other.has_ended(patience)  # if not, it waits for a lock of the first
            one.may_go_on.set()
            one.has_ended(None)
            other.has_ended(None)
            return _judge(way, _STEPS, copy, expected, one.error or other.error)

    return run


def _tasks(calls: Sequence[_Call], path: Path, expected: _Expected, patience: float) -> LostUpdate | None:
    steps = ("both calls load the file, one after the other", "both save it, one after the other")
    for _ in range(_TOGETHER):
        with _copy(path) as copy:
            error = anyio.run(_together, calls, copy, backend=calls[0].backend)
            outcome = _judge("tasks", steps, copy, expected, error)
        if outcome is not None:
            return outcome
    return None


async def _together(calls: Sequence[_Call], path: str) -> str | None:
    """Make the calls as tasks. Returns what the first one that failed has raised, as text."""
    errors: list[str] = []

    async def make(call: _Call) -> None:
        try:
            await call.start(path)
        except Exception as error:  # noqa: BLE001 - what a caller's function raises is reported
            errors.append(f"{type(error).__name__}: {error}")

    async with anyio.create_task_group() as group:
        for call in calls:
            group.start_soon(make, call)
    return errors[0] if errors else None


_RUNNERS: Final[dict[str, Callable[..., LostUpdate | None]]] = {
    "threads": _stopped("threads", _Thread),
    "processes": _stopped("processes", _Process),
    "tasks": _tasks,
}
