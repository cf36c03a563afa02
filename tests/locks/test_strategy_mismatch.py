"""Contenders with different strategies find out from what is on disk, before anyone writes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from contenders import Contender, strategy
from helpers.lines import within
from storewriter import PerStoreWriterQueue, Store
from storewriter.errors import LockTimeout, StrategyMismatch
from storewriter.locks import Flock
from storewriter.locks._marker_file import marker_file

Start = Callable[[], Contender]

NAMES = ("flock", "marker", "lease:60", "lease:30")
PAIRS = list(itertools.permutations(NAMES, 2))


def store(path: str, name: str, timeout: float = 10.0) -> Store[dict[str, int]]:
    return Store(path, queue=PerStoreWriterQueue(lock=strategy(name), timeout=timeout))


def put(state: dict[str, int]) -> None:
    state["by"] = 1


@pytest.mark.parametrize("timeout", [0.0, 10.0])
@pytest.mark.parametrize(("theirs", "ours"), PAIRS)
def test_a_store_in_use_with_another_strategy_is_refused_by_name_before_anything_is_written(
    contender: Start, path: str, theirs: str, ours: str, timeout: float
) -> None:
    holder = contender()
    assert holder.ask("attempt", theirs, path, "the nightly digest")
    with pytest.raises(StrategyMismatch) as caught:
        store(path, ours, timeout).update(put)
    error = caught.value
    assert not Path(path).exists()
    assert error.theirs.startswith(theirs.partition(":")[0])
    assert error.ours.startswith(ours.partition(":")[0])
    assert error.owner is not None
    assert error.owner.pid == holder.pid
    assert f"pid {holder.pid}" in str(error)
    assert "the nightly digest" in str(error)
    assert error.path == path


@pytest.mark.parametrize("theirs", ["marker", "lease:60"])
def test_a_waiter_for_the_kernels_lock_is_refused_before_it_sleeps(path: str, theirs: str) -> None:
    """And not when its time is over, or never."""
    hold = strategy(theirs).attempt(path, None)
    assert hold is not None
    try:
        with pytest.raises(StrategyMismatch):
            within(5.0, lambda: Flock().wait(path, None))
    finally:
        hold.release()


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_an_unused_store_can_change_its_strategy(contender: Start, path: str, before: str, after: str) -> None:
    holder = contender()
    assert holder.ask("attempt", before, path)
    holder.ask("release", path)
    store(path, after).update(put)
    assert Path(path).exists()


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_a_dead_holders_leftovers_do_not_count_as_use(contender: Start, path: str, before: str, after: str) -> None:
    holder = contender()
    assert holder.ask("attempt", before, path)
    holder.kill()
    store(path, after).update(put)
    assert Path(path).exists()


@pytest.mark.parametrize(("theirs", "ours"), [pair for pair in PAIRS if "flock" not in pair])
def test_markers_and_leases_meet_without_kernel_locks_too(contender: Start, path: str, theirs: str, ours: str) -> None:
    holder, other = contender(), contender()
    for one in (holder, other):
        one.ask("without_kernel_locks")
    assert holder.ask("attempt", theirs, path)
    with pytest.raises(StrategyMismatch, match=f"pid {holder.pid}"):
        other.ask("attempt", ours, path)
    holder.ask("release", path)
    assert other.ask("attempt", ours, path)


def test_a_holder_that_keeps_no_record_is_waited_for_and_named(contender: Start, path: str) -> None:
    """flock(1), another library: it excludes every strategy all the same."""
    holder = contender()
    holder.ask("lock_plainly", path)
    for name in ("marker", "lease:60"):
        assert contender().ask("attempt", name, path) is False
        owner = strategy(name).owner(path)
        assert owner is not None
        assert owner.pid == holder.pid
    with pytest.raises(LockTimeout, match=f"pid {holder.pid}"):
        store(path, "flock", timeout=0.05).update(put)


def test_a_live_lease_is_never_aged_out_by_a_marker(contender: Start, path: str) -> None:
    """filelock's plain soft lock takes a lease's record for a damaged one, and removes it after two seconds."""
    holder, other = contender(), contender()
    for one in (holder, other):
        one.ask("without_kernel_locks")
    assert holder.ask("attempt", "lease:60", path)
    record = Path(marker_file(path)).read_bytes()
    for _ in range(3):
        with pytest.raises(StrategyMismatch):
            other.ask("attempt", "marker", path)
        other.ask("age", 100.0)
    assert Path(marker_file(path)).read_bytes() == record
    holder.ask("check", path)


def test_the_lock_file_of_a_neighbour_is_named_as_its_users_write_it(path: str) -> None:
    shared = Store[dict[str, int]](path, lock=Flock(file="{name}.lock"))

    def ask_for_the_other(_: dict[str, int]) -> None:
        with pytest.raises(StrategyMismatch, match=r"file='\{name\}\.lock'") as caught:
            shared.update(put)
        assert "FlockFile" not in str(caught.value)
        assert "Joined" not in str(caught.value)

    Store[dict[str, int]](path).update(ask_for_the_other)
