"""`storewriter race`: what it says, and its exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import storewriter

MODULE = """
import json
from pathlib import Path

def plainly(path):
    state = json.loads(Path(path).read_text())
    state["n"] += 1
    Path(path).write_text(json.dumps(state))

def nothing(path):
    pass

async def later(path):
    plainly(path)

def fails(path):
    {}["none"]

def ends(path):
    raise SystemExit(3)

def safely(path):
    import storewriter
    storewriter.Store(path).update(lambda state: state.update(n=1))

word = "no function"
"""


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    sources = str(Path(storewriter.__file__).parent.parent)
    command = [sys.executable, "-m", "storewriter", "race", *words]
    environment = {**os.environ, "PYTHONPATH": sources}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(MODULE)
    (tmp_path / "s.json").write_text('{"n": 0}')
    (tmp_path / "bad.json").write_text("{")
    return tmp_path


def test_a_function_that_loses_updates(folder: Path) -> None:
    ended = run(folder, "--store", "s.json", "mine:plainly")
    assert ended.returncode == 1
    assert "updates are lost\nas threads:\n  1. the first call loads the file" in ended.stdout
    assert "as processes:" in ended.stdout
    assert (folder / "s.json").read_text() == '{"n": 0}'


def test_with_storewriter_it_loses_none(folder: Path) -> None:
    ended = run(folder, "--store", "s.json", "--fix-with", "storewriter", "--as", "threads", "mine:plainly")
    assert (ended.returncode, ended.stdout) == (0, "no update was lost (threads)\n")
    assert ended.stderr == "", "that one call waits for the other is no warning"


def test_json(folder: Path) -> None:
    ended = run(folder, "--store", "s.json", "--as", "threads", "--json", "mine:plainly")
    assert ended.returncode == 1
    (lost,) = json.loads(ended.stdout)["lost"]
    assert (lost["how"], lost["found"], lost["expected"]) == ("threads", "{'n': 1}", "{'n': 2}")


def test_a_command_in_turns(folder: Path) -> None:
    code = "import sys; sys.path.insert(0, '.'); import mine; mine.plainly(sys.argv[1])"
    words = ["--rounds", "1", "--fix-with", "storewriter", "--", sys.executable, "-c", code, "{}"]
    ended = run(folder, "--store", "s.json", *words)
    assert (ended.returncode, ended.stdout) == (0, "no update was lost (commands)\n"), ended.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--store", "none.json", "mine:plainly"], "there is no file 'none.json'"),
        (["--store", "s.json", "mine:missing"], "mine:missing cannot be imported"),
        (["--store", "s.json", "nowhere:fn"], "nowhere:fn cannot be imported: No module named 'nowhere'"),
        (["--store", "s.json", "mine:word"], "mine:word is not a function"),
        (["--store", "s.json", "mine:nothing"], "there is no update that could be lost"),
        (["--store", "s.json", "--as", "threads", "--", "true"], "--as is for functions"),
        (["--store", "s.json", "--as", "tasks", "mine:plainly"], "how='tasks' needs async functions"),
        (["--store", "s.json", "--as", "threads", "mine:later"], "how='threads' needs plain functions"),
        (["--store", "s.json", "--", "false"], "false ended with 1. Try"),
        (["--store", "s.json", "mine:fails"], "mine:fails fails when it runs alone: KeyError: 'none' (in "),
        (["--store", "s.json", "mine:ends"], "mine:ends fails when it runs alone: SystemExit: 3 (in "),
        (["--store", "bad.json", "mine:plainly"], "fails when it runs alone: JSONDecodeError: "),
        (["--store", "s.json", "--fix-with", "storewriter", "mine:safely"], "mine:safely takes turns itself"),
    ],
)
def test_what_cannot_be_tried_is_wrong_usage(folder: Path, words: list[str], said: str) -> None:
    ended = run(folder, *words)
    assert ended.returncode == 2, ended.stdout
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("program", "code"), [("./no-such-program", 127), ("./mine.py", 126)], ids=["not found", "not executable"]
)
def test_a_command_that_cannot_be_started(folder: Path, program: str, code: int) -> None:
    ended = run(folder, "--store", "s.json", "--", program)
    assert (ended.returncode, f"'{program}' cannot be started: " in ended.stderr) == (code, True), ended.stderr
