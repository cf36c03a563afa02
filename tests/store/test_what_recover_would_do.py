"""StoreCorrupt says what `recover()` would do here; `recover()` refuses what may be intact, unless it is forced."""

from __future__ import annotations

import copy
import os
import pickle
import re
import time
from pathlib import Path
from typing import Any

import attrs
import pytest

from storewriter import AsyncStore, RecoveryRefused, Store, StoreCorrupt, events
from storewriter.codecs import JsonCodec, Versioned
from storewriter.codecs.attrs import AttrsCodec
from storewriter.testing import Call, Fault, intercepted

DAMAGED = b'{"n": 1'
INTACT: dict[str, bytes] = {
    "a newer version": b'{"version": 2, "n": 1}',
    "NaN": b'{"version": 1, "n": NaN}',
    "a top-level array": b"[1, 2]",
    "null": b"null",
    "a comment": b'{"version": 1, "n": 1} // so far',
    "a trailing comma": b'{"version": 1, "n": 1,}',
    "UTF-16": '{"version": 1}'.encode("utf-16"),
    "YAML": b"version: 1\nn: 1\n",
    "TOML": b"version = 1\n",
    "str()": b"{'version': 1}",
    "gzip": b"\x1f\x8b\x08\0\0",
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\n",
    "a key given twice": b'{"version": 1, "n": 1, "n": 2}',
    "too deep": b'{"version": 1, "n": ' + b"[" * 300 + b"]" * 300 + b"}",
}


def backup(path: Path, number: int, content: bytes, saved: float | None = None) -> Path:
    name = path.parent / f".{path.name}.backup-{number}"
    name.write_bytes(content)
    if saved is not None:
        os.utime(name, (saved, saved))
    return name


def error_of(store: Store[Any]) -> StoreCorrupt:
    with pytest.raises(StoreCorrupt) as caught:
        store.read()
    return caught.value


def test_it_would_restore_that_backup_of_then(path: Path) -> None:
    path.write_bytes(DAMAGED)
    then = time.mktime((2030, 1, 2, 3, 4, 5, 0, 0, -1))
    backup(path, 1, b"{")
    good = backup(path, 2, b'{"n": 0}', then)
    Path(f"{path}.corrupt-1").write_bytes(b"an older one")
    text = str(error_of(Store(path)))
    assert text.endswith(
        f"`store.recover()` would move it to {path}.corrupt-2 and restore the newest good backup, {good} of "
        f"2030-01-02 03:04:05."
    )
    report = Store[Any](path).recover()
    assert (report.moved_to, report.restored_from) == (f"{path}.corrupt-2", str(good)), "and so it does"


def test_it_would_begin_empty(path: Path) -> None:
    path.write_bytes(DAMAGED)
    message = f"{path} cannot be read: line 1, column 8, in n: the document is cut off: it ends in the middle. The file was left as it is, and nothing will be written until it is repaired, restored or moved away. `store.recover()` would move it to {path}.corrupt-1 and begin empty, with the store's default: there is no backup"
    assert str(error_of(Store(path))) == f"{message}."
    first, second = backup(path, 1, b"{"), backup(path, 2, b"")
    rest = message.removesuffix("no backup")
    assert str(error_of(Store(path))) == f"{rest}no good backup ({first}, {second} cannot be read either)."


def test_a_backup_that_may_be_intact_is_named(path: Path) -> None:
    path.write_bytes(DAMAGED)
    newer = backup(path, 1, b'{"version": 2}')
    store: Store[Any] = Store(path, codec=Versioned(JsonCodec(), version=1))
    assert f"`store.recover()` would refuse, because the backup {newer} may be intact" in str(error_of(store))
    with pytest.raises(RecoveryRefused, match="version 2") as caught:
        store.recover()
    assert caught.value.backup == str(newer)


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_backup_that_cannot_be_read_now_is_named(path: Path) -> None:
    path.write_bytes(DAMAGED)
    backup(path, 1, b"{}").chmod(0)
    assert "would look for a good backup, which cannot be done now" in str(error_of(Store(path)))


def test_a_backup_that_cannot_be_read_is_no_error_of_its_own(path: Path) -> None:
    path.write_bytes(DAMAGED)
    name = path.parent / f".{path.name}.backup-1"
    name.symlink_to(name)  # ELOOP, for root too
    assert "would look for a good backup, which cannot be done now" in str(error_of(Store(path)))
    assert path.read_bytes() == DAMAGED


def test_an_alarm_while_backups_are_looked_for_is_raised_as_it_is(path: Path) -> None:
    path.write_bytes(DAMAGED)
    alarm = Fault(TimeoutError("time is up"), name="names")
    with pytest.raises(TimeoutError, match="time is up"):
        Store[Any](path, system=intercepted(alarm)).read()


