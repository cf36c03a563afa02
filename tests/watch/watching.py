"""Watches whose one source of news is known, and programs that are no friends of ours."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from storewriter import AsyncStore, Backoff, Store

NEVER = Backoff(minimum=1000.0, maximum=1000.0, jitter="none")
"""A pace at which only an event can bring news: a test that lacks one hangs, and says so."""

OFTEN = Backoff(minimum=0.002, maximum=0.002, jitter="none")
"""A pace at which looking alone is quick."""

PACES = {"events": NEVER, "looking": OFTEN}


def watch(store: Store[Any] | AsyncStore[Any], way: str, **options: Any) -> Any:
    """A watch that learns of changes in one way only: by `events` or by `looking`."""
    return store.watch(**{"poll": PACES[way], "events": way == "events", **options})


def put(path: Path, text: str, *, name: str = ".foreign") -> None:
    """Replace a document as other programs do: a file beside it, renamed over it, and no lock."""
    beside = path.with_name(name)
    beside.write_text(text)
    os.replace(beside, path)
