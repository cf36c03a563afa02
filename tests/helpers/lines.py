"""Threads that hold, and threads that ask."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from helpers.waiting import PATIENCE, until, wait_for
from storewriter import PerStoreWriterQueue, Turn


class Worker:
    """A thread with a result."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._result: Any = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._call()
        except BaseException as error:  # noqa: BLE001 - raised to the caller that wants the result
            self.error = error

    @property
    def is_done(self) -> bool:
        """Whether it has ended."""
        return not self._thread.is_alive()

    def wait(self, seconds: float = PATIENCE) -> None:
        """Wait for its end, whatever it was."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "a thread hangs"

    def result(self) -> Any:
        """Wait for its end; its result, or its error raised."""
        self.wait()
        if self.error is not None:
            raise self.error
        return self._result


def within(seconds: float, call: Callable[[], Any]) -> Any:
    """What a call returns or raises, in a thread that is given up after so many seconds.

    For calls that may wait for ever where no cancellation ends the wait: a mistake shows at once, and not as a test that
    is ended by the time for all tests.
    """
    worker = Worker(call)
    worker.wait(seconds)
    return worker.result()


class Holding:
    """Another caller's turn, in a thread of its own."""

    def __init__(self, turn: Turn, let_go: threading.Event, worker: Worker) -> None:
        self.turn = turn
        self._let_go = let_go
        self._worker = worker

    def release(self) -> None:
        """End it, and wait until it has ended."""
        self._let_go.set()
        self._worker.result()


@contextlib.contextmanager
def held(queue: PerStoreWriterQueue, *paths: Any, label: str | None = None) -> Iterator[Holding]:
    """Another caller holds the turn during the block, or until `release()`."""
    has_it = threading.Event()
    let_go = threading.Event()
    turns: list[Turn] = []

    def hold() -> None:
        with queue.turn(*paths, label=label) as turn:
            turns.append(turn)
            has_it.set()
            wait_for(let_go, "the end of somebody's turn")

    worker = Worker(hold)
    until(lambda: has_it.is_set() or worker.error is not None, "somebody's turn")
    if worker.error is not None:
        worker.result()
    holding = Holding(turns[0], let_go, worker)
    try:
        yield holding
    finally:
        holding.release()


def lined_up(queue: PerStoreWriterQueue, path: Any, *calls: Callable[[], Any]) -> list[Worker]:
    """Start a thread for every call, each once the one before stands in line. The turn must be held."""
    workers: list[Worker] = []
    before = queue.pending(path)
    for place, call in enumerate(calls, start=before + 1):
        worker = Worker(call)
        until(lambda place=place: queue.pending(path) >= place, f"waiter {place}")  # type: ignore[misc]
        workers.append(worker)
    return workers
