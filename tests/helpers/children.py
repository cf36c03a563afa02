"""Real processes that do what they are told and say when they have done it: one line a step, over pipes."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Self

from helpers.waiting import PATIENCE

_PRELUDE = """
import os, signal, sys, threading, time, json
from storewriter import *

def say(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\\n")
    sys.stdout.flush()

def hear():
    line = sys.stdin.readline()
    if not line:
        sys.exit(0)
    return line.strip()

path, *args = sys.argv[1:]
"""


class Child:
    """A Python process that runs a piece of code with `say`, `hear`, `path` and `args` at hand."""

    def __init__(self, code: str, path: object, *args: object, prefix: Sequence[str] = ()) -> None:
        words = [*prefix, sys.executable, "-c", _PRELUDE + code, os.fspath(path), *map(str, args)]  # type: ignore[call-overload]
        self._start(words)

    @classmethod
    def of(cls, words: Sequence[str]) -> Self:
        """Any other program that hears and says lines."""
        child = cls.__new__(cls)
        child._start(words)
        return child

    def _start(self, words: Sequence[str]) -> None:
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def hear(self, patience: float = PATIENCE) -> str:
        """The next line that it says, within so many seconds."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], patience)
        assert ready, "the child hangs"
        line = self.process.stdout.readline()
        assert line, f"the child ended: {self.process.stderr.read() if self.process.stderr else ''}"
        return line.strip()

    def expect(self, line: str, patience: float = PATIENCE) -> None:
        """The next line must be this one."""
        heard = self.hear(patience)
        assert heard == line, heard

    def tell(self, line: str = "go") -> None:
        """Give it a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def finish(self) -> None:
        """It must end by itself, in order."""
        assert self.process.stderr is not None
        code = self.process.wait(PATIENCE)
        assert code == 0, f"exit code {code}: {self.process.stderr.read()}"

    def output(self) -> str:
        """All that it says until it ends."""
        said, wrong = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0, wrong
        return said

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait(PATIENCE)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


@contextlib.contextmanager
def child(code: str, path: object, *args: object, prefix: Sequence[str] = ()) -> Iterator[Child]:
    """Start a child for the length of the block; it is gone afterwards, whatever happened."""
    process = Child(code, path, *args, prefix=prefix)
    try:
        yield process
    finally:
        process.close()


HOLDER = """
with PerStoreWriterQueue().turn(path, label=(args or [None])[0]):
    say("holding")
    hear()
say("released")
"""
"""A process that takes the turn, says so, and gives it back when told."""
