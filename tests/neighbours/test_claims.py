"""A claim on a neighbour's lock, step by step: what is missing, what goes in between, what others leave there."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

import pytest

from helpers.waiting import until
from storewriter import PerStoreWriterQueue, Store, StrategyMismatch
from storewriter.locks import Neighbour, OpenClawLock, ProperLockfile
from storewriter.locks.neighbours import openclaw
from storewriter.locks.neighbours.openclaw import RecordClaim
from storewriter.locks.neighbours.proper_lockfile import FolderClaim

BOTH = [ProperLockfile(), OpenClawLock()]


@pytest.fixture
def lock(path: Path) -> Path:
    return Path(f"{path}.lock")


def record_claim(path: Path, stale: float = 30.0) -> RecordClaim:
    return RecordClaim(str(path), f"{path}.lock", stale)


def folder_claim(path: Path, stale: float = 30.0) -> FolderClaim:
    return FolderClaim(str(path), f"{path}.lock", stale)


def age(lock: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(lock, (then, then))


@pytest.mark.parametrize("also", BOTH)
def test_the_folder_of_a_new_document_is_made_though_no_lock_of_ours_makes_it(also: Neighbour, tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "state.json"
    store: Store[Any] = Store(path, queue=PerStoreWriterQueue(lock="none", also=also, timeout=20.0))
    store.update(lambda state: state.update(n=1))
    assert store.read() == {"n": 1}
    assert os.listdir(path.parent) == ["state.json"]
    assert path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("also", BOTH)
def test_a_free_lock_has_no_owner(also: Any, path: Path) -> None:
    assert also.owner(str(path)) is None


def test_an_abandoned_folder_has_no_owner_and_a_fresh_one_is_named(path: Path, lock: Path) -> None:
    lock.mkdir()
    owner = ProperLockfile(stale=10.0).owner(str(path))
    assert owner is not None
    assert owner.label == f"proper-lockfile's {lock}"
    age(lock, 20.0)
    assert ProperLockfile(stale=10.0).owner(str(path)) is None


def test_a_take_over_under_way_is_named_as_the_owner(path: Path, lock: Path) -> None:
    Path(f"{lock}.reclaim").mkdir()
    owner = OpenClawLock().owner(str(path))
    assert owner is not None
    assert owner.label == f"OpenClaw's {lock}.reclaim"
    assert not record_claim(path).take()


def test_where_no_nameless_file_can_be_made_the_record_is_written_into_the_named_one(
    path: Path, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = record_claim(path)
    with monkeypatch.context() as patch:
        patch.setattr(openclaw, "_TMPFILE", 0)
        assert claim.take()
    assert claim.is_ours()
    assert f'"pid": {os.getpid()}' in lock.read_text()
    assert not record_claim(path).take()
    claim.release()
    assert not lock.exists()


@pytest.mark.parametrize(("code", "is_taken"), [(errno.EOPNOTSUPP, True), (errno.EIO, False)])
def test_a_nameless_file_that_gets_no_name(
    code: int, is_taken: bool, path: Path, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(openclaw.os, "link", refuse)
    claim = record_claim(path)
    if is_taken:
        assert claim.take()
        assert claim.is_ours()
    else:
        with pytest.raises(OSError, match="Input/output error"):
            claim.take()
    claim.release()
    assert not lock.exists()


def test_a_record_shows_a_sign_of_life_once_it_is_due(path: Path, lock: Path) -> None:
    claim = record_claim(path)
    assert claim.take()
    before = lock.read_text()
    assert claim.renew()
    assert lock.read_text() == before
    claim.interval = 0.0
    until(lambda: claim.renew() and lock.read_text() != before)  # a record's time is in milliseconds
    assert claim.is_ours()
    claim.release()


def test_a_record_that_another_file_has_replaced_is_not_ours_and_stays(path: Path, lock: Path) -> None:
    claim = record_claim(path)
    assert claim.take()
    lock.unlink()
    assert not claim.renew()
    lock.write_text("another owner's")
    assert not claim.is_ours()
    assert not claim.renew()
    claim.release()
    assert lock.read_text() == "another owner's"
    assert not claim.is_ours()


@pytest.mark.parametrize("looks", [0, 1])
def test_a_lock_that_goes_while_it_is_looked_at_is_not_taken_over(
    looks: int, path: Path, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock.write_text('{"pid": 0, "createdAt": "2001-01-01T00:00:00.000Z"}')
    age(lock, 3600.0)
    look = RecordClaim._look
    seen: list[object] = []

    def until_it_goes(claim: RecordClaim) -> Any:
        if len(seen) == looks:
            return None
        seen.append(claim)
        return look(claim)

    monkeypatch.setattr(RecordClaim, "_look", until_it_goes)
    assert not record_claim(path).take()
    assert lock.exists()
    assert not Path(f"{lock}.reclaim").exists()


def test_a_folder_shows_a_sign_of_life_once_it_is_due(path: Path, lock: Path) -> None:
    claim = folder_claim(path)
    assert not claim.renew()
    assert claim.take()
    before = lock.stat().st_mtime_ns
    assert claim.renew()
    assert lock.stat().st_mtime_ns == before
    claim.interval = 0.0
    until(lambda: claim.renew() and lock.stat().st_mtime_ns > before)
    assert claim.is_ours()
    claim.release()
    assert not lock.exists()


def test_a_folder_that_has_gone_is_not_ours(path: Path, lock: Path) -> None:
    claim = folder_claim(path)
    assert claim.take()
    lock.rmdir()
    assert not claim.is_ours()
    claim.interval = 0.0
    assert not claim.renew()
    lock.mkdir()
    age(lock, 3600.0)
    assert not claim.renew()
    claim.release()
    assert lock.exists()


def test_a_folder_that_is_given_back_while_it_is_looked_at_is_asked_for_again(
    path: Path, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken(name: str) -> None:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)

    claim = folder_claim(path)
    with monkeypatch.context() as patch:
        patch.setattr("storewriter.locks.neighbours.proper_lockfile.os.mkdir", taken)
        assert not claim.take()
    assert claim.take()
    claim.release()


def test_a_folder_with_something_in_it_is_none_of_proper_lockfiles(path: Path, lock: Path) -> None:
    lock.mkdir()
    (lock / "a file").touch()
    age(lock, 3600.0)
    with pytest.raises(StrategyMismatch):
        folder_claim(path).take()
    assert (lock / "a file").exists()
