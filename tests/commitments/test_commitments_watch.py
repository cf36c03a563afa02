"""Following a store: the listing now, and again after every change of any process."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from commitments_support import GRACE, NOW, Child, record, run_cli

from commitments import AsyncCommitmentsStore, CommitmentsStore
from storewriter import StoreCorrupt

Write = Callable[..., Path]
Start = Callable[[Path], Child]


def statuses(listing: Any) -> list[tuple[str, str]]:
    return [(each.id, each.status) for each in listing.commitments]


def test_each_change_of_another_process_shows(write: Write, start_child: Start) -> None:
    path = write(record("a"), record("b"))
    child = start_child(path)
    with closing(CommitmentsStore(path, now_ms=lambda: NOW).watch()) as listings:  # type: ignore[type-var]
        assert statuses(next(listings)) == [("a", "pending"), ("b", "pending")]
        child.ask("dismiss", "a")
        assert statuses(next(listings)) == [("a", "dismissed"), ("b", "pending")]
        child.ask("sent", "b")
        assert statuses(next(listings)) == [("a", "dismissed"), ("b", "sent")]


def test_to_tasks_as_well(write: Write, start_child: Start, backend: str) -> None:
    path = write(record("a"))
    child = start_child(path)

    async def main() -> None:
        async with aclosing(AsyncCommitmentsStore(path, now_ms=lambda: NOW).watch()) as listings:  # type: ignore[type-var]
            assert statuses(await anext(listings)) == [("a", "pending")]
            child.ask("dismiss", "a")
            assert statuses(await anext(listings)) == [("a", "dismissed")]

    anyio.run(main, backend=backend)


def test_what_was_replaced_before_anybody_asked_is_left_out_but_the_last_never(write: Write) -> None:
    path = write(record("a"), record("b"), record("c"))
    store = CommitmentsStore(path, now_ms=lambda: NOW)
    with closing(store.watch(status="pending")) as listings:  # type: ignore[type-var]
        next(listings)
        for id_ in "abc":
            store.mark_status([id_], "sent")
        assert statuses(next(listings)) == []


def test_what_has_expired_shows_as_expired_and_nothing_is_saved(write: Write) -> None:
    path = write(record("old", dueWindow={"earliestMs": 1, "latestMs": NOW - GRACE - 1}))
    before = path.read_bytes()
    with closing(CommitmentsStore(path, now_ms=lambda: NOW).watch()) as listings:  # type: ignore[type-var]
        assert statuses(next(listings)) == [("old", "expired")]
    assert path.read_bytes() == before


def test_a_store_that_appears_shows(tmp_path: Path) -> None:
    path = tmp_path / "commitments.json"
    with closing(CommitmentsStore(path).watch(agent_id="main")) as listings:  # type: ignore[type-var]
        assert statuses(next(listings)) == []
        options = [
            "--agent",
            "main",
            "--session",
            "s",
            "--channel",
            "c",
            "--text",
            "t",
            "--reason",
            "r",
            "--due",
            "+1h",
        ]
        run_cli("add", *options, "--store", str(path))
        assert [status for _, status in statuses(next(listings))] == ["pending"]


def test_a_file_that_cannot_be_read_is_an_error(write: Write) -> None:
    path = write(record("a"))
    with closing(CommitmentsStore(path).watch()) as listings:  # type: ignore[type-var]
        next(listings)
        path.write_bytes(b"{")
        with pytest.raises(StoreCorrupt, match=str(path)):
            next(listings)
