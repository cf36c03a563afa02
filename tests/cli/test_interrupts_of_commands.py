"""Ctrl-C, and the sudden death of a command: it ends with 130, and no process that it started outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from helpers.waiting import PATIENCE, until
from storewriter.__main__ import run
from storewriter.cli import commands
from storewriter.cli.demo import settings, subject

MARK = "STOREWRITER_TEST_OF_INTERRUPTS"


class Command:
    """A `storewriter` command in a session of its own, and every process that it has started, by their environment."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._mark = str(folder)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "storewriter", *arguments, "--folder", str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", MARK: self._mark},
            start_new_session=True,
        )

    def wait_for_line(self, beginning: str) -> None:
        """Read what it prints until a line begins like this."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(beginning):
                return
        pytest.fail(f"it never printed {beginning!r}: {self.process.stderr.read() if self.process.stderr else ''}")

    def started(self, words: str) -> bool:
        """Whether a process of it with these words in its command line runs now."""
        return any(words in " ".join(_command_line(each)) for each in self.alive())

    def alive(self) -> list[psutil.Process]:
        """Its processes, itself included, that have not ended."""
        return [each for each in psutil.process_iter() if self._is_ours(each)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == self._mark
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False

    def end(self) -> None:
        """SIGKILL for what is left of it."""
        for each in self.alive():
            each.kill()
        self.process.communicate(timeout=PATIENCE)


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


@pytest.fixture
def started() -> Iterator[Callable[..., Command]]:
    """Start commands; what is left of them afterwards is killed."""
    commands: list[Command] = []

    def start(folder: Path, *arguments: str) -> Command:
        commands.append(Command(folder, *arguments))
        return commands[-1]

    yield start
    for command in commands:
        command.end()


def to_the_group(command: Command) -> None:
    """What a terminal does on Ctrl-C."""
    os.killpg(command.process.pid, signal.SIGINT)


def to_the_command(command: Command) -> None:
    """What `kill -INT` does, and a program that runs the command in the background."""
    command.process.send_signal(signal.SIGINT)


SENDERS = [to_the_group, to_the_command]


def assert_it_ends(command: Command, folder: Path, code: int = 130) -> None:
    _, errors = command.process.communicate(timeout=PATIENCE)
    assert (command.process.returncode, errors.strip()) == (code, "")
    until(lambda: not command.alive(), "the end of every process it started")
    assert list(folder.iterdir()) == []


GATEWAY = "storewriter.cli.demo.gateway"

POINTS = {
    "tasks": ["before: two tasks", "trial 3:"],
    "threads": ["before: two threads", "trial 2:"],
    "threads through storewriter": ["after: two threads", "trial 2:"],
    "the gateway starts": ["before: a gateway"],
    "the gateway beats": ["before: a gateway", "trial 1:"],
    "the gateway beats through storewriter": ["after: a gateway", "trial 1:"],
}
"""Where the interrupt comes: after lines that begin like these, one after the other."""


@pytest.mark.parametrize("send", SENDERS)
@pytest.mark.parametrize("lines", POINTS.values(), ids=POINTS)
def test_the_demo_ends_with_130_and_leaves_no_process(
    started: Callable[..., Command], tmp_path: Path, lines: list[str], send: Callable[[Command], None]
) -> None:
    demo = started(tmp_path, "demo", "--trials", "3")
    for line in lines:
        demo.wait_for_line(line)
    send(demo)
    assert_it_ends(demo, tmp_path)


@pytest.mark.parametrize("send", SENDERS)
@pytest.mark.parametrize("side", ["before", "after"])
def test_the_demo_ends_while_the_command_line_dismisses(
    started: Callable[..., Command], tmp_path: Path, side: str, send: Callable[[Command], None]
) -> None:
    dismissing = "before.py" if side == "before" else "dismiss"
    demo = started(tmp_path, "demo", "--trials", "3")
    demo.wait_for_line(f"{side}: a gateway")
    until(lambda: demo.started(dismissing), "a dismissal")
    send(demo)
    assert_it_ends(demo, tmp_path)


def test_a_second_interrupt_leaves_no_process_either(started: Callable[..., Command], tmp_path: Path) -> None:
    demo = started(tmp_path, "demo", "--trials", "3")
    demo.wait_for_line("before: a gateway")
    for _ in range(2):
        to_the_group(demo)
    demo.process.communicate(timeout=PATIENCE)
    assert demo.process.returncode == 130
    until(lambda: not demo.alive(), "the end of every process it started")


def test_the_gateway_does_not_outlive_a_demo_that_is_killed(started: Callable[..., Command], tmp_path: Path) -> None:
    demo = started(tmp_path, "demo", "--trials", "3")
    demo.wait_for_line("after: a gateway")
    until(lambda: demo.started(GATEWAY), "the gateway")
    demo.process.kill()
    until(lambda: not demo.alive(), "the end of every process it started")


@pytest.mark.parametrize("send", SENDERS)
@pytest.mark.parametrize("setting", ["flock", "lease"])
def test_the_benchmark_ends_with_130_and_leaves_no_process(
    started: Callable[..., Command], tmp_path: Path, setting: str, send: Callable[[Command], None]
) -> None:
    bench = started(tmp_path, "bench", "--only", setting, "--window", "60s")
    until(lambda: list(tmp_path.glob("*/bench-*/state")), "a measurement")
    send(bench)
    assert_it_ends(bench, tmp_path)


def test_no_measurement_outlives_a_benchmark_that_is_killed(started: Callable[..., Command], tmp_path: Path) -> None:
    bench = started(tmp_path, "bench", "--only", "flock", "--window", "60s")
    until(lambda: list(tmp_path.glob("*/bench-*/state")), "a measurement")
    bench.process.kill()
    until(lambda: not bench.alive(), "the end of every process it started")


def test_an_interrupt_while_the_commands_are_imported_ends_with_130() -> None:
    probe = """
import sys, types
from storewriter.__main__ import main

class Interrupted:
    def find_spec(self, name, path, target=None):
        if name == "storewriter.cli.commands":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupted())
main()
"""
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "")


def test_an_interrupt_between_the_two_threads_does_not_leave_one_waiting_for_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Pool(ThreadPoolExecutor):
        calls = 0

        def submit(self, *args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if self.calls == 2:
                raise KeyboardInterrupt
            return super().submit(*args, **kwargs)

    monkeypatch.setattr(settings, "ThreadPoolExecutor", Pool)
    fought_over = subject.in_folder(str(tmp_path))
    (threads,) = (each for each in settings.SETTINGS if each.name == "threads")
    with pytest.raises(KeyboardInterrupt), threads.trials(fought_over, "before") as run_trial:
        fought_over.restore()
        run_trial()


def test_what_the_interrupted_work_leaves_half_made_reports_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class HalfMade:
        def __del__(self) -> None:
            raise ValueError("like an event loop that was interrupted while it was made")

    def interrupted(_: object) -> None:
        half_made = HalfMade()
        assert half_made
        raise KeyboardInterrupt

    monkeypatch.setattr(commands.storewriter, "invoke", interrupted)

    assert run(["demo"]) == 130
    assert capfd.readouterr().err == ""
