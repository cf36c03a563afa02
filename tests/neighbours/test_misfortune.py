"""Either side is killed, stopped, or stays long: their rules for an abandoned lock are kept, and no update is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from programs import counters, program

from helpers.children import child
from helpers.waiting import until
from storewriter import LockLost, LockTimeout, PerStoreWriterQueue, Store, events
from storewriter.locks import Flock, Neighbour, OpenClawLock, ProperLockfile
from storewriter.locks.neighbours import _joined
from storewriter.locks.neighbours.openclaw import RecordClaim
from storewriter.locks.neighbours.proper_lockfile import FolderClaim

KINDS: dict[str, Neighbour] = {
    "proper-lockfile-2s": ProperLockfile(stale=2.0),
    "fs-safe-0.3": OpenClawLock(),
    "fs-safe-0.21": OpenClawLock(),
    "openclaw-2s": OpenClawLock(stale=2.0),
}


def count(state: dict[str, Any]) -> None:
    state["ours"] = state.get("ours", 0) + 1


def store_at(path: Path, also: Neighbour, timeout: float = 30.0) -> Store[Any]:
    return Store(path, durability="process", queue=PerStoreWriterQueue(also=also, timeout=timeout))


def put_down_record(path: Path, **fields: object) -> Path:
    """A lock of OpenClaw's kind, with this record."""
    lock = Path(f"{path}.lock")
    lock.write_text(json.dumps(fields))
    return lock


def dead_pid() -> int:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    return gone.pid


