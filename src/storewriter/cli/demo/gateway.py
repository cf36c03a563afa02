"""A gateway whose heartbeat bumps the attempts of one commitment, as fast as it can, from `beat` to `stop`.

As a program, `gateway.py SIDE STORE ID` reads one command a line: `beat` is answered with `beating` once the first bump
is acknowledged, `stop` with how many were. `Gateway` is the other end of its pipes.

The process ends when its standard input ends, whatever its heartbeat waits for: so it does not outlive the demo, even
one that is killed. It is in a process group of its own, so Ctrl-C reaches the demo only, which then kills it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from types import TracebackType

import click

from storewriter.cli.demo import before
from storewriter.cli.demo.trials import Side


class Gateway:
    """The gateway process, from this side of its pipes. Use as a context manager."""

    def __init__(self, side: Side, path: str, commitment_id: str) -> None:
        # -P: modules in the working folder must not be imported.
        command = [sys.executable, "-P", "-m", __name__, side, path, commitment_id]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, process_group=0)

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
        # What it writes is thrown away with the demo's folder, so it need not end in order.
        self._process.kill()
        with self._process:  # closes the pipes and waits
            pass


def _bump(side: str, path: str, commitment_id: str) -> Callable[[], object]:
    if side == "before":
        return lambda: before.attempt(path, commitment_id)
    from commitments import CommitmentsStore

    store = CommitmentsStore(path)
    return lambda: store.mark_attempted([commitment_id])


class _Heartbeat:
    """Bumps in a thread of its own. Daemonic: the process does not wait for it when standard input has ended."""

    def __init__(self, bump: Callable[[], object]) -> None:
        self._bump = bump
        self._bumps = 0
        self._began = threading.Event()
        self._should_stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._began.wait()

    def stop(self) -> int:
        """End it; returns how many bumps were acknowledged."""
        self._should_stop.set()
        self._thread.join()
        return self._bumps

    def _run(self) -> None:
        try:
            while not self._should_stop.is_set():
                self._bump()
                self._bumps += 1
                self._began.set()
        except BaseException as error:  # noqa: BLE001 - any failure ends the process, and its parent shows the last line
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            sys.stderr.flush()
            os._exit(1)


def _serve(bump: Callable[[], object]) -> None:
    while sys.stdin.readline():
        heartbeat = _Heartbeat(bump)
        print("beating", flush=True)
        if not sys.stdin.readline():
            return
        print(heartbeat.stop(), flush=True)


if __name__ == "__main__":
    _serve(_bump(*sys.argv[1:]))
    os._exit(0)  # at once: a heartbeat that still waits for a lock is left to the kernel
