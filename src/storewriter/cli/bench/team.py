"""The processes of one measurement: started one by one, released together, read one by one.

A member is a forked copy of this process, or a program in another language that speaks the same three lines:

    member:  ready                      it has opened the store and warmed up, or holds the turn, or waits
    team:    {"start": ns, "stop": ns}  when to call, on the monotonic clock; the holder of a turn releases it
    member:  {"callers": [...], ...}    what it saw: the fields of `Sighting`
"""

import asyncio
import json
import multiprocessing
import resource
import select
import subprocess
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from typing import Protocol

import attrs

from storewriter.cli.bench.callers import CallerRecord, Window, run_tasks, run_threads
from storewriter.cli.bench.contender import Contender, Target

HEAD_START = 0.03
"""Seconds between letting a team go and the start of its window, so that every member has it by then."""


class MemberFailed(Exception):
    """A process of the team ended before it had said what it saw."""


@attrs.frozen(kw_only=True)
class Sighting:
    """What one process of a team saw. Times are in nanoseconds."""

    callers: list[CallerRecord] = attrs.Factory(list[CallerRecord])
    cpu: int = 0
    """Processor time of the window, of all threads, in the program and in the kernel."""
    user: int = 0
    """What of it was spent in the program; 0 if it is not known."""
    first_stall: int | None = None
    loop_stall: int | None = None
    holds: list[tuple[int, int]] = attrs.Factory(list[tuple[int, int]])
    """From when until when this process was in a turn (only where a timeline is recorded)."""
    entered: int | None = None
    """When a waiter got in (only where a waiter is measured)."""
    gave_up: int = 0
    """How often it was refused before it got in."""


def sighting_from(line: str) -> Sighting:
    """Read what a program wrote."""
    fields = json.loads(line)
    callers = [CallerRecord(**each) for each in fields.pop("callers", [])]
    return Sighting(callers=callers, **fields)


class Member(Protocol):
    """A process of a team, seen from the team."""

    def wait_until_ready(self) -> None:
        """Block until it is ready; raise `MemberFailed` if it never will be."""
        ...

    def go(self, window: Window) -> None:
        """Send it the window in which to call."""
        ...

    def sighting(self, timeout: float | None = None) -> Sighting | None:
        """Block until it reports what it saw; None if it has not within `timeout` seconds."""
        ...

    def kill(self) -> int:
        """End it with SIGKILL, wait for its end, and return when the signal was sent (monotonic nanoseconds)."""
        ...


@attrs.frozen(kw_only=True)
class Job:
    """What the members of a team are to do."""

    contender: Contender
    target: Target
    threads: int = 1
    tasks: int = 0
    """Callers on one event loop; 0 for callers in threads."""


@attrs.frozen
class Mode:
    """What each member does with its job."""

    name: str
    """How a program in another language is told."""
    run: Callable[[Job, Connection], Sighting]
    """What a forked member runs. It says that it is ready by sending None, and may receive its window then."""


def start(job: Job, mode: Mode) -> Member:
    """Start one process of a team."""
    if job.contender.program is not None:
        return ProgramMember.start(job.contender.program(job.target, mode.name, max(job.tasks, job.threads)))
    return ForkedMember.start(job, mode)


def measure_together(job: Job, mode: Mode, processes: int, seconds: float, limit: int | None) -> list[Sighting]:
    """Let `processes` members call in the same window, and gather what they saw."""
    members = [start(job, mode) for _ in range(processes)]
    for member in members:
        member.wait_until_ready()
    window = window_of(seconds, limit)
    for member in members:
        member.go(window)
    return [reported(member) for member in members]


def window_of(seconds: float, limit: int | None) -> Window:
    """Return a window that opens as soon as every member can have received it."""
    begin = time.monotonic_ns() + round(HEAD_START * 1e9)
    return Window(begin, begin + round(seconds * 1e9), limit)


def reported(member: Member) -> Sighting:
    """Block until a member reports what it saw; `MemberFailed` if it reports nothing."""
    sighting = member.sighting()
    if sighting is None:
        raise MemberFailed("a member said nothing")
    return sighting


