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
        "also",
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


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-1, "-1"),
        (float("nan"), "nan"),
        ("5", "'5', which is not a number"),
        (True, "True, which is not a number"),
        (False, "False, which is not a number"),
        (10**400, "one that is too large"),
        (-(10**400), "-1000"),
    ],
    ids=lambda value: str(value)[:5],
)
def test_what_is_no_time_is_refused_with_what_is_wrong(path: Path, seconds: object, shown: str) -> None:
    with pytest.raises(ValueError, match=f"timeout must be None or a number of seconds from 0, got {shown}"):
        PerStoreWriterQueue(timeout=seconds)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"warn_after must be None or a number of seconds from 0, got {shown}"):
        PerStoreWriterQueue(warn_after=seconds)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"timeout must be .*, got {shown}"):
        PerStoreWriterQueue().turn(path, timeout=seconds)  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [0, 0.0, 10**300, float("inf"), None], ids=lambda value: str(value)[:5])
def test_any_time_that_is_one_is_taken(path: Path, seconds: float | None) -> None:
    with PerStoreWriterQueue(timeout=seconds, warn_after=seconds).turn(path):
        pass


def test_a_request_shows_what_was_asked_for_and_whether_it_is_in_use() -> None:
    queue = PerStoreWriterQueue("none")
    request = queue.turn("/x/a.json", b"/x/b.json", label="digest")
    assert repr(request) == "<TurnRequest for '/x/a.json', b'/x/b.json', label='digest', not in use>"
    with request:
        assert repr(request).endswith("label='digest', in use>")
    assert repr(queue.turn("/x/a.json")) == "<TurnRequest for '/x/a.json', not in use>"
