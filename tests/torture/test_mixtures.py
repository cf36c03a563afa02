"""One store, at once, by programs on several Pythons, each with threads, loops and child processes of every kind,
through every spelling of its path, beside programs with locks of their own: the counts are exact."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mixture import CALLERS, FILE, links

from helpers import node, postgres_server
from helpers.children import Child
from helpers.postgres_server import Server
from helpers.waiting import PATIENCE
from storewriter import Store

sys.path.append(str(Path(__file__).parent.parent / "neighbours"))
from programs import Program, program

ROOT = Path(__file__).parent.parent.parent
MIXTURE = Path(__file__).with_name("mixture.py")
COUNT = 8
_PATH = f"PYTHONPATH={ROOT / 'src'}"
THEIRS = 3
"""Updates of a neighbour in one go: the two do not know each other's locks, and take turns."""

LONG = 3 * PATIENCE
"""Seconds that several programs with several children each may take to start, and to end, on two cores."""


def pythons() -> dict[str, str]:
    """This interpreter, and those of the virtual environments that `make test-others` makes, with what it takes."""
    found = {"this": sys.executable}
    for python in sorted(ROOT.glob(".venv-3.*/bin/python")):
        wanted = "import sys, anyio, attrs, filelock, orjson, psycopg, trio; print(*sys.version_info[:2])"
        asked = subprocess.run([python, "-c", wanted], capture_output=True, text=True, check=False, timeout=60)
        if asked.returncode == 0 and asked.stdout.split() != [str(number) for number in sys.version_info[:2]]:
            found[asked.stdout.strip().replace(" ", ".")] = str(python)
    return found


@pytest.fixture
def others() -> dict[str, str]:
    """At least one other Python."""
    found = pythons()
    if len(found) == 1:
        pytest.skip("there is no other Python with what it takes (make test-others makes .venv-3.x)")
    return found


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """The address of a document on a PostgreSQL server."""
    create = pytest.importorskip("storewriter.postgres", reason="pip install 'storewriter[postgres]'").create
    reason = postgres_server.missing()
    if reason is not None:
        pytest.skip(reason)
    server = Server(postgres_server.installations()[0])
    try:
        server.create().start()
        create(server.dsn())
        yield server.dsn("mixture")
    finally:
        server.remove()


@contextlib.contextmanager
def programs(place: str, folder: Path, on: dict[str, str]) -> Iterator[list[Child]]:
    """Start one on each Python, with `folder` as its working folder; each is ready."""
    (folder / "answers").mkdir()
    with contextlib.ExitStack() as stack:
        started = [
            Child.of(
                [
                    "env",
                    f"--chdir={folder}",
                    _PATH,
                    python,
                    str(MIXTURE),
                    place,
                    name,
                    str(folder / "answers"),
                    str(COUNT),
                ]
            )
            for name, python in on.items()
        ]
        for each in started:
            stack.callback(each.close)
        for each in started:
            each.expect("ready", LONG)
        yield started


def judge(state: dict[str, Any], folder: Path, on: dict[str, str]) -> None:
    """Every caller has its answers, each place was given once, and the store says the same."""
    answers = {file.stem: json.loads(file.read_text()) for file in (folder / "answers").iterdir()}
    assert len(answers) == CALLERS * len(on)
    assert state["counts"] == dict.fromkeys(answers, COUNT)
    total = CALLERS * len(on) * COUNT
    assert state["place"] == total
    places = Counter(place for own in answers.values() for place in own)
    assert places == Counter(range(1, total + 1))
    for own in answers.values():
        assert own == sorted(own)


def in_files(folder: Path, on: dict[str, str]) -> None:
    """With two neighbours: filelock on a file that our own lock is on, and proper-lockfile on Node.js."""
    links(folder)
    path = folder / FILE
    with program("filelock-own", path) as one, program("proper-lockfile", path, node.PROGRAMS) as two:
        neighbours: list[Program] = [one, two]
        theirs = 0
        with programs(FILE, folder, on) as started:
            for each in started:
                each.tell()
            while any(each.process.poll() is None for each in started):
                for neighbour in neighbours:
                    neighbour.count(THEIRS)
                    theirs += neighbour.counted()
            for each in started:
                each.expect("done", LONG)
                each.finish()
    assert theirs >= len(neighbours) * THEIRS
    state = Store[dict[str, Any]](path).read()
    assert state["theirs"] == theirs
    judge(state, folder, on)
    assert set(os.listdir(folder / "store")) <= {
        "state.json",
        "state.json.flock",
        ".state.json.lock",
        ".state.json.tmp",
    }
    assert (folder / "link.json").is_symlink()


@pytest.mark.timeout(2 * LONG)
def test_one_python_and_two_neighbours(tmp_path: Path) -> None:
    _need_node()
    in_files(tmp_path, {"this": sys.executable})


@pytest.mark.timeout(2 * LONG)
def test_several_pythons_and_two_neighbours(tmp_path: Path, others: dict[str, str]) -> None:
    _need_node()
    in_files(tmp_path, others)


@pytest.mark.timeout(2 * LONG)
def test_every_python_that_is_there_in_a_database(tmp_path: Path, database: str) -> None:
    from storewriter.postgres._connections import caretaker

    on = pythons()
    with programs(database, tmp_path, on) as started:
        for each in started:
            each.tell()
        for each in started:
            each.expect("done", LONG)
            each.finish()
    state = Store[dict[str, Any]](database).read()
    caretaker().finish()  # idle connections are closed later; a test does not wait for that
    judge(state, tmp_path, on)


def _need_node() -> None:
    reason = node.why_not()
    if reason is not None:
        pytest.skip(reason)
