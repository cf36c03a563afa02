"""Wait for a state, not for a time: patience is long, and only a hang ever uses it up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import anyio

PATIENCE = 30.0
"""Seconds after which we say that it hangs."""

_LOOK = 0.001


def until(condition: Callable[[], object], what: str = "the expected state") -> None:
    """Return as soon as `condition()` holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"never came: {what}"
        threading.Event().wait(_LOOK)


async def until_async(condition: Callable[[], object], what: str = "the expected state") -> None:
    """The same in a task."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"never came: {what}"
        await anyio.sleep(_LOOK)


def wait_for(event: threading.Event, what: str = "an event") -> None:
    """Wait for another thread's event."""
    assert event.wait(PATIENCE), f"never came: {what}"
