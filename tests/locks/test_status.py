"""`storewriter status`, on stores that real processes use."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from contenders import Contender
from helpers.users import EVE, needs_root, run_as
from storewriter._platform import mounts
from storewriter._platform.mounts import Mount
from storewriter.cli.status import status
from storewriter.locks import _holder
from storewriter.locks._marker_file import marker_file

Start = Callable[[], Contender]


def shown(*arguments: str) -> str:
    result = CliRunner().invoke(status, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def facts(path: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(shown("--json", path))
    return found


@pytest.mark.parametrize(("name", "strategy"), [("flock", "flock"), ("marker", "marker"), ("lease:60", "lease")])
def test_the_holder_is_shown_with_what_it_does_and_how_it_locks(
    contender: Start, path: str, name: str, strategy: str
) -> None:
    holder = contender()
    assert holder.ask("attempt", name, path, "the nightly digest")
    found = facts(path)
    assert found["strategy"] == strategy
    assert found["holder"]["pid"] == holder.pid
    assert found["holder"]["label"] == "the nightly digest"
    assert found["holder"]["state"] == "alive"
    assert found["holder"]["held_for"] >= 0
    assert found["stale"] == (60.0 if strategy == "lease" else None)
    text = shown(path)
    assert f"pid {holder.pid}" in text
    assert "the nightly digest" in text
    assert path in text


def test_waiters_for_the_kernel_lock_are_shown(contender: Start, path: str) -> None:
    holder, waiter = contender(), contender()
    assert holder.ask("attempt", "flock", path)
    waiter.ask("tell_waiting")
    waiter.tell("count", "flock", path, 1, None, False)
    assert waiter.answer() == ("note", "waiting")
    assert [one["pid"] for one in facts(path)["waiters"]] == [waiter.pid]
    holder.ask("release", path)
    assert waiter.answer() == [1]


@pytest.mark.parametrize("name", ["marker", "lease:60"])
def test_a_dead_holders_marker_is_told_from_a_living_ones(contender: Start, path: str, name: str) -> None:
    holder = contender()
    assert holder.ask("attempt", name, path)
    holder.kill()
    assert facts(path)["holder"]["state"] == "gone"
    assert "the next contender takes over" in shown(path)


def test_a_store_that_nobody_uses_is_free_and_nothing_is_created(path: str) -> None:
    found = facts(path)
    assert found["holder"] is None
    assert found["size"] is None
    assert found["locks_tried"] is False
    assert found["filesystem"] == mounts.mount_of(path).kind  # type: ignore[union-attr]
    text = shown(path)
    for fact in (
        "holder        none",
        "strategy      not used yet",
        "waiting       none that can be seen",
        "kernel locks  effective on this local file system (not tested: no lock file yet)",
    ):
        assert fact in text.splitlines()
    assert os.listdir(Path(path).parent) == []


def test_locks_are_tried_once_there_is_a_lock_file(contender: Start, path: str) -> None:
    one = contender()
    assert one.ask("attempt", "flock", path)
    assert facts(path)["locks_tried"] is True
    one.ask("release", path)
    found = facts(path)
    assert (found["locks_tried"], found["strategy"], found["holder"]) == (True, "flock", None)
    assert one.ask("attempt", "flock", path), "status has kept the lock"


def test_an_untrustworthy_mount_is_shown_with_what_to_do(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "mount_of", lambda path: Mount("/mnt", "fuse.sshfs", frozenset({"rw"})))
    assert facts(path)["locks"] == "host only"
    assert "lease" in shown(path)


def test_a_damaged_marker_is_shown_as_such(path: str) -> None:
    Path(marker_file(path)).write_text("?")
    assert "damaged" in shown(path)


def test_another_process_cannot_write_to_the_terminal(contender: Start, path: str) -> None:
    holder = contender()
    assert holder.ask("attempt", "marker", path, "\x1b[2Jgone\x07")
    text = shown(path)
    assert "\x1b" not in text
    assert "\x07" not in text


def test_several_stores_are_shown_one_after_another(path: str) -> None:
    other = f"{path}.other"
    lines = shown("--json", path, other).splitlines()
    assert [json.loads(line)["path"] for line in lines] == [path, other]
    text = shown(path, other)
    assert text.index(path) < text.index(other)


@needs_root
@pytest.mark.parametrize("name", ["flock", "marker", "lease:60"])
def test_a_user_who_is_shut_out_is_told_what_is_unknown(contender: Start, folder: Path, name: str) -> None:
    """The kernel names the process all the same; since when and what for stands in a file that only writers may read."""
    path = str(folder / "state.json")
    Path(path).write_text("{}")
    holder = contender()

    def asked() -> tuple[str, dict[str, Any]]:
        return " ".join(shown(path).split()), facts(path)

    assert holder.ask("attempt", name, path, "digest")
    text, found = run_as(EVE, asked)
    assert found["holder"]["pid"] == holder.pid
    assert "label" not in found["holder"]
    assert f"uid {EVE.uid} may not open" in found["holder_unknown"]
    assert f"holder pid {holder.pid}" in text
    assert "since when and what for is unknown" in text
    holder.ask("release", path)
    text, found = run_as(EVE, asked)
    assert found["holder"] is None
    assert f"holder unknown: uid {EVE.uid} may not open" in text
    assert "strategy unknown" in text
    seen = facts(path)
    assert seen["holder"] is None
    assert seen["holder_unknown"] is None


def test_a_holder_that_cannot_be_named_is_not_nobody(
    contender: Start, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One in another container, which /proc/locks leaves out, and which keeps no record."""
    assert contender().ask("lock_plainly", path) is None
    monkeypatch.setattr(_holder, "flock_holders", lambda found: [])
    assert "an unknown process" in shown(path)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that other users can reach."""
    with tempfile.TemporaryDirectory() as made:
        os.chmod(made, 0o755)
        yield Path(made)