@attrs.frozen
class ForkedMember:
    """A member that runs the contender's Python code in a forked process."""

    process: ForkProcess
    connection: Connection

    @classmethod
    def start(cls, job: Job, mode: Mode) -> "ForkedMember":
        """Fork it."""
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(mode.run, job, theirs), daemon=True)
        process.start()
        theirs.close()  # so that its death ends our reading
        return cls(process, ours)

    def wait_until_ready(self) -> None:
        """See `Member`."""
        self._receive()

    def go(self, window: Window) -> None:
        """See `Member`."""
        self.connection.send(window)

    def sighting(self, timeout: float | None = None) -> Sighting | None:
        """See `Member`."""
        if not self.connection.poll(timeout):
            return None
        sighting = self._receive()
        self.process.join()
        return sighting

    def kill(self) -> int:
        """See `Member`."""
        sent = time.monotonic_ns()
        self.process.kill()
        self.process.join()  # a zombie still counts as alive when its pid is looked up
        return sent

    def _receive(self) -> Sighting | None:
        try:
            said = self.connection.recv()
        except EOFError:
            self.process.join()
            raise MemberFailed(f"a member ended with exit code {self.process.exitcode}") from None
        if isinstance(said, MemberFailed):
            raise said
        return said if isinstance(said, Sighting) else None


@attrs.frozen
class ProgramMember:
    """A member that is a program of its own."""

    process: "subprocess.Popen[str]"

    @classmethod
    def start(cls, command: Sequence[str]) -> "ProgramMember":
        """Start it."""
        pipe = subprocess.PIPE
        return cls(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1))

    def wait_until_ready(self) -> None:
        """See `Member`."""
        line = self._line()
        if line != "ready\n":
            raise MemberFailed(f"a member said {line!r} instead of being ready")

    def go(self, window: Window) -> None:
        """See `Member`."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(attrs.asdict(window)) + "\n")

    def sighting(self, timeout: float | None = None) -> Sighting | None:
        """See `Member`."""
        assert self.process.stdout is not None
        if timeout is not None and not _readable(self.process.stdout.fileno(), timeout):
            return None
        line = self._line()
        self.process.wait()
        return sighting_from(line)

    def kill(self) -> int:
        """See `Member`."""
        sent = time.monotonic_ns()
        self.process.kill()
        self.process.wait()
        return sent

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise MemberFailed(f"a member ended with exit code {self.process.wait()}")
        return line


def _readable(descriptor: int, timeout: float) -> bool:
    return bool(select.select([descriptor], [], [], timeout)[0])


# What a forked member does.


def _serve(mode: Callable[[Job, Connection], Sighting], job: Job, connection: Connection) -> None:
    try:
        connection.send(mode(job, connection))
    except Exception as error:  # noqa: BLE001 - sent to the team, which raises it
        connection.send(MemberFailed(f"{type(error).__name__}: {error}"))


@attrs.define
class Gate:
    """Where a forked member waits for its window; the processor time is counted from there."""

    connection: Connection
    before: tuple[int, int] = (0, 0)

    def __call__(self) -> Window:
        """Say that this member is ready; return its window once it comes."""
        self.connection.send(None)
        window: Window = self.connection.recv()
        self.before = _processor_times()
        return window

    def counted(self, sighting: Sighting) -> Sighting:
        """The sighting with the processor time since the window."""
        cpu, user = (now - before for now, before in zip(_processor_times(), self.before, strict=True))
        return attrs.evolve(sighting, cpu=cpu, user=user)


def _processor_times() -> tuple[int, int]:
    return time.process_time_ns(), round(resource.getrusage(resource.RUSAGE_SELF).ru_utime * 1e9)


def _updates(job: Job, connection: Connection) -> Sighting:
    gate = Gate(connection)
    if not job.tasks:
        assert job.contender.updates is not None
        records = run_threads(job.contender.updates(job.target), job.threads, gate)
        return gate.counted(Sighting(callers=records))
    return gate.counted(asyncio.run(_async_updates(job, gate)))


async def _async_updates(job: Job, gate: Gate) -> Sighting:
    assert job.contender.async_updates is not None
    found = await run_tasks(job.contender.async_updates(job.target), job.tasks, gate)
    return Sighting(callers=found.callers, first_stall=found.first_stall, loop_stall=found.loop_stall)


UPDATES = Mode("updates", _updates)
"""Updates, one after the other, as long as the window is open."""
