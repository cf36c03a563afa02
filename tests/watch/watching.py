"""Watches whose one source of news is known, and programs that are no friends of ours."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

from helpers.lines import Worker
from helpers.waiting import wait_for
from storewriter import AsyncStore, Backoff, Store

NEVER = Backoff(minimum=1000.0, maximum=1000.0, jitter="none")
"""A pace at which only an event can bring news: a test that lacks one hangs, and says so."""

OFTEN = Backoff(minimum=0.002, maximum=0.002, jitter="none")
"""A pace at which looking alone is quick."""

PACES = {"events": NEVER, "looking": OFTEN}


def watch(store: Store[Any] | AsyncStore[Any], way: str, **options: Any) -> Any:
    """A watch that learns of changes in one way only: by `events` or by `looking`."""
    return store.watch(**{"poll": PACES[way], "events": way == "events", **options})


def ask(states: Any) -> Worker:
    """Ask for the next state in a thread; returns when it has found no news and is about to wait."""
    wait, waits = states._wait, threading.Event()

    def wait_and_say_so(seconds: float) -> None:
        waits.set()
        wait(seconds)

    states._wait = wait_and_say_so
    worker = Worker(lambda: next(states))
    wait_for(waits)
    states._wait = wait
    return worker


def put(path: Path, text: str, *, name: str = ".foreign") -> None:
    """Replace a document as other programs do: a file beside it, renamed over it, and no lock."""
    beside = path.with_name(name)
    beside.write_text(text)
    os.replace(beside, path)
