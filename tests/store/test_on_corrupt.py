"""Store(on_corrupt="restore"): the newest good backup comes back at once, loudly, and a store never begins empty."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from helpers.lines import Worker
from storewriter import (
    AsyncStore,
    LockTimeout,
    PerStoreWriterQueue,
    Store,
    StoreCorrupt,
    events,
    recovery,
)

DAMAGED = b'{"n": 1, "more": '


@pytest.fixture
def damaged(path: Path) -> Path:
    """With a good backup behind a bad one; nothing has written it for a while."""
    damage(path)
    (path.parent / f".{path.name}.backup-1").write_bytes(b"{")
    (path.parent / f".{path.name}.backup-2").write_bytes(b'{"n":1}\n')
    return path


def damage(path: Path) -> None:
    path.write_bytes(DAMAGED)
    os.utime(path, (1e9, 1e9))


def bump(state: dict[str, Any]) -> int:
    state["n"] = state.get("n", 0) + 1
    return int(state["n"])


def transact(store: Store[Any]) -> int:
    with store.transaction() as tx:
        return bump(tx.state)


async def atransact(store: AsyncStore[Any]) -> int:
    async with store.transaction() as tx:
        return bump(tx.state)


async def abump(state: dict[str, Any]) -> int:
    return bump(state)


CALLS: dict[str, tuple[Callable[[Store[Any]], Any], Any]] = {
    "read": (lambda store: store.read(), {"n": 1}),
    "read_versioned": (lambda store: store.read_versioned()[0], {"n": 1}),
    "update": (lambda store: store.update(bump), 2),
    "transform": (lambda store: store.transform(lambda state: {"n": state["n"] + 1}), {"n": 2}),
    "transaction": (transact, 2),
}
ACALLS: dict[str, tuple[Callable[[AsyncStore[Any]], Any], Any]] = {
    "read": (lambda store: store.read(), {"n": 1}),
    "update": (lambda store: store.update(bump), 2),
    "async update": (lambda store: store.update(abump), 2),
    "transaction": (atransact, 2),
}


@pytest.mark.parametrize("name", CALLS)
def test_whatever_meets_it_first_restores_it(damaged: Path, name: str, caplog: Any) -> None:
    caplog.set_level(logging.WARNING, logger="storewriter")
    seen: list[events.Event] = []
    unsubscribe = events.subscribe(seen.append)
    call, answer = CALLS[name]
    assert call(Store(damaged, on_corrupt="restore")) == answer
    unsubscribe()
    _require_loud_restoration(damaged, seen, caplog)


@pytest.mark.parametrize("name", ACALLS)
def test_tasks_restore_it_too(damaged: Path, name: str, run: Any, caplog: Any) -> None:
    caplog.set_level(logging.WARNING, logger="storewriter")
    seen: list[events.Event] = []
    unsubscribe = events.subscribe(seen.append)
    call, answer = ACALLS[name]

    async def main() -> None:
        assert await call(AsyncStore(damaged, on_corrupt="restore")) == answer

    run(main)
    unsubscribe()
    _require_loud_restoration(damaged, seen, caplog)


def _require_loud_restoration(path: Path, seen: list[events.Event], caplog: Any) -> None:
    backup = f"{path.parent}/.{path.name}.backup-2"
    assert Path(f"{path}.corrupt-1").read_bytes() == DAMAGED
    told = [event for event in seen if isinstance(event, events.StoreRecovered)]
    assert [(event.automatic, event.moved_to, event.restored_from) for event in told] == [
        (True, f"{path}.corrupt-1", backup)
    ]
    assert [type(event) for event in seen].count(events.CorruptStore) == 1
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    text = caplog.records[1].getMessage()
    assert backup in text
    assert f"{path}.corrupt-1" in text
    assert 'on_corrupt="restore"' in text


def test_the_default_is_to_raise(damaged: Path) -> None:
    for call, _ in CALLS.values():
        with pytest.raises(StoreCorrupt):
            call(Store(damaged))
    assert damaged.read_bytes() == DAMAGED
    with pytest.raises(ValueError, match="on_corrupt must be one of"):
        Store(damaged, on_corrupt="reset")  # type: ignore[arg-type, call-overload]


@pytest.mark.parametrize("backups", [[], [b"{", b""]], ids=["no backup", "no good backup"])
def test_it_never_begins_empty(path: Path, backups: list[bytes], run: Any) -> None:
    damage(path)
    for number, content in enumerate(backups, 1):
        (path.parent / f".{path.name}.backup-{number}").write_bytes(content)
    for call, _ in CALLS.values():
        with pytest.raises(StoreCorrupt, match="begin empty"):
            call(Store(path, on_corrupt="restore"))

    async def main() -> None:
        for call, _ in ACALLS.values():
            with pytest.raises(StoreCorrupt):
                await call(AsyncStore(path, on_corrupt="restore"))

    run(main)
    assert path.read_bytes() == DAMAGED
    assert not list(path.parent.glob("*corrupt*"))


def test_what_may_be_intact_is_left_alone(damaged: Path) -> None:
    damaged.write_bytes(b'{"n": NaN}')
    for call, _ in CALLS.values():
        with pytest.raises(StoreCorrupt, match="NaN"):
            call(Store(damaged, on_corrupt="restore"))
    assert damaged.read_bytes() == b'{"n": NaN}'


def test_a_missing_document_is_no_damage(damaged: Path) -> None:
    damaged.unlink()
    assert Store[Any](damaged, on_corrupt="restore").read() == {}


def test_it_takes_the_turn(damaged: Path, queue: PerStoreWriterQueue) -> None:
    """A read that restores writes; inside a turn of the store, where it cannot, it raises the error."""
    store: Store[Any] = Store(damaged, on_corrupt="restore", queue=queue, timeout=0.01)
    with queue.turn(damaged):
        with pytest.raises(StoreCorrupt):
            store.read()
        worker = Worker(store.read)
        worker.wait()
        assert isinstance(worker.error, LockTimeout)
    assert damaged.read_bytes() == DAMAGED
    assert store.read() == {"n": 1}


def test_threads_that_meet_it_together_restore_it_once(damaged: Path, queue: PerStoreWriterQueue) -> None:
    store: Store[Any] = Store(damaged, on_corrupt="restore", queue=queue)
    workers = [Worker(lambda: store.update(bump)) for _ in range(8)]
    assert sorted(worker.result() for worker in workers) == list(range(2, 10))
    assert [file.name for file in damaged.parent.glob("*corrupt*")] == ["state.json.corrupt-1"]


def test_a_document_that_is_being_written_is_waited_for(damaged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program without the lock is in the middle of it: to restore now would undo what it saves."""
    damaged.write_bytes(DAMAGED)
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        damaged.write_bytes(DAMAGED + b"2" if len(pauses) == 1 else b'{"n": 1, "more": 2}')

    monkeypatch.setattr(recovery.time, "sleep", pause)
    assert Store[Any](damaged, on_corrupt="restore").read() == {"n": 1, "more": 2}
    assert len(pauses) == 2
    assert not list(damaged.parent.glob("*corrupt*"))


