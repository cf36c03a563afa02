"""The command line `storewriter` in this process, and as a process that gets signals."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from helpers.waiting import PATIENCE
from storewriter.__main__ import run

COMMAND = [sys.executable, "-m", "storewriter"]


class Done(NamedTuple):
    """How a command line has ended."""

    code: int
    out: str
    err: str


class Here:
    """Runs command lines in this process."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd = capfd

    def __call__(self, *arguments: object) -> Done:
        self._capfd.readouterr()
        code = run([os.fspath(each) if isinstance(each, Path) else str(each) for each in arguments])
        return Done(code, *self._capfd.readouterr())


@contextmanager
def started(*arguments: object, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """The command as a process in a session of its own, without a terminal; killed at the end."""
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE)
