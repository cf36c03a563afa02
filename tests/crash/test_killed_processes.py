"""A process is killed between any two system calls of a commit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storewriter import Store
from storewriter._files.backups import backups_of
from storewriter._platform.system import SYSTEM
from storewriter.locks import Flock

CHILD = Path(__file__).with_name("killable_child.py")

SETTINGS: dict[str, dict[str, Any]] = {
    "power": {},
    "process": {"durability": "process"},
    "backups": {"backups": 2},
    "in place": {"in_place": True},
    "in place, process": {"in_place": True, "durability": "process", "backups": 1},
}


class Child:
    """The other process, and what it says."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, **request: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()

    def hear(self) -> list[str]:
        assert self._process.stdout is not None
        return self._process.stdout.readline().split()


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    with subprocess.Popen(
        [sys.executable, str(CHILD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Child(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0


@pytest.mark.parametrize("starts_empty", [False, True], ids=["a document", "no document yet"])
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_writer_killed_before_any_system_call_leaves_a_whole_document_and_lets_the_next_one_in(
    tmp_path: Path, child: Child, setting: str, starts_empty: bool
) -> None:
    options = SETTINGS[setting]
    killed_at: list[str] = []
    while True:
        path = tmp_path / f"{len(killed_at)}.json"
        store = Store[Any](path, timeout=20.0, **options)
        old: dict[str, Any] = {}
        if not starts_empty:
            for key in ("first", "old"):
                store.update(lambda state, key=key: state.update({key: True}))
                old[key] = True
        child.ask(path=str(path), options=options, stop=len(killed_at))
        said = child.hear()
        if said == ["committed"]:
            assert child.hear() == ["ended", "0"]
            assert store.read() == {**old, "new": True}
            break
        stopped, name, pid = said
        assert stopped == "stopped"
        os.kill(int(pid), signal.SIGKILL)
        assert child.hear() == ["ended", str(-signal.SIGKILL)]
        found = store.read()
        assert found in (old, {**old, "new": True}), name
        assert Flock().owner(str(path)) is None, name
        store.update(lambda state: state.update(next=True))
        assert store.read() == {**found, "next": True}, name
        assert json.loads(path.read_bytes()) == store.read(), name
        assert not list(tmp_path.glob(".*.tmp")), name
        killed_at.append(name)
    assert {"open", "write", "rename" if setting != "process" or starts_empty else "exchange"} <= set(killed_at)


KEEPING: dict[str, dict[str, Any]] = {
    "three": {"backups": 3},
    "one": {"backups": 1},
    "three, in place": {"backups": 3, "in_place": True},
    "two, process": {"backups": 2, "durability": "process"},
}


@pytest.mark.parametrize("setting", KEEPING)
def test_a_writer_killed_before_any_system_call_leaves_every_backup_that_is_due_and_in_order(
    tmp_path: Path, child: Child, setting: str
) -> None:
    options = KEEPING[setting]
    count = options["backups"]
    for stop in range(1000):
        path = tmp_path / f"{stop}.json"
        store = Store[Any](path, timeout=20.0, **options)
        for n in range(6):
            store.transform(lambda _, n=n: {"n": n})
        child.ask(path=str(path), options=options, stop=stop)
        said = child.hear()
        if said != ["committed"]:
            os.kill(int(said[2]), signal.SIGKILL)
        child.hear()
        found = store.read()
        newest = 5 if "new" in found else 4
        expected = [{"n": newest - number} for number in range(count)]
        left = [json.loads(Path(name).read_bytes()) for name in backups_of(str(path), SYSTEM)]
        assert [state for state in left if state != found][:count] == expected, said
        store.update(lambda state: state.update(next=True))
        after = [json.loads(Path(name).read_bytes()) for name in backups_of(str(path), SYSTEM)]
        assert after == [found, *expected][:count], said
        assert not list(tmp_path.glob(".*.backup-new")), said
        if said == ["committed"]:
            break
    assert stop > 10


def test_the_next_writer_puts_a_half_written_file_right_whether_or_not_it_writes(tmp_path: Path, child: Child) -> None:
    for stop in range(100):
        path = tmp_path / f"{stop}.json"
        store = Store[Any](path, in_place=True)
        store.update(lambda state: state.update(old="x" * 100))
        before = path.read_bytes()
        child.ask(path=str(path), options={"in_place": True}, stop=stop)
        _, name, pid = child.hear()
        os.kill(int(pid), signal.SIGKILL)
        child.hear()
        if name == "truncate":
            break
    assert name == "truncate"
    assert path.read_bytes() != before, "other programs see what was written so far"
    assert store.read() == {"old": "x" * 100}
    with store.transaction() as tx:
        assert path.read_bytes() == before
        tx.discard()
