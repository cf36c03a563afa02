"""What only a lease does: it lives by its heartbeat, and runs out without it."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from contenders import Contender
from storewriter import LockLost, PerStoreWriterQueue, Store, events
from storewriter._platform import mounts
from storewriter._platform.mounts import Mount
from storewriter.locks import Lease, Marker, _marker_attempt
from storewriter.locks._guard import guard_file
from storewriter.locks._marker_file import look, marker_file
from storewriter.locks._marker_hold import MarkerHold
from storewriter.testing import Call, intercepted

Start = Callable[[], Contender]


@pytest.fixture
def seen() -> Iterator[list[events.Event]]:
    told: list[events.Event] = []
    stop = events.subscribe(told.append)
    yield told
    stop()


def times(path: str) -> tuple[int, ...]:
    found = look(path)
    assert found is not None
    return found.identity


def test_a_holder_that_lives_on_keeps_its_lease_for_many_terms(contender: Start, path: str) -> None:
    other = contender()
    hold = Lease(stale=1.5).attempt(path, None)
    assert hold is not None
    before, changes = times(path), 0
    while changes < 7:  # more than two terms, counted by the heart that beats and not by a clock
        assert other.ask("attempt", "lease:1.5", path) is False
        if times(path) != before:
            before, changes = times(path), changes + 1
    hold.check()
    hold.release()


def test_a_lost_lease_is_told_once_and_refused_from_then_on(path: str, seen: list[events.Event]) -> None:
    hold = Lease(stale=60.0).attempt(path, None)
    assert hold is not None
    os.unlink(marker_file(path))
    for _ in range(2):
        with pytest.raises(LockLost, match="Nothing was written") as caught:
            hold.check()
        with pytest.raises(LockLost), hold.fence():
            raise AssertionError
    assert caught.value.path == path
    assert [type(event) for event in seen] == [events.LeaseLost]
    assert not hold.may_pass()
    hold.release()


def test_the_successor_is_named_to_whoever_lost_its_lease(contender: Start, path: str) -> None:
    successor = contender()
    hold = Lease(stale=1000.0).attempt(path, None)
    assert hold is not None
    assert successor.ask("attempt", "lease:1000", path) is False
    successor.ask("age", 10_000.0)
    assert successor.ask("attempt", "lease:1000", path, "taking over")
    with pytest.raises(LockLost, match=f"pid {successor.pid}") as caught:
        hold.check()
    assert caught.value.owner is not None
    assert caught.value.owner.label == "taking over"
    hold.release()
    successor.ask("check", path)


def test_a_heartbeat_that_fails_for_too_long_ends_the_lease(
    path: str, seen: list[events.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = threading.Event()
    stop = events.subscribe(lambda event: told.set())
    hold = Lease(stale=0.15).attempt(path, None)
    assert hold is not None
    real = os.utime

    def broken(target: int | str, *args: object, **kwargs: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "utime", broken)
    assert told.wait(10.0)
    monkeypatch.setattr(os, "utime", real)
    with pytest.raises(LockLost, match="refresh"):
        hold.check()
    stop()
    hold.release()


def test_a_bare_turn_raises_and_an_update_is_done_again(path: str) -> None:
    queue = PerStoreWriterQueue(lock=Lease(stale=60.0), timeout=10.0)
    with queue.turn(path) as turn:
        turn.check()
        os.unlink(marker_file(path))
        with pytest.raises(LockLost):
            turn.check()
    store = Store(path, lambda: {"n": 0}, durability="process", queue=queue)
    runs: list[int] = []

    def add(state: dict[str, int]) -> int:
        runs.append(state["n"])
        if len(runs) == 1:
            os.unlink(marker_file(path))
        state["n"] += 1
        return state["n"]

    assert store.update(add) == 1
    assert runs == [0, 0]
    assert store.read() == {"n": 1}


def test_a_takeover_is_told_with_who_and_why(contender: Start, path: str, seen: list[events.Event]) -> None:
    dead = contender()
    assert dead.ask("attempt", "lease:60", path, "dying")
    dead.kill()
    hold = Lease(stale=60.0).attempt(path, None)
    assert hold is not None
    (event,) = seen
    assert isinstance(event, events.LockReclaimed)
    assert event.owner is not None
    assert event.owner.pid == dead.pid
    assert event.reason == "its process is gone"
    hold.release()


def test_a_takeover_clears_away_what_its_predecessor_had_written_and_nothing_else(contender: Start, path: str) -> None:
    dead = contender()
    assert dead.ask("attempt", "lease:60", path)
    record = look(path)
    assert record is not None
    folder, name = os.path.split(path)
    left = Path(folder) / f".{name}.tmp.{record.token}"
    others = [
        Path(folder) / other for other in (f".{name}.tmp.x.lock", f".{name}.tmp.{'0' * 32}.lock", f"{name}.tmp.y")
    ]
    for file in (left, *others):
        file.write_text("written")
    dead.kill()
    hold = Lease(stale=60.0).attempt(path, None)
    assert hold is not None
    assert hold.token != record.token
    assert len(hold.token or "") == 32
    assert not left.exists()
    assert all(file.exists() for file in others)
    hold.release()


def test_a_holder_that_was_killed_and_not_yet_waited_for_is_succeeded(path: str) -> None:
    """A zombie holds nothing, but signals still reach it: in a container its parent may never look."""
    child = os.posix_spawn(
        os.fsencode("/bin/sh"),
        ["sh", "-c", "kill -9 $$"],
        os.environ,
    )
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    try:
        start = int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[19])
        boot = int(Path("/proc/sys/kernel/random/boot_id").read_text().replace("-", ""), 16)
        record = f"filelock/2\npid={child}\nhost={os.uname().nodename}\nmode=exclusive\nstart={boot << 64 | start}\n"
        Path(marker_file(path)).write_text(record)
        hold = Marker().attempt(path, None)
        assert hold is not None
        hold.release()
    finally:
        os.waitpid(child, 0)


@pytest.mark.parametrize("name", ["marker", "lease:1000"])
def test_an_owner_on_another_host_is_never_judged_by_its_pid(contender: Start, path: str, name: str) -> None:
    dead, other = contender(), contender()
    assert dead.ask("attempt", name, path)
    dead.kill()
    marker = Path(marker_file(path))
    elsewhere = marker.read_text().replace(f"host={os.uname().nodename}", "host=elsewhere")
    marker.write_text(elsewhere)
    assert other.ask("attempt", name, path) is False
    other.ask("age", 10_000.0)
    assert other.ask("attempt", name, path) is (name != "marker"), "only a lease runs out"


@pytest.mark.parametrize("name", ["marker", "lease:1000"])
def test_an_owner_in_another_container_is_never_judged_by_its_pid(contender: Start, path: str, name: str) -> None:
    dead, other = contender(), contender()
    assert dead.ask("attempt", name, path)
    dead.kill()
    marker = Path(marker_file(path))
    host = os.uname().nodename
    marker.write_text(marker.read_text().replace(f"host={host}", f"host={host}?pidns-f0000123"))
    assert other.ask("attempt", name, path) is False
    other.ask("age", 10_000.0)
    assert other.ask("attempt", name, path) is (name != "marker"), "only a lease runs out"


def test_where_locks_go_through_a_server_a_stuck_holder_is_succeeded_too(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There flock(2) is a byte lock on the whole sidecar, which the stuck holder keeps: the guard is another file."""
    monkeypatch.setattr(mounts, "mount_of", lambda path: Mount("/", "nfs4", frozenset({"rw"})))
    mounts.forget()
    lease = Lease(stale=1000.0)
    try:
        old = lease.attempt(path, None)
        assert old is not None
        assert os.path.exists(guard_file(path))
        assert lease.attempt(path, None) is None
        for one in _marker_attempt._contenders.values():
            one.age._since -= 10_000.0
        successor = lease.attempt(path, None)
        assert successor is not None
        with pytest.raises(LockLost), old.fence():
            raise AssertionError
        with successor.fence():
            pass
        old.release()
        successor.check()
        successor.release()
    finally:
        mounts.forget()