def test_one_that_stays_half_written_is_restored_after_a_second(damaged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged.write_bytes(DAMAGED)
    pauses: list[float] = []
    monkeypatch.setattr(recovery.time, "sleep", pauses.append)
    assert Store[Any](damaged, on_corrupt="restore").read() == {"n": 1}
    assert pauses == [1.0]


def test_an_error_of_another_store_in_a_function_restores_nothing(path: Path, damaged: Path) -> None:
    other = path.with_name("other.json")
    damage(other)
    Path(f"{path}").write_bytes(b"{}")

    runs: list[int] = []

    def reads_the_other(state: dict[str, Any]) -> None:
        runs.append(1)
        Store(other).read()

    with pytest.raises(StoreCorrupt) as caught:
        Store[Any](path, on_corrupt="restore").update(reads_the_other)
    assert caught.value.path == str(other)
    assert runs == [1]
    assert other.read_bytes() == DAMAGED


@pytest.mark.parametrize("name", ["update", "async update", "plain update in a task"])
def test_a_function_that_raises_such_an_error_itself_is_repeated_once(damaged: Path, name: str) -> None:
    runs: list[int] = []

    def fails(state: dict[str, Any]) -> None:
        runs.append(1)
        raise StoreCorrupt("damaged", path=str(damaged), reason="damaged")

    async def afails(state: dict[str, Any]) -> None:
        fails(state)

    async def main(fn: Any) -> None:
        await AsyncStore[Any](damaged, on_corrupt="restore").update(fn)

    damaged.write_bytes(b"{}")
    with pytest.raises(StoreCorrupt):
        if name == "update":
            Store[Any](damaged, on_corrupt="restore").update(fails)
        else:
            anyio.run(main, afails if name == "async update" else fails)
    assert len(runs) <= 2
    assert damaged.read_bytes() == b"{}"


def test_in_place(damaged: Path) -> None:
    inode = damaged.stat().st_ino
    assert Store[Any](damaged, on_corrupt="restore", in_place=True).update(bump) == 2
    assert damaged.stat().st_ino == inode
    assert Path(f"{damaged}.corrupt-1").read_bytes() == DAMAGED


def test_a_watch_restores_nothing(damaged: Path) -> None:
    with Store[Any](damaged, on_corrupt="restore").watch() as states, pytest.raises(StoreCorrupt):
        next(states)
    assert damaged.read_bytes() == DAMAGED
