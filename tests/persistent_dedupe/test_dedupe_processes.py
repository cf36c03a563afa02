"""Several processes on one file: no record lost, one caller per key gets "new", whichever process is killed."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from persistent_dedupe import DedupeOptions, PersistentDedupe


def keys_in(folder: Path) -> set[str]:
    return set(json.loads((folder / "global.json").read_text()))


def test_processes_that_record_different_keys_in_one_file_lose_none(
    tmp_path: Path, start_child: Callable[..., Any]
) -> None:
    children = [start_child() for _ in range(4)]
    wanted = [[f"process {number} key {key}" for key in range(100)] for number in range(4)]
    for child, keys in zip(children, wanted, strict=True):
        child.tell("check", *keys)
    assert [child.answer() for child in children] == [[True] * 100] * 4
    assert keys_in(tmp_path) == {key for keys in wanted for key in keys}


def test_of_processes_that_record_the_same_key_exactly_one_is_told_new(start_child: Callable[..., Any]) -> None:
    children = [start_child() for _ in range(4)]
    keys = [f"key {number}" for number in range(100)]
    for child in children:
        child.tell("check", *keys)
    answers = [child.answer() for child in children]
    assert [sum(told) for told in zip(*answers, strict=True)] == [1] * 100


def test_a_holder_that_is_killed_holds_up_nobody(face: Any, tmp_path: Path, start_child: Callable[..., Any]) -> None:
    holder = start_child()
    assert holder.ask("hold") == "held"

    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=3600)

        async def kill() -> None:
            holder.process.send_signal(signal.SIGKILL)

        result, _ = await face.together(lambda: dedupe.check_and_record("k"), kill)
        assert (result.is_new, result.recorded) == (True, True)

    face.run(main)


def test_what_was_told_new_is_in_the_file_when_its_process_is_killed(
    tmp_path: Path, start_child: Callable[..., Any]
) -> None:
    """Killed at random moments, while it records one key after the other."""
    told: set[str] = set()
    for attempt in range(5):
        child = start_child()
        for number in range(1000):
            child.tell("check", f"{attempt}-{number}")
        told.update(f"{attempt}-{number}" for number in range(20 * attempt + 5) if child.answer() == [True])
        child.kill()
    assert len(told) == sum(20 * attempt + 5 for attempt in range(5))
    assert told <= keys_in(tmp_path)
    dedupe = PersistentDedupe(tmp_path, DedupeOptions(ttl=3600))
    assert not any(dedupe.check_and_record(key) for key in told)


@pytest.mark.parametrize(
    "count",
    [
        500,
        # Minutes on a small machine: every batch reads and writes a document of up to 10,000 keys.
        pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
    ],
)
def test_of_4_processes_with_16_tasks_each_exactly_one_caller_per_key_is_told_new(
    count: int, tmp_path: Path, start_child: Callable[..., Any]
) -> None:
    children = [start_child(file_max_entries=count, timeout=300) for _ in range(4)]
    for number, child in enumerate(children):
        child.tell("race", count, 16, number // 2, number)
    told = Counter(key for child in children for key in child.answer())
    assert told == dict.fromkeys(range(count), 1)
    assert keys_in(tmp_path) == {f"key-{key}" for key in range(count)}
