"""Time is counted once: `timeout` and `warn_after` mean the whole wait, for every kind of holder."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from helpers.children import child
from storewriter import Backoff, LockTimeout, PerStoreWriterQueue, events
from storewriter._turns import entering, line, waiters

HOLDER = """
with PerStoreWriterQueue(lock=args[0]).turn(path):
    say("holding")
    hear()
"""


class Clock:
    """In place of the module `time`: a sleep puts it forward, by as much as was asked for, and ends at once."""

    time = staticmethod(time.time)

    def __init__(self) -> None:
        self.now = 1e6

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> bool:
        self.now += seconds
        return False


def _asleep(clock: Clock, real: Any) -> Any:
    async def sleep(waiter: Any, seconds: float | None) -> bool:
        # Without a limit a task waits for a call in a thread of its own.
        return clock.sleep(seconds) if seconds is not None else await real(waiter, None)

    return sleep


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (line, entering):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(waiters.ThreadWaiter, "sleep", lambda waiter, seconds: clock.sleep(seconds))
    for waiter in (waiters.AsyncioWaiter, waiters.TrioWaiter):
        monkeypatch.setattr(waiter, "sleep", _asleep(clock, waiter.sleep))
    return clock


def _asks(queue: PerStoreWriterQueue, path: Path, how: str) -> LockTimeout:
    async def task() -> None:
        async with queue.turn(path):
            raise AssertionError

    def plain() -> None:
        with queue.turn(path):
            raise AssertionError

    with pytest.raises(LockTimeout) as caught:
        plain() if how == "plain" else anyio.run(task, backend=how)
    return caught.value


@pytest.mark.parametrize(
    ("lock", "how"), [("flock", "plain"), ("flock", "asyncio"), ("flock", "trio"), ("marker", "asyncio")]
)
def test_whoever_waits_for_another_process_waits_for_its_timeout_and_no_longer(
    path: Path, lock: str, how: str, clock: Clock
) -> None:
    with child(HOLDER, path, lock) as holder:
        holder.expect("holding")
        error = _asks(PerStoreWriterQueue(lock, timeout=400.0, warn_after=None), path, how)  # type: ignore[arg-type]
        assert error.waited == pytest.approx(400.0)


@pytest.mark.parametrize("how", ["plain", "asyncio", "trio"])
def test_the_warning_comes_after_warn_after_and_no_later(path: Path, how: str, caplog: Any, clock: Clock) -> None:
    warned: list[float] = []
    end = events.subscribe(lambda event: warned.append(event.waited) if isinstance(event, events.TurnWaited) else None)
    try:
        with child(HOLDER, path, "flock") as holder, caplog.at_level(logging.WARNING, "storewriter"):
            holder.expect("holding")
            _asks(PerStoreWriterQueue(timeout=800.0, warn_after=300.0), path, how)
    finally:
        end()
    assert warned == [pytest.approx(300.0)]


@pytest.mark.parametrize(
    ("warn_after", "timeout", "first"), [(1.0, 20.0, 1.0), (20.0, 1.0, 1.0), (None, 2.0, 2.0), (2.0, None, 2.0)]
)
def test_the_first_sleep_ends_when_the_first_of_both_is_due(
    warn_after: float | None, timeout: float | None, first: float
) -> None:
    settings = line.Settings(Backoff(), max_pending=None, warn_after=warn_after)
    assert entering._first_pause(line.new_ticket(settings, None, timeout)) == first
