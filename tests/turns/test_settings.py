"""What a queue is set up with, and what a turn is asked for with: checked when it is given, and fixed from then on."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from storewriter import Backoff, PerStoreWriterQueue
from storewriter.locks import Lease


@pytest.mark.parametrize(
    ("name", "value"),
    [("lock", "marker"), ("backoff", Backoff()), ("timeout", 1.0), ("max_pending", 1), ("warn_after", None)],
)
def test_a_setting_that_is_changed_later_is_refused_and_not_ignored(name: str, value: object) -> None:
    queue = PerStoreWriterQueue()
    with pytest.raises(AttributeError):
        setattr(queue, name, value)
    assert getattr(queue, name) == getattr(PerStoreWriterQueue(), name)


def test_another_queue_with_one_setting_changed_uses_it(path: Path) -> None:
    queue = attrs.evolve(PerStoreWriterQueue(timeout=5.0), lock="marker")
    assert queue.timeout == 5.0
    with queue.turn(path):
        assert path.with_name(".state.json.marker").exists()


def test_a_queue_shows_its_settings_and_nothing_else() -> None:
    assert repr(PerStoreWriterQueue(Lease(stale=5.0), backoff=Backoff(retries=3), timeout=None)) == (
        f"PerStoreWriterQueue(lock=Lease(stale=5.0), backoff={Backoff(retries=3)!r}, timeout=None, max_pending=None, "
        "warn_after=1.0)"
    )
    assert {name for name in dir(PerStoreWriterQueue()) if not name.startswith("_")} == {
        "backoff",
        "lock",
        "max_pending",
        "owner",
        "pending",
        "run_exclusive",
        "timeout",
        "turn",
        "warn_after",
    }
