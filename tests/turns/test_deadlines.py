"""Time is counted once: `timeout` and `warn_after` mean the whole wait, for every kind of holder."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import anyio
import pytest

from helpers.children import child
from storewriter import LockTimeout, PerStoreWriterQueue, events

HOLDER = """
with PerStoreWriterQueue(lock=args[0]).turn(path):
    say("holding")
    hear()
"""


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
def test_whoever_waits_for_another_process_waits_for_its_timeout_and_no_longer(path: Path, lock: str, how: str) -> None:
    with child(HOLDER, path, lock) as holder:
        holder.expect("holding")
        error = _asks(PerStoreWriterQueue(lock, timeout=0.4, warn_after=None), path, how)  # type: ignore[arg-type]
        assert 0.4 <= error.waited < 0.75


@pytest.mark.parametrize("how", ["plain", "asyncio", "trio"])
def test_the_warning_comes_after_warn_after_and_no_later(path: Path, how: str, caplog: Any) -> None:
    warned: list[float] = []
    end = events.subscribe(lambda event: warned.append(event.waited) if isinstance(event, events.TurnWaited) else None)
    try:
        with child(HOLDER, path, "flock") as holder, caplog.at_level(logging.WARNING, "storewriter"):
            holder.expect("holding")
            _asks(PerStoreWriterQueue(timeout=0.8, warn_after=0.3), path, how)
    finally:
        end()
    assert len(warned) == 1
    assert 0.3 <= warned[0] < 0.55
