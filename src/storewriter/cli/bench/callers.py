"""Callers of one process: they update as fast as they can for a while, and every call is timed."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import attrs

from storewriter.cli.bench.contender import AsyncUpdate, Update

HEARTBEAT = 0.002
"""Seconds between two beats of the loop whose stalls are measured."""


@attrs.frozen
class Window:
    """When callers call: from `start` to `stop`, in nanoseconds of the clock that all processes share."""

    start: int
    stop: int
    limit: int | None = None
    """At most so many calls of each caller, where the number matters and not the time."""

    def is_open(self, calls: int) -> bool:
        """Whether a caller that has made so many calls makes another one."""
        return time.monotonic_ns() < self.stop and (self.limit is None or calls < self.limit)

    @property
    def until_start(self) -> float:
        """Seconds to wait for the start; 0 if it has passed."""
        return max(0.0, (self.start - time.monotonic_ns()) / 1e9)


Gate = Callable[[], Window]
"""Says that the callers of this process are ready, and blocks until it is known when they call."""


@attrs.define
class CallerRecord:
    """What one caller saw."""

    waits: list[int] = attrs.Factory(list[int])
    """How long each acknowledged call took, in nanoseconds, without the warm-up."""
    in_window: int = 0
    """The calls that were acknowledged before the window closed."""
    acknowledged: int = 0
    """All acknowledged calls, the warm-up too: so many bumps must be in the document."""
    errors: int = 0
    first_error: str | None = None

    @property
    def calls(self) -> int:
        """The calls made in the window, whatever became of them."""
        return len(self.waits) + self.errors

    def succeeded(self, began: int, window: Window) -> None:
        """Note a call of the window that was acknowledged just now."""
        now = time.monotonic_ns()
        self.waits.append(now - began)
        self.acknowledged += 1
        self.in_window += now <= window.stop

    def failed(self, error: Exception) -> None:
        """Note a call of the window that was refused."""
        self.errors += 1
        self.first_error = self.first_error or f"{type(error).__name__}: {error}"


def run_threads(opened: Callable[[], Update], threads: int, gate: Gate) -> list[CallerRecord]:
    """Let `threads` callers call at the same time; a single one calls from the main thread."""
    windows: list[Window] = []
    barrier = threading.Barrier(threads, action=lambda: windows.append(gate()))

    def caller() -> CallerRecord:
        try:
            update = opened()
            record = CallerRecord()
            _warm_up(update, record)
        except BaseException:
            barrier.abort()  # the others must not wait for us
            raise
        barrier.wait()
        _call(update, windows[0], record)
        return record

    if threads == 1:
        return [caller()]
    with ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(caller) for _ in range(threads)]
    return _results([future.exception() or future.result() for future in futures])


def _results(outcomes: Sequence[CallerRecord | BaseException]) -> list[CallerRecord]:
    failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    causes = [failure for failure in failures if not isinstance(failure, threading.BrokenBarrierError)]
    if failures:
        raise (causes or failures)[0]
    return [outcome for outcome in outcomes if isinstance(outcome, CallerRecord)]


def _warm_up(update: Update, record: CallerRecord) -> None:
    try:
        update()
    except Exception as error:  # noqa: BLE001 - whatever a contender raises is its result
        record.failed(error)
    else:
        record.acknowledged += 1


def _call(update: Update, window: Window, record: CallerRecord) -> None:
    time.sleep(window.until_start)
    calls = 0
    while window.is_open(calls):
        calls += 1
        began = time.monotonic_ns()
        try:
            update()
        except Exception as error:  # noqa: BLE001 - whatever a contender raises is its result
            record.failed(error)
        else:
            record.succeeded(began, window)


@attrs.define
class Heartbeat:
    """A task that wants to run every `HEARTBEAT` seconds, and notes by how much it was kept waiting."""

    worst: int = 0
    """The longest stall so far, in nanoseconds."""

    def restart(self) -> int:
        """Forget the worst stall and return it."""
        worst, self.worst = self.worst, 0
        return worst

    async def beat(self) -> None:
        """Beat until cancelled."""
        while True:
            began = time.monotonic_ns()
            await asyncio.sleep(HEARTBEAT)
            late = time.monotonic_ns() - began - round(HEARTBEAT * 1e9)
            self.worst = max(self.worst, late)


@attrs.frozen
class TaskRecords:
    """What the tasks of one event loop saw, and how long they kept it from running, in nanoseconds."""

    callers: list[CallerRecord]
    first_stall: int
    """Worst stall during the warm-up: a contender may have to decode the document for the first time."""
    loop_stall: int
    """Worst stall afterwards."""


async def run_tasks(opened: Callable[[], AsyncUpdate], tasks: int, gate: Gate) -> TaskRecords:
    """Let `tasks` callers on one event loop call at the same time, beside a heartbeat."""
    heartbeat = Heartbeat()
    beating = asyncio.create_task(heartbeat.beat())
    await asyncio.sleep(0)  # let it begin: what happens next may hold the loop
    records = [CallerRecord() for _ in range(tasks)]
    updates = [opened() for _ in range(tasks)]
    await _async_warm_up(updates[0], records[0])
    await asyncio.sleep(HEARTBEAT)  # so that the heartbeat sees what the warm-up did
    first_stall = heartbeat.restart()
    window = gate()
    await asyncio.sleep(max(window.until_start, 2 * HEARTBEAT))
    heartbeat.restart()  # waiting at the gate held the loop, but was not the contender's doing
    await asyncio.gather(
        *(_async_call(update, window, record) for update, record in zip(updates, records, strict=True))
    )
    await asyncio.sleep(HEARTBEAT)
    beating.cancel()
    return TaskRecords(records, first_stall, heartbeat.worst)


async def _async_warm_up(update: AsyncUpdate, record: CallerRecord) -> None:
    try:
        await update()
    except Exception as error:  # noqa: BLE001 - whatever a contender raises is its result
        record.failed(error)
    else:
        record.acknowledged += 1


async def _async_call(update: AsyncUpdate, window: Window, record: CallerRecord) -> None:
    calls = 0
    while window.is_open(calls):
        calls += 1
        began = time.monotonic_ns()
        try:
            await update()
        except Exception as error:  # noqa: BLE001 - whatever a contender raises is its result
            record.failed(error)
        else:
            record.succeeded(began, window)
