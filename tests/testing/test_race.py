"""Functions and commands that lose updates are shown to do so, and those that do not are not."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import trio

from storewriter import Store
from storewriter.testing import race, race_commands


def plainly(path: str) -> None:
    with open(path) as file:
        state = json.load(file)
    state["count"] += 1
    with open(path, "w") as file:
        json.dump(state, file)


def atomically(path: str) -> None:
    state = json.loads(Path(path).read_text())
    state.setdefault("ids", []).append(os.urandom(8).hex())
    descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(path))
    with open(descriptor, "w") as file:
        json.dump(state, file)
    os.replace(temporary, path)


def by_descriptor(path: str) -> None:
    descriptor = os.open(path, os.O_RDWR)
    state = json.loads(os.read(descriptor, 1000))
    state["count"] += 1
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, json.dumps(state).encode())
    os.close(descriptor)


def locked(path: str) -> None:
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        plainly(path)


def with_a_store(path: str) -> None:
    Store[Any](path, durability="process").update(lambda state: state.update(count=state["count"] + 1))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "state.json"
    path.write_text('{"count": 0}')
    return path


@pytest.mark.parametrize("how", ["threads", "processes"])
@pytest.mark.parametrize("fn", [plainly, atomically])
def test_a_lost_update_is_shown_with_its_steps(fn: Any, how: Any, file: Path) -> None:
    seen = race(fn, path=file, how=[how])
    (lost,) = seen.lost
    assert lost.how == how
    assert len(lost.steps) == 3
    assert lost.found != lost.expected
    assert "updates are lost" in str(seen)
    assert file.read_text() == '{"count": 0}'


@pytest.mark.parametrize("fn", [locked, with_a_store])
def test_calls_that_exclude_each_other_lose_none(fn: Any, file: Path) -> None:
    seen = race(fn, path=file, how=["threads", "processes"], patience=0.3)
    assert not seen.lost, seen
    assert str(seen) == "no update was lost (threads, processes)"


@pytest.mark.parametrize("fn", [plainly, atomically])
def test_in_turns_of_storewriter_none_is_lost(fn: Any, file: Path) -> None:
    assert not race(fn, path=file, in_turns=True, patience=0.3).lost


def test_two_different_functions(file: Path) -> None:
    def other(path: str) -> None:
        state = json.loads(Path(path).read_text())
        state["other"] = True
        Path(path).write_text(json.dumps(state))

    assert race(plainly, other, path=file, how=["threads"]).lost


async def a_task(path: str) -> None:
    state = json.loads(Path(path).read_text())
    await asyncio.sleep(0)
    state["count"] += 1
    Path(path).write_text(json.dumps(state))


def test_tasks(file: Path) -> None:
    assert race(a_task, path=file, how=["tasks"]).lost
    assert not race(a_task, path=file, how=["tasks"], in_turns=True).lost


async def a_task_of_trio(path: str) -> None:
    state = json.loads(Path(path).read_text())
    await trio.lowlevel.checkpoint()
    state["count"] += 1
    Path(path).write_text(json.dumps(state))


def test_tasks_of_trio(file: Path) -> None:
    assert race(a_task_of_trio, path=file, backend="trio").lost
    assert not race(a_task_of_trio, path=file, backend="trio", in_turns=True).lost


def a_line(path: str) -> None:
    text = Path(path).read_text() if os.path.exists(path) else ""
    Path(path).write_text(f"{text}a line\n")


def test_a_file_that_is_not_there_yet_and_is_no_json(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    (lost,) = race(a_line, path=path, how=["threads"]).lost
    assert (lost.found, lost.expected) == (repr(b"a line\n"), repr(b"a line\na line\n"))
    assert not path.exists()
    assert not race(a_line, path=path, how=["threads"], in_turns=True, patience=0.3).lost


def refused(path: str) -> None:
    """Refuses a second call at the same time, instead of letting it wait."""
    os.close(os.open(f"{path}.lock", os.O_CREAT | os.O_EXCL))
    plainly(path)
    os.unlink(f"{path}.lock")


async def a_refused_task(path: str) -> None:
    os.close(os.open(f"{path}.lock", os.O_CREAT | os.O_EXCL))
    await a_task(path)
    os.unlink(f"{path}.lock")


@pytest.mark.parametrize("how", ["threads", "processes"])
def test_a_call_that_fails_beside_another_one_is_shown(how: Any, file: Path) -> None:
    (lost,) = race(refused, path=file, how=[how]).lost
    assert "a call has failed: FileExistsError" in lost.found


def test_a_task_that_fails_beside_another_one_is_shown(file: Path) -> None:
    (lost,) = race(a_refused_task, path=file).lost
    assert "a call has failed: FileExistsError" in lost.found


def test_a_process_that_ends_beside_another_one_is_shown(file: Path) -> None:
    def ends(path: str) -> None:
        if os.path.exists(f"{path}.lock"):
            os._exit(7)
        refused(path)

    (lost,) = race(ends, path=file, how=["processes"]).lost
    assert "a call has failed: exit code 7" in lost.found


def test_what_is_random_in_the_state_is_no_lost_update(file: Path) -> None:
    def random(path: str) -> None:
        plainly(path)
        state = json.loads(Path(path).read_text())
        new = {
            "id": os.urandom(8).hex(),
            os.urandom(8).hex(): 1,
            "list": [1, os.urandom(1).hex()],
            "kind": state["count"],
        }
        Path(path).write_text(json.dumps(state | {"more": new}))

    seen = race(random, path=file, how=["threads"], in_turns=True, patience=0.3)
    assert not seen.lost, seen
    assert race(random, path=file, how=["threads"]).lost


def test_how_follows_the_kind_of_the_function(file: Path) -> None:
    assert race(a_task, path=file).tried == ("tasks",)
    assert race(plainly, path=file).tried == ("threads", "processes")
    with pytest.raises(ValueError, match="how='threads' needs plain functions"):
        race(a_task, path=file, how=["threads"])


def test_a_function_that_changes_nothing_is_refused(file: Path) -> None:
    with pytest.raises(ValueError, match="no update that could be lost"):
        race(lambda path: None, path=file)


def test_an_error_of_a_call_alone_is_raised(file: Path) -> None:
    def fails(path: str) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        race(fails, path=file)


def test_what_is_no_way_and_a_task_that_is_no_coroutine_are_refused(file: Path) -> None:
    with pytest.raises(ValueError, match="how='fibres' is unknown"):
        race(plainly, path=file, how=["fibres"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="async functions"):
        race(plainly, path=file, how=["tasks"])


# The barrier has the commands load before any of them saves, so that nothing rests on their timing.
_COMMAND = """
import json, os, sys, time
path = sys.argv[1]
state = json.load(open(path))
if sys.argv[2:]:
    beside = os.path.dirname(path)
    open(os.path.join(beside, f"here-{os.getpid()}"), "w").close()
    end = time.monotonic() + 2
    while len(os.listdir(beside)) < 5 and time.monotonic() < end:
        time.sleep(0.001)
state["count"] += 1
temporary = f"{path}.{os.getpid()}"
json.dump(state, open(temporary, "w"))
os.replace(temporary, path)
"""


@pytest.mark.untraced  # the commands meet within two seconds
def test_commands_lose_updates_and_in_turns_they_do_not(file: Path) -> None:
    words = [sys.executable, "-c", _COMMAND, "{}"]
    seen = race_commands([*words, "meet"], path=file, rounds=1)
    assert seen.lost
    assert seen.lost[0].steps[0] == "4 commands load the file"
    assert not race_commands(words, path=file, rounds=1, in_turns=True).lost


def test_a_command_that_fails_alone_is_refused(file: Path) -> None:
    with pytest.raises(ValueError, match="ended with 3: oh"):
        race_commands([sys.executable, "-c", "import sys; print('oh', file=sys.stderr); sys.exit(3)"], path=file)