# -- they hold it ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_live_holder_is_waited_for_and_named(kind: str, path: Path, node: Path) -> None:
    with program(kind, path, node) as other:
        other.tell("hold")
        other.expect("holding")
        with pytest.raises(LockTimeout) as caught:
            store_at(path, KINDS[kind], timeout=0.3).update(count)
        assert f"{path}.lock" in str(caught.value)
        if kind != "proper-lockfile-2s":  # whose lock does not say whose it is
            assert caught.value.owner is not None
            assert caught.value.owner.pid == other.pid
            assert caught.value.owner.since is not None
        other.tell("release")
        other.expect("released")
        store_at(path, KINDS[kind]).update(count)
    assert counters(path) == {"ours": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_holder_is_succeeded_without_help(kind: str, path: Path, node: Path) -> None:
    reclaimed: list[events.LockReclaimed] = []
    end = events.subscribe(lambda event: reclaimed.append(event) if isinstance(event, events.LockReclaimed) else None)
    try:
        with program(kind, path, node) as other:
            other.tell("hold")
            other.expect("holding")
            other.kill()
            store_at(path, KINDS[kind]).update(count)
    finally:
        end()
    assert counters(path) == {"ours": 1}
    assert len(reclaimed) == 1
    assert not os.path.lexists(f"{path}.lock")
    assert not os.path.lexists(f"{path}.lock.reclaim")


@pytest.mark.parametrize("kind", ["fs-safe-0.3", "fs-safe-0.21", "openclaw-2s"])
def test_a_stopped_holder_that_names_itself_is_never_robbed(kind: str, path: Path, node: Path) -> None:
    with program(kind, path, node) as other:
        other.tell("hold")
        other.expect("holding")
        other.signal(signal.SIGSTOP)
        with pytest.raises(LockTimeout):
            store_at(path, KINDS[kind], timeout=2.5).update(count)
        other.signal(signal.SIGCONT)
        other.tell("release")
        other.expect("released")
    assert counters(path) == {}


def test_a_stopped_holder_of_a_folder_is_succeeded_by_the_rule_and_learns_it(path: Path, node: Path) -> None:
    with program("proper-lockfile-2s", path, node) as other:
        other.tell("hold")
        other.expect("holding")
        other.signal(signal.SIGSTOP)
        queue = PerStoreWriterQueue(also=ProperLockfile(stale=2.0))
        with queue.turn(path):
            other.signal(signal.SIGCONT)
            until(lambda: json.loads(path.read_text()) == {})
        other.tell("release")
        assert other.hear() in ("lost ECOMPROMISED", "released")


def test_an_owner_whose_pid_is_another_process_by_now_is_succeeded(path: Path) -> None:
    put_down_record(path, pid=os.getppid(), createdAt="2026-01-01T00:00:00.000Z", startTime=1)
    store_at(path, OpenClawLock(), timeout=5.0).update(count)
    assert counters(path) == {"ours": 1}


@pytest.mark.parametrize("field", ["startTime", "starttime"])
def test_both_spellings_of_the_start_time_are_known(path: Path, field: str) -> None:
    put_down_record(path, pid=os.getppid(), createdAt="2026-01-01T00:00:00.000Z", **{field: 1})
    store_at(path, OpenClawLock(), timeout=5.0).update(count)
    assert counters(path) == {"ours": 1}


def test_a_lock_that_this_process_left_behind_is_taken_over_by_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_at(path, OpenClawLock(), timeout=5.0)
    with monkeypatch.context() as broken:
        broken.setattr(os, "unlink", lambda *_: (_ for _ in ()).throw(PermissionError(13, "not now")))
        with store._queue.turn(path):
            pass
    assert os.path.exists(f"{path}.lock")
    store.update(count)
    assert not os.path.exists(f"{path}.lock")


# -- we hold it --------------------------------------------------------------------------------------------------------

HOLDER = """
from storewriter import locks
also = locks.ProperLockfile(stale=2.0) if args[0].startswith("proper") else locks.OpenClawLock(stale=2.0)
with PerStoreWriterQueue(also=also).turn(path):
    say("holding")
    hear()
say("released")
"""


@pytest.mark.parametrize("kind", KINDS)
def test_when_we_are_killed_they_get_in_without_help(kind: str, path: Path, node: Path) -> None:
    with program(kind, path, node) as other, child(HOLDER, path, kind) as ours:
        ours.expect("holding")
        ours.kill()
        other.count(1)
        assert other.counted() == 1
    assert counters(path) == {"theirs": 1}


@pytest.mark.parametrize("kind", ["proper-lockfile-2s", "openclaw-2s"])
def test_a_turn_that_is_longer_than_their_patience_is_not_robbed(kind: str, path: Path, node: Path) -> None:
    with program(kind, path, node) as other:
        with PerStoreWriterQueue(also=KINDS[kind]).turn(path) as turn:
            other.count(1)
            threading.Event().wait(5.0)
            turn.check()
            assert counters(path) == {}
        assert other.counted() == 1


@pytest.mark.parametrize("kind", ["proper-lockfile-2s", "openclaw-2s"])
def test_when_we_are_stopped_and_robbed_our_commit_is_done_again(kind: str, path: Path, node: Path) -> None:
    code = """
from storewriter import locks
also = locks.ProperLockfile(stale=2.0) if args[0].startswith("proper") else locks.OpenClawLock(stale=2.0)
runs = []
def fn(state):
    runs.append(1)
    state["ours"] = state.get("ours", 0) + 1
    if len(runs) == 1:
        say("inside")
        hear()
Store(path, durability="process", queue=PerStoreWriterQueue(also=also)).update(fn)
say("runs", len(runs))
"""
    with program(kind, path, node) as other, child(code, path, kind) as ours:
        ours.expect("inside")
        ours.signal(signal.SIGSTOP)
        other.count(1)
        assert other.counted() == 1
        ours.tell()
        ours.signal(signal.SIGCONT)
        ours.expect("runs 2")
    assert counters(path) == {"ours": 1, "theirs": 1}


@pytest.mark.parametrize("also", [ProperLockfile(), OpenClawLock()], ids=lambda also: also.name)
def test_a_lock_that_was_taken_from_us_is_not_passed_on_and_not_removed(path: Path, also: Neighbour) -> None:
    lock = Path(also.lock_path(str(path)))
    store = store_at(path, also)
    store.update(count)
    with pytest.raises(LockLost) as caught, store.transaction() as tx:
        count(tx.state)
        if lock.is_dir():
            lock.rmdir()
            lock.mkdir()
        else:
            lock.unlink()
            lock.write_text(json.dumps({"pid": os.getppid(), "createdAt": "2026-01-01T00:00:00.000Z"}))
        strategy: Any = store._queue.lock
        hold: Any = tx._work.hold()
        assert not hold.may_pass()
        assert strategy.neighbours == (also,)
    assert str(lock) in str(caught.value)
    assert lock.exists(), "the lock of the one who took it was removed"
    assert counters(path) == {"ours": 1}


# -- two contenders for an abandoned lock ------------------------------------------------------------------------------


def test_of_two_claims_on_one_abandoned_folder_one_has_it(path: Path) -> None:
    lock = f"{path}.lock"
    os.mkdir(lock)
    os.utime(lock, (1, 1))
    one, two = FolderClaim(str(path), lock, 10.0), FolderClaim(str(path), lock, 10.0)
    assert [one.take(), two.take()] == [True, False]
    assert one.was_reclaimed
    two.release()
    assert one.is_ours()
    one.release()
    assert not os.path.exists(lock)


def test_a_faster_contenders_new_folder_is_not_taken_from_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1. A finds the folder abandoned.  2. B removes it and makes its own.  3. A must not touch that."""
    lock = f"{path}.lock"
    os.mkdir(lock)
    os.utime(lock, (1, 1))
    real = os.lstat

    def overtaken(name: str) -> os.stat_result:
        found = real(name)
        monkeypatch.setattr(os, "lstat", real)
        os.rmdir(lock)
        os.mkdir(lock)
        return found

    claim = FolderClaim(str(path), lock, 10.0)
    monkeypatch.setattr(os, "lstat", overtaken)
    before = time.time()
    assert not claim.take()
    claim.release()
    assert os.stat(lock).st_mtime >= before - 1


def test_of_two_claims_on_one_dead_owners_file_one_has_it(path: Path) -> None:
    lock = put_down_record(path, pid=dead_pid(), createdAt="2026-01-01T00:00:00.000Z")
    one, two = RecordClaim(str(path), str(lock), 60.0), RecordClaim(str(path), str(lock), 60.0)
    assert [one.take(), two.take()] == [True, False]
    assert one.was_reclaimed
    assert one.is_ours()
    one.release()
    assert not lock.exists()


def test_while_another_program_takes_a_lock_over_none_is_put_down(path: Path) -> None:
    guard = Path(f"{path}.lock.reclaim")
    guard.mkdir()
    with pytest.raises(LockTimeout, match=r"\.lock\.reclaim"):
        store_at(path, OpenClawLock(), timeout=0.2).update(count)
    guard.rmdir()
    store_at(path, OpenClawLock()).update(count)


def test_a_take_over_whose_process_died_in_the_middle_blocks_no_one_for_ever(path: Path) -> None:
    guard = Path(f"{path}.lock.reclaim")
    guard.mkdir()
    os.utime(guard, (1, 1))
    store_at(path, OpenClawLock(), timeout=5.0).update(count)
    assert not guard.exists()


def test_after_a_take_over_a_slower_contender_is_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1. A and B see the abandoned lock.  2. A takes it over.  3. B removes it by its path, and makes its own."""
    lock = Path(put_down_record(path, pid=dead_pid(), createdAt="2026-01-01T00:00:00.000Z"))

    def slower(_: float) -> None:
        monkeypatch.setattr(_joined.time, "sleep", time.sleep)
        lock.unlink()
        lock.write_text(json.dumps({"pid": os.getppid(), "createdAt": "2026-01-01T00:00:00.000Z"}))

    queue = PerStoreWriterQueue(also=OpenClawLock(), timeout=0.3)
    monkeypatch.setattr(_joined.time, "sleep", slower)
    with pytest.raises(LockTimeout), queue.turn(path):
        pytest.fail("both have it")
    assert lock.exists()


def test_a_forked_child_leaves_its_parents_locks_alone(path: Path) -> None:
    also = (OpenClawLock(), ProperLockfile(file="{name}.dir"))
    with PerStoreWriterQueue(also=also).turn(path) as turn:
        child_pid = os.fork()
        if child_pid == 0:
            try:
                turn.check()
            except LockLost:
                hold: Any = turn._tickets[0].lane.hold
                hold.release()
                os._exit(0)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child_pid, 0)[1]) == 0
        turn.check()
        assert os.path.exists(f"{path}.lock")
        assert os.path.exists(f"{path}.dir")


