"""Never run: mistakes that both checkers must find, one a line (`test_type_checkers.py`).

A line with a comment `# wrong: ...` must get an error, and no other line.
"""

from __future__ import annotations

from typing import Any

from storewriter import AsyncStore, Backoff, PerStoreWriterQueue, Store
from storewriter.locks import Lease

Store("x.json", lock="flok")  # wrong: no such strategy
Store("x.json", durability="disk")  # wrong: no such durability
Store("x.json", isolation="none")  # wrong: no such isolation
Store("x.json", on_corrupt="reset")  # wrong: no such policy
Store("x.json", default={})  # wrong: a value, not a function that makes it
Store("x.json", backups="3")  # wrong: a text
Store("x.json", queue="flock")  # wrong: a name is given as lock=
Store("x.json", timeout="5")  # wrong: a text
Store(3)  # wrong: not a path
AsyncStore("x.json", lock="flok")  # wrong: no such strategy
PerStoreWriterQueue("flok")  # wrong: no such strategy
PerStoreWriterQueue(lock=Lease)  # wrong: the class instead of an object
PerStoreWriterQueue(timeout="5")  # wrong: a text
PerStoreWriterQueue(also="openclaw")  # wrong: a name
Backoff(jitter="some")  # wrong: no such jitter


def add(state: dict[str, Any], other: int) -> None:
    state["other"] = other


Store("x.json").update(add)  # wrong: a function of two arguments
Store("x.json").transform(len)  # wrong: returns no state
