"""Load, modify, save, as it is usually written: every write is atomic, and updates get lost. Do not copy.

Nothing in here is slowed down, and nothing is left out that would help: the file is written whole under another name,
flushed, and renamed. What is missing is a lock from the load to the save.

As a script, `before.py STORE ID` is the command line of such a program: it dismisses one commitment.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from typing import Any


def load(path: str) -> dict[str, Any]:
    """The store."""
    with open(path, encoding="utf-8") as file:
        state: dict[str, Any] = json.load(file)
    return state


def save(path: str, state: dict[str, Any]) -> None:
    """Replace the store atomically: a reader sees the old one or the new one, never a half."""
    fd, spare = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".commitments-")
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        json.dump(state, file, ensure_ascii=False, indent=2)
        file.flush()
        os.fsync(file.fileno())
    os.replace(spare, path)


def mark_dismissed(state: dict[str, Any], commitment_id: str) -> None:
    """Dismiss one commitment, if it is still active."""
    now_ms = time.time_ns() // 1_000_000
    for record in state["commitments"]:
        if record["id"] == commitment_id and record["status"] in ("pending", "snoozed"):
            record.update(status="dismissed", updatedAtMs=now_ms, dismissedAtMs=now_ms)


def mark_attempted(state: dict[str, Any], commitment_id: str) -> None:
    """Count one delivery attempt."""
    now_ms = time.time_ns() // 1_000_000
    for record in state["commitments"]:
        if record["id"] == commitment_id:
            record.update(attempts=record["attempts"] + 1, updatedAtMs=now_ms, lastAttemptAtMs=now_ms)


def dismiss(path: str, commitment_id: str) -> None:
    """Dismiss one commitment of the store."""
    state = load(path)
    mark_dismissed(state, commitment_id)
    save(path, state)


async def dismiss_in_task(path: str, commitment_id: str) -> None:
    """The same in a task; files are read and written off the loop, as they should be."""
    state = await asyncio.to_thread(load, path)
    mark_dismissed(state, commitment_id)
    await asyncio.to_thread(save, path, state)


def attempt(path: str, commitment_id: str) -> None:
    """Count one delivery attempt in the store."""
    state = load(path)
    mark_attempted(state, commitment_id)
    save(path, state)


if __name__ == "__main__":
    dismiss(sys.argv[1], sys.argv[2])
