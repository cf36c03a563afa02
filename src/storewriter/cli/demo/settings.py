"""The writers: two tasks, two threads, two processes; each as before and as after.

A setting makes, for one side, a function that runs one trial on a store that was just restored. What was acknowledged
is then looked up in the file.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager

import attrs
import click

from commitments import AsyncCommitmentsStore, CommitmentsStore
from storewriter.cli.demo import before
from storewriter.cli.demo.gateway import Gateway
from storewriter.cli.demo.subject import Subject
from storewriter.cli.demo.trials import Side, Trial

RunTrial = Callable[[], Trial]


@attrs.frozen
class Setting:
    """One way to have two writers at once."""

    name: str
    """Short name in JSON."""
    title: str
    """Shown as the heading."""
    trials: Callable[[Subject, Side], AbstractContextManager[RunTrial]]
    """Set the writers up and hand out what runs one trial."""


@contextmanager
def _tasks(subject: Subject, side: Side) -> Generator[RunTrial]:
    dismiss = _dismiss_before_in_task if side == "before" else _dismiss_after_in_task

    async def both() -> None:
        await asyncio.gather(dismiss(subject, subject.first), dismiss(subject, subject.second))

    yield lambda: _two_dismissals(subject, lambda: asyncio.run(both()))


async def _dismiss_before_in_task(subject: Subject, commitment_id: str) -> None:
    await before.dismiss_in_task(subject.path, commitment_id)


async def _dismiss_after_in_task(subject: Subject, commitment_id: str) -> None:
    await AsyncCommitmentsStore(subject.path).mark_status([commitment_id], "dismissed")


@contextmanager
def _threads(subject: Subject, side: Side) -> Generator[RunTrial]:
    dismiss = _dismiss_before if side == "before" else _dismiss_after
    at_once = threading.Barrier(2)

    def dismiss_at_once(commitment_id: str) -> None:
        at_once.wait()
        dismiss(subject, commitment_id)

    with ThreadPoolExecutor(2) as pool:

        def both() -> None:
            list(pool.map(dismiss_at_once, (subject.first, subject.second)))

        try:
            yield lambda: _two_dismissals(subject, both)
        finally:
            at_once.abort()  # an interrupt can leave one thread at the barrier, and the pool waits for its threads


def _dismiss_before(subject: Subject, commitment_id: str) -> None:
    before.dismiss(subject.path, commitment_id)


def _dismiss_after(subject: Subject, commitment_id: str) -> None:
    CommitmentsStore(subject.path).mark_status([commitment_id], "dismissed")


def _two_dismissals(subject: Subject, both: Callable[[], None]) -> Trial:
    """Dismiss A and B at once; both calls have returned, so both must be dismissed."""
    both()
    first, second = (subject.record(each)["status"] for each in (subject.first, subject.second))
    lost = (first, second).count("pending")
    return Trial(first=first, second=second, acknowledged=2, lost=lost)


@contextmanager
def _processes(subject: Subject, side: Side) -> Generator[RunTrial]:
    with Gateway(side, subject.path, subject.first) as gateway:
        yield lambda: _bumps_and_a_dismissal(subject, gateway, side)


def _bumps_and_a_dismissal(subject: Subject, gateway: Gateway, side: Side) -> Trial:
    """A gateway bumps the attempts of A while a command line dismisses B."""
    gateway.beat()
    _dismiss_by_command_line(subject, side)
    bumps = gateway.stop()
    counted = subject.record(subject.first)["attempts"]
    status = subject.record(subject.second)["status"]
    return Trial(
        first=f"{counted} of {bumps} attempts",
        second=status,
        acknowledged=bumps + 1,
        lost=bumps - counted + (status != "dismissed"),
    )


def _dismiss_by_command_line(subject: Subject, side: Side) -> None:
    # -P: modules in the working folder must not be imported.
    python = [sys.executable, "-P"]
    if side == "before":
        command = [*python, before.__file__, subject.path, subject.second]
    else:
        command = [*python, "-m", "commitments", "dismiss", subject.second, "--store", subject.path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        msg = f"{' '.join(command)} ended with exit code {done.returncode}: {done.stderr.strip()}"
        raise click.ClickException(msg)


SETTINGS = (
    Setting("tasks", "two tasks of one event loop dismiss A and B", _tasks),
    Setting("threads", "two threads dismiss A and B", _threads),
    Setting("processes", "a gateway process bumps A's attempts, a command line dismisses B", _processes),
)
