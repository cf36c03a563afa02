"""Programs that write the document without taking its lock, while a function of ours runs: both changes stay."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.companies import TOGETHER, Company
from storewriter import AsyncStore, PerStoreWriterQueue, Store, StoreCorrupt, VersionConflict, events
from storewriter._commits.draft import TRIES

Stranger = Callable[[Path, str], None]


def by_rename(path: Path, key: str) -> None:
    state = json.loads(path.read_text()) if path.exists() else {}
    beside = path.with_name("beside")
    beside.write_text(json.dumps({**state, key: 1}))
    os.replace(beside, path)


def in_place(path: Path, key: str) -> None:
    state = json.loads(path.read_text())
    path.write_text(json.dumps({**state, key: 1}))


def of_the_same_size(path: Path, key: str) -> None:
    """Into the file itself, over a value of the same length."""
    with open(path, "r+") as file:
        state = json.load(file)
        state[key] = 1
        text = json.dumps(state)
        state["room"] = state["room"][len(text) - os.fstat(file.fileno()).st_size :]
        text = json.dumps(state)
        assert len(text) == os.fstat(file.fileno()).st_size
        file.seek(0)
        file.write(text)


def broken(path: Path, key: str) -> None:
    path.write_text("{")


def removed(path: Path, key: str) -> None:
    path.unlink()


STRANGERS = [by_rename, in_place, of_the_same_size]


@pytest.fixture
def seen() -> Iterator[list[events.DocumentChanged]]:
    found: list[events.DocumentChanged] = []
    end = events.subscribe(lambda event: found.append(event) if isinstance(event, events.DocumentChanged) else None)
    yield found
    end()


def write_first(path: Path) -> None:
    path.write_text(json.dumps({"room": "x" * 200}, separators=(",", ":")) + "\n")


def content(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(path.read_text())
    state.pop("room", None)
    return state


class Disturbed:
    """A function during whose first runs a stranger writes."""

    def __init__(self, path: Path, stranger: Stranger, times: int = 1) -> None:
        self.path = path
        self.stranger = stranger
        self.times = times
        self.runs = 0

    def __call__(self, state: dict[str, Any]) -> int:
        self.runs += 1
        if self.runs <= self.times:
            self.stranger(self.path, f"s{self.runs}")
        state["ours"] = state.get("ours", 0) + 1
        return self.runs


@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.parametrize("settings", [{}, {"in_place": True}, {"backups": 2}], ids=["replaced", "in place", "backups"])
@pytest.mark.parametrize("kind", ["update", "transform", *TOGETHER])
def test_both_changes_are_in_the_document(
    kind: str,
    settings: dict[str, Any],
    stranger: Stranger,
    queue: PerStoreWriterQueue,
    path: Path,
    seen: list[events.DocumentChanged],
) -> None:
    write_first(path)
    company = Company(kind, queue, path, **settings)
    fn = Disturbed(path, stranger)
    assert company.apply(fn) == [2]
    assert content(path) == {"s1": 1, "ours": 1}
    assert [event.path for event in seen] == [str(path)]


@pytest.mark.parametrize("durability", ["process", "power"])
def test_a_stranger_makes_the_first_document(
    durability: Any, queue: PerStoreWriterQueue, path: Path, seen: list[events.DocumentChanged]
) -> None:
    fn = Disturbed(path, by_rename)
    assert Store(path, queue=queue, durability=durability).update(fn) == 2
    assert content(path) == {"s1": 1, "ours": 1}
    assert len(seen) == 1


def test_a_stranger_removes_the_document(
    queue: PerStoreWriterQueue, path: Path, seen: list[events.DocumentChanged]
) -> None:
    """The function runs again, on the default."""
    write_first(path)
    fn = Disturbed(path, removed)
    assert Store(path, queue=queue).update(fn) == 2
    assert json.loads(path.read_text()) == {"ours": 1}
    assert len(seen) == 1


@pytest.mark.parametrize("kind", TOGETHER)
def test_all_of_a_batch_begin_anew(
    kind: str, queue: PerStoreWriterQueue, path: Path, seen: list[events.DocumentChanged]
) -> None:
    write_first(path)
    company = Company(kind, queue, path)
    fn = Disturbed(path, by_rename)

    def append(name: str) -> Callable[[Any], None]:
        def change(state: dict[str, Any]) -> None:
            state[name] = state.get(name, 0) + 1

        return change

    outcomes = company.apply(append("before"), fn, append("behind"))
    assert outcomes == [None, 2, None]
    assert content(path) == {"s1": 1, "ours": 1, "before": 1, "behind": 1}
    assert len(seen) == 1


@pytest.mark.parametrize("kind", ["update", *TOGETHER])
@pytest.mark.parametrize("times", [TRIES - 1, TRIES])
def test_tries_are_bounded(
    times: int, kind: str, queue: PerStoreWriterQueue, path: Path, seen: list[events.DocumentChanged]
) -> None:
    """A stranger that writes at every try: VersionConflict, and nothing of ours is in the document."""
    write_first(path)
    company = Company(kind, queue, path)
    fn = Disturbed(path, by_rename, times)
    (outcome,) = company.apply(fn)
    strangers = {f"s{number}": 1 for number in range(1, times + 1)}
    assert fn.runs == TRIES
    assert len(seen) == times
    if times == TRIES:
        assert isinstance(outcome, VersionConflict)
        assert content(path) == strangers
    else:
        assert outcome == TRIES
        assert content(path) == {**strangers, "ours": 1}
    assert not list(path.parent.glob(".*.tmp"))


@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.parametrize("settings", [{}, {"in_place": True}], ids=["replaced", "in place"])
def test_a_transaction_is_refused(
    settings: dict[str, Any], stranger: Stranger, queue: PerStoreWriterQueue, path: Path
) -> None:
    """Its block cannot run again."""
    write_first(path)
    with pytest.raises(VersionConflict):
        with Store(path, queue=queue, **settings).transaction() as tx:
            stranger(path, "s1")
            tx.state["ours"] = 1
    assert content(path) == {"s1": 1}
    assert queue.pending(path) == 0


def test_an_async_transaction_is_refused(queue: PerStoreWriterQueue, path: Path, run: Any) -> None:
    write_first(path)

    async def main() -> None:
        with pytest.raises(VersionConflict):
            async with AsyncStore(path, queue=queue).transaction() as tx:
                by_rename(path, "s1")
                tx.state["ours"] = 1

    run(main)
    assert content(path) == {"s1": 1}


def test_an_async_function_begins_anew(queue: PerStoreWriterQueue, path: Path, run: Any) -> None:
    write_first(path)
    fn = Disturbed(path, by_rename)

    async def change(state: dict[str, Any]) -> int:
        return fn(state)

    async def main() -> int:
        return await AsyncStore(path, queue=queue).update(change)

    assert run(main) == 2
    assert content(path) == {"s1": 1, "ours": 1}


@pytest.mark.parametrize("kind", ["store", "tasks"])
def test_an_expectation_no_longer_holds(kind: str, queue: PerStoreWriterQueue, path: Path, run: Any) -> None:
    """The function runs on the expected state once; then there is another version."""
    write_first(path)
    company = Company("update", queue, path)
    _, version = company.store.read_versioned()
    fn = Disturbed(path, by_rename)

    async def main() -> None:
        await company.tasks.update(fn, expect=version)

    with pytest.raises(VersionConflict):
        if kind == "store":
            company.store.update(fn, expect=version)
        else:
            run(main)
    assert fn.runs == 1
    assert content(path) == {"s1": 1}


def test_a_function_that_changes_nothing_leaves_the_strangers_document(queue: PerStoreWriterQueue, path: Path) -> None:
    write_first(path)
    store = Store(path, queue=queue)
    store.update(lambda state: by_rename(path, "s1"))
    assert content(path) == {"s1": 1}


def test_a_stranger_that_leaves_nonsense_is_told_and_not_erased(queue: PerStoreWriterQueue, path: Path) -> None:
    write_first(path)
    fn = Disturbed(path, broken)
    with pytest.raises(StoreCorrupt):
        Store(path, queue=queue).update(fn)
    assert path.read_text() == "{"