# -- a dead neighbour of the flock family ------------------------------------------------------------------------------


def test_a_killed_holder_of_a_locked_file_is_succeeded_at_once(path: Path) -> None:
    with program("filelock", path) as other:
        other.tell("hold")
        other.expect("holding")
        store: Store[Any] = Store(path, queue=PerStoreWriterQueue(Flock(file="{name}.lock"), timeout=0.2))
        with pytest.raises(LockTimeout) as caught:
            store.update(count)
        assert caught.value.owner is not None
        assert caught.value.owner.pid == other.pid
        assert f"lock files {path.with_name(f'.{path.name}.lock')} and {path}.lock." in str(caught.value)
        other.kill()
        store.update(count)
    assert counters(path) == {"ours": 1}


def test_a_program_of_ours_that_only_polls_is_not_named_as_the_holder(path: Path) -> None:
    put_down_record(path, pid=os.getppid(), createdAt="2026-01-01T00:00:00.000Z")
    queue = PerStoreWriterQueue(also=OpenClawLock())
    strategy: Any = queue.lock
    own = strategy.own.attempt(str(path), None)  # as a poll has it for an instant
    try:
        owner = queue.owner(path)
    finally:
        own.release()
    assert owner is not None
    assert owner.pid == os.getppid()


def test_a_lock_file_that_is_removed_under_its_holder_ends_the_turn(path: Path) -> None:
    store: Store[Any] = Store(path, queue=PerStoreWriterQueue(Flock(file="{name}.lock")))
    runs: list[int] = []

    def fn(state: dict[str, Any]) -> None:
        runs.append(1)
        if len(runs) == 1:
            os.unlink(f"{path}.lock")
        count(state)

    store.update(fn)
    assert len(runs) == 2
    assert counters(path) == {"ours": 1}
