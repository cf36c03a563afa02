"""A user's own lock strategy that misbehaves fails the callers that use it, and no other."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import Any, ClassVar

import pytest

from helpers.lines import Worker
from helpers.waiting import until
from storewriter import LockTimeout, PerStoreWriterQueue
from storewriter._turns import line


class Hold:
    token: str | None = None

    def may_pass(self) -> bool:
        return True

    def check(self) -> None:
        pass

    def fence(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def describe(self, label: str | None) -> None:
        pass

    def release(self) -> None:
        pass


class SaysNothing:
    """Its server knows who holds what, and is down."""

    name = "own"
    is_quick = True
    is_free = False

    def attempt(self, path: str, label: str | None) -> Any:
        return Hold() if self.is_free else None

    def owner(self, path: str) -> Any:
        raise OSError("the server that knows is down")


class WaitsForNothing(SaysNothing):
    waits: ClassVar[bool] = True

    def wait(self, path: str, label: str | None) -> Any:
        return None

    def owner(self, path: str) -> Any:
        return None


def test_a_waiter_outlives_a_lock_that_cannot_say_who_is_in_the_way(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lock = SaysNothing()
    queue = PerStoreWriterQueue(lock, timeout=20, warn_after=0.01)

    def ask() -> str:
        with queue.turn(path):
            return "in"

    with caplog.at_level(logging.WARNING, "storewriter"):
        waiter = Worker(ask)
        until(lambda: "held by an unknown process" in caplog.text)
        lock.is_free = True
        assert waiter.result() == "in"
    assert "the server that knows is down" in caplog.text


def test_a_timeout_stays_one_although_the_lock_cannot_say_who_is_in_the_way(path, run) -> None:
    queue = PerStoreWriterQueue(SaysNothing(), timeout=0.02)

    async def main() -> None:
        with pytest.raises(LockTimeout, match="its holder is not known"):
            async with queue.turn(path):
                pass

    run(main)
    with pytest.raises(LockTimeout, match="its holder is not known"), queue.turn(path):
        pass
    until(lambda: line.lanes.get(str(path)) is None)


def test_a_wait_that_brings_nothing_is_an_error_and_not_a_busy_loop(path, run) -> None:
    queue = PerStoreWriterQueue(WaitsForNothing(), timeout=1)

    async def main() -> None:
        with pytest.raises(TypeError, match="without a hold"):
            async with queue.turn(path):
                pass

    run(main)
    with pytest.raises(TypeError, match="without a hold"), queue.turn(path):
        pass
