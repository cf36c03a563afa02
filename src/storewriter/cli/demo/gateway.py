"""A gateway whose heartbeat bumps the attempts of one commitment, as fast as it can, while it is told to.

As a program, `gateway.py SIDE STORE ID` reads one command a line: `beat` is answered with `beating` once the first bump
is acknowledged, `stop` with how many were. `Gateway` is the other end of its pipes.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import click

from storewriter.cli.demo import before
from storewriter.cli.demo.trials import Side


class Gateway:
    """The gateway process, from this side of its pipes. Use as a context manager."""

    def __init__(self, side: Side, path: str, commitment_id: str) -> None:
        # -P: whatever lies in the working folder is not what we want to import.
        command = [sys.executable, "-P", "-m", __name__, side, path, commitment_id]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def beat(self) -> None:
        """Start the heartbeat; returns when its first bump is acknowledged."""
        self._ask("beat")

    def stop(self) -> int:
        """Stop the heartbeat; returns how many bumps were acknowledged since `beat`."""
        return int(self._ask("stop"))

    def _ask(self, command: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{command}\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            _, errors = self._process.communicate()
            reason = errors.strip().rpartition("\n")[2]
            msg = f"the gateway process ended with exit code {self._process.returncode}: {reason}"
            raise click.ClickException(msg)
        return answer

    def __enter__(self) -> Gateway:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()  # closes its standard input, which ends it


def _bump(side: str, path: str, commitment_id: str) -> Callable[[], object]:
    if side == "before":
        return lambda: before.attempt(path, commitment_id)
    from commitments import CommitmentsStore

    store = CommitmentsStore(path)
    return lambda: store.mark_attempted([commitment_id])


def _beat(bump: Callable[[], object], told_to_stop: threading.Event, began: threading.Event) -> int:
    bumps = 0
    try:
        while not told_to_stop.is_set():
            bump()
            bumps += 1
            began.set()
    finally:
        began.set()
    return bumps


def _serve(bump: Callable[[], object]) -> None:
    with ThreadPoolExecutor(1) as pool:
        while sys.stdin.readline():
            told_to_stop, began = threading.Event(), threading.Event()
            beating = pool.submit(_beat, bump, told_to_stop, began)
            began.wait()
            print("beating", flush=True)
            sys.stdin.readline()
            told_to_stop.set()
            print(beating.result(), flush=True)


if __name__ == "__main__":
    _serve(_bump(*sys.argv[1:]))