def test_strategies_of_other_terms_do_not_pass_for_each_other_in_one_process(path: str) -> None:
    assert attrs.evolve(Lease(stale=60.0)) == Lease(stale=60)
    hold = Lease(stale=60.0).attempt(path, None)
    assert hold is not None
    assert Lease(stale=60).attempt(path, None) is None
    hold.release()


@pytest.mark.parametrize(("lock", "fenced", "suffix"), [("lease", 1, True), ("marker", 1, False), ("flock", 0, False)])
def test_only_what_may_be_succeeded_is_fenced_and_only_a_lease_has_a_temporary_file_of_its_own(
    path: str, lock: Any, fenced: int, suffix: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fences: list[str] = []
    made: list[str] = []
    real = MarkerHold.fence

    def fence(hold: MarkerHold) -> Any:
        fences.append(hold.path)
        return real(hold)

    def around(call: Call, proceed: Callable[[], Any]) -> Any:
        if call.name == "open" and ".tmp" in os.path.basename(call.arguments[0]):
            made.append(os.path.basename(call.arguments[0]))
        return proceed()

    monkeypatch.setattr(MarkerHold, "fence", fence)
    store: Store[Any] = Store(path, lock=lock, system=intercepted(around))
    store.update(lambda state: state.update(a=1))
    assert len(fences) == fenced
    (name,) = made
    assert (name != ".state.json.tmp") is suffix
