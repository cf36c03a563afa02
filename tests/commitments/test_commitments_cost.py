"""What an update costs beside reading and writing the bytes: counted, not timed, so any machine gives the same."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from commitments_support import ITEM_A, NOW, candidate, record

from commitments import CommitmentsConfig, CommitmentsStore

Write = Callable[..., Path]


def calls_of(work: Callable[[], Any]) -> int:
    """How many Python functions, ours and others, one piece of work enters."""
    entered = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal entered
        entered += event == "call"

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return entered


def test_an_update_takes_steps_in_proportion_to_the_records(write: Write) -> None:
    """Each update gets a state of its own, decoded anew; nothing in it goes through the records more than once for each."""
    found = []
    for size in (100, 1000):
        store = CommitmentsStore(write(*[record(f"r{number}") for number in range(size)]), now_ms=lambda: NOW)
        keys = iter(range(100))
        updates: list[Callable[[], Any]] = [
            lambda store=store, keys=keys: store.upsert(ITEM_A, [candidate(f"new-{next(keys)}")]),
            lambda store=store: store.upsert(ITEM_A, [candidate("new-0")]),
            lambda store=store: store.mark_attempted(["r7"]),
            lambda store=store: store.mark_status(["r8"], "sent"),
        ]
        for update in updates:
            update()  # what is loaded once is loaded here
        found.append([min(calls_of(update) for _ in range(3)) for update in updates])
    small, large = found
    assert all(more < 10.5 * few for few, more in zip(small, large, strict=True)), found


def test_reading_a_store_takes_steps_in_proportion_to_its_records(write: Write) -> None:
    found = []
    for size in (100, 1000):
        store = CommitmentsStore(write(*[record(f"r{number}") for number in range(size)]), now_ms=lambda: NOW)
        found.append(calls_of(store.load))
    small, large = found
    assert large < 10.5 * small


def test_the_sent_records_of_a_session_are_counted_once_not_once_for_each_due_record(write: Write) -> None:
    config = CommitmentsConfig(enabled=True, max_per_day=10_000)
    found = []
    for size in (100, 400):
        sent = [record(f"s{number}", status="sent", sentAtMs=NOW) for number in range(size)]
        due = [record(f"d{number}") for number in range(size)]
        store = CommitmentsStore(write(*sent, *due), now_ms=lambda: NOW)
        found.append(calls_of(lambda store=store: store.due_session_keys(config, "main")))
    small, large = found
    assert large < 4.5 * small