@pytest.mark.parametrize("what", INTACT)
@pytest.mark.parametrize("with_backup", [False, True])
def test_what_may_be_intact_is_refused_and_stays(path: Path, what: str, with_backup: bool, run: Any) -> None:
    path.write_bytes(INTACT[what])
    if with_backup:
        backup(path, 1, b'{"version": 1}')
    store: Store[Any] = Store(path, codec=Versioned(JsonCodec(), version=1))
    error = error_of(store)
    assert error.may_be_intact
    assert "`store.recover()` would" not in str(error)
    assert "It may be intact, so `store.recover()` does not touch it" in str(error)

    async def in_a_task() -> None:
        with pytest.raises(RecoveryRefused):
            await AsyncStore(path, codec=Versioned(JsonCodec(), version=1)).recover()

    with pytest.raises(RecoveryRefused, match="may be intact") as caught:
        store.recover()
    run(in_a_task)
    refused = caught.value
    assert isinstance(refused, StoreCorrupt)
    assert (refused.path, refused.reason, refused.line) == (str(path), error.reason, error.line)
    assert refused.backup is None
    assert "recover(force=True)" in str(refused)
    for twin in (copy.copy(refused), pickle.loads(pickle.dumps(refused))):
        assert (str(twin), vars(twin)) == (str(refused), vars(refused))
    assert path.read_bytes() == INTACT[what]
    assert not list(path.parent.glob("*corrupt*"))


@pytest.mark.parametrize("what", INTACT)
def test_forced_it_is_moved_aside(path: Path, what: str, run: Any) -> None:
    codec = Versioned(JsonCodec(), version=1)
    path.write_bytes(INTACT[what])
    error = error_of(Store(path, codec=codec))
    assert f"`store.recover(force=True)` would move it to {path}.corrupt-1 and begin empty" in str(error)
    report = Store[Any](path, codec=codec).recover(force=True)
    assert (report.outcome, report.moved_to) == ("reset", f"{path}.corrupt-1")
    assert Path(f"{path}.corrupt-1").read_bytes() == INTACT[what]

    async def in_a_task() -> None:
        path.write_bytes(INTACT[what])
        report = await AsyncStore[Any](path, codec=codec).recover(force=True)
        assert report.moved_to is not None

    run(in_a_task)


def test_forced_it_passes_over_a_backup_that_may_be_intact(path: Path) -> None:
    path.write_bytes(DAMAGED)
    newer = backup(path, 1, b'{"version": 2}')
    good = backup(path, 2, b'{"version": 1, "n": 1}')
    report = Store[Any](path, codec=Versioned(JsonCodec(), version=1)).recover(force=True)
    assert (report.restored_from, report.rejected) == (str(good), (str(newer),))
    assert newer.exists()


def test_forced_a_healthy_document_stays(path: Path) -> None:
    path.write_bytes(b'{"n": 1}')
    assert Store[Any](path).recover(force=True).outcome == "healthy"
    assert path.read_bytes() == b'{"n": 1}'


@attrs.define
class Board:
    n: int = 0


def test_a_field_of_a_newer_program_is_no_damage(path: Path) -> None:
    path.write_bytes(b'{"n": 1, "colour": "red"}')
    store = Store(path, default=Board, codec=AttrsCodec(Board))
    with pytest.raises(RecoveryRefused, match="colour: unknown field"):
        store.recover()
    assert path.read_bytes() == b'{"n": 1, "colour": "red"}'


def test_the_place_in_the_document_is_told_once(path: Path) -> None:
    path.write_bytes(b'{"limits": {"max": NaN}}')
    error = error_of(Store(path))
    assert f"{path} cannot be read: line 1, column 20, in limits.max: NaN is not JSON" in str(error)
    assert error.where == ("limits", "max")
    path.write_bytes(b'{"n": 1, "colour": "red"}')
    text = str(error_of(Store(path, default=Board, codec=AttrsCodec(Board))))
    assert len(re.findall("colour", text)) == 1


def test_a_recovery_is_an_event(path: Path) -> None:
    path.write_bytes(DAMAGED)
    seen: list[events.Event] = []
    unsubscribe = events.subscribe(seen.append)
    Store[Any](path).recover()
    Store[Any](path).recover()
    unsubscribe()
    told = [event for event in seen if isinstance(event, events.StoreRecovered)]
    assert [(event.automatic, event.moved_to, event.restored_from) for event in told] == [
        (False, f"{path}.corrupt-1", None)
    ]


def test_a_document_that_is_repaired_meanwhile_is_left_alone(path: Path) -> None:
    """By a program without the lock, after the recovery has judged it."""
    path.write_bytes(DAMAGED)
    repaired = False

    def around(call: Call, proceed: Any) -> Any:
        nonlocal repaired
        if call.name == "link" and not repaired:
            repaired = True
            other = path.with_name("other")
            other.write_bytes(b'{"n": 2}')
            other.rename(path)
        return proceed()

    assert Store[Any](path, system=intercepted(around)).recover().outcome == "healthy"
    assert path.read_bytes() == b'{"n": 2}'
    assert not list(path.parent.glob("*corrupt*"))
