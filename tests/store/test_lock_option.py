"""`Store(..., lock=...)`: the short way to a queue with that lock strategy; what is not a queue is refused at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from persistent_dedupe import DedupeOptions
from storewriter import AsyncStore, PerStoreWriterQueue, Store, StrategyMismatch
from storewriter.locks import Lease
from storewriter.locks._marker_owner import owner_at

BOTH = [Store, AsyncStore]


@pytest.mark.parametrize("lock", ["marker", "lease", Lease(stale=30.0)])
def test_a_store_uses_the_strategy_that_it_is_given(path: Path, lock: Any) -> None:
    store = Store(path, lock=lock)
    seen: list[str | None] = []

    def look(state: dict[str, Any]) -> None:
        owner = owner_at(str(path))
        seen.append(None if owner is None else owner.strategy)

    store.update(look)
    assert seen == [lock if isinstance(lock, str) else "lease"]


def test_stores_with_one_lock_share_a_line_and_another_one_is_refused(path: Path) -> None:
    with Store(path, lock="lease").transaction():
        with pytest.raises(StrategyMismatch):
            Store(path, timeout=0).update(lambda state: None)
        assert PerStoreWriterQueue(lock="lease").pending(path) == 0
    Store(path, lock="lease").update(lambda state: state.update(a=1))
    assert Store(path).read() == {"a": 1}


@pytest.mark.parametrize("kind", BOTH)
def test_lock_and_queue_together_are_refused(kind: Any, path: Path) -> None:
    with pytest.raises(TypeError, match="either lock= or queue=, not both"):
        kind(path, lock="flock", queue=PerStoreWriterQueue())


@pytest.mark.parametrize("kind", BOTH)
def test_a_name_in_place_of_a_queue_is_refused_with_what_to_write(kind: Any, path: Path) -> None:
    with pytest.raises(
        TypeError, match="queue must be a PerStoreWriterQueue, got 'lease'; a lock strategy is given as lock="
    ):
        kind(path, queue="lease")


@pytest.mark.parametrize("kind", BOTH)
def test_an_unknown_name_is_refused(kind: Any, path: Path) -> None:
    with pytest.raises(
        ValueError, match="lock='leese' is not a strategy; choose one of 'flock', 'marker', 'lease', 'none'"
    ):
        kind(path, lock="leese")


def test_in_place_does_not_go_with_a_lease_given_either_way(path: Path) -> None:
    with pytest.raises(ValueError, match="in_place=True does not go with lock='lease'"):
        Store(path, lock="lease", in_place=True)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: PerStoreWriterQueue(backoff=0.1), "backoff must be a Backoff, got 0.1"),  # type: ignore[arg-type]
        (lambda path: Store(path, mode="0600"), "mode must be a number such as 0o600, got '0600'"),  # type: ignore[arg-type, call-overload]
        (lambda path: Store(path, in_place="no"), "in_place must be True or False, got 'no'"),  # type: ignore[arg-type, call-overload]
        (lambda path: DedupeOptions(ttl=1, queue="lease"), "queue must be a PerStoreWriterQueue"),  # type: ignore[arg-type]
    ],
)
def test_settings_of_the_wrong_type_are_refused_when_they_are_given(path: Path, make: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        make(path)


@pytest.mark.parametrize("mode", [600, 0o1600, -1])
def test_a_mode_that_is_none_is_refused(mode: int, path: Path) -> None:
    with pytest.raises(ValueError, match=f"mode must be from 0 to 0o777, got {mode}, which is {oct(mode)}"):
        Store(path, mode=mode)
