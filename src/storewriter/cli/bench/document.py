"""The work that every contender does: one attempt more on one record of a document.

All callers of a measurement bump the same record, so a lost update shows as a count that is too low, whether
the contender keeps one JSON document or a row per record.
"""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

RECORD_ID = "cm_000000"

State = dict[str, Any]


def record(number: int) -> State:
    """Return a record of about 200 bytes, shaped like a commitment."""
    return {
        "id": f"cm_{number:06d}",
        "agentId": "main",
        "status": "pending",
        "text": f"Ask how appointment {number} went, and whether the report has arrived.",
        "dueWindow": {"earliestMs": 1770000000000 + number, "latestMs": 1770003600000 + number},
        "attempts": 0,
    }


def document_of(size: int) -> State:
    """Return a document whose JSON has about `size` bytes; never fewer than one record."""
    each = len(json.dumps(record(0))) + len(f'"{RECORD_ID}": , ')
    records = (record(number) for number in range(max(1, round(size / each))))
    return {"version": 1, "records": {each["id"]: each for each in records}}


def adding(number: int) -> Callable[[State], None]:
    """Return the update that is measured as usually written: a function made for this call, with a value in it."""

    def add(state: State) -> None:
        state["records"][RECORD_ID]["attempts"] += number

    return add


def create_json(path: Path, size: int) -> None:
    """Write the document as one JSON file, in the layout of a new store: a contender that keeps it keeps this one."""
    path.write_text(json.dumps(document_of(size), separators=(",", ":")) + "\n")


def json_attempts(path: Path) -> int:
    """Count the bumps that are in the JSON file at `path`."""
    return int(json.loads(path.read_bytes())["records"][RECORD_ID]["attempts"])


def flush_folder(folder: Path) -> None:
    """Flush the names in `folder`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace(path: Path, data: bytes, *, durable: bool) -> None:
    """Replace the file at `path` atomically, as careful code does by hand."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    os.replace(temporary, path)
    if durable:
        flush_folder(path.parent)


def plain_update(path: Path, *, durable: bool) -> None:  # storewriter: ignore[what others are compared with]
    """Load, modify, save: no lock, so two of these at once may lose an update."""
    state = json.loads(path.read_bytes())
    adding(1)(state)
    replace(path, json.dumps(state).encode(), durable=durable)
