"""The fixtures of the pytest plugin, in a pytest of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import storewriter

PLUGIN = "storewriter.testing.plugin"

SUITE = """
import errno, json, pytest
from pathlib import Path
from storewriter import Store

def racy(path):
    state = json.loads(Path(path).read_text())
    state["n"] += 1
    Path(path).write_text(json.dumps(state))

def safe(path):
    Store(path, durability="process").update(lambda state: state.update(n=state["n"] + 1))

@pytest.fixture
def file(tmp_path):
    (tmp_path / "s.json").write_text('{"n": 0}')
    return tmp_path / "s.json"

def test_racy(race, file):
    race(racy, path=file)

def test_safe(race, file):
    race(safe, path=file, patience=0.3)

def test_faults(faults, file):
    made = faults(file.parent)
    store = Store(file, system=made.system)
    store.update(lambda state: state.update(n=1))
    made.acknowledged()
    assert "rename" in [call.name for call in made.calls]
    for number, cut in enumerate(made.power_cuts()):
        cut.disk.write_out(file.parent / str(number))
        copy = Path(f"{file.parent / str(number)}{file}")
        assert json.loads(copy.read_text())["n"] in ([1] if cut.acknowledged else [0, 1])
    with pytest.raises(ValueError, match="a store makes no system call 'fsync'; there are .*, flush,"):
        made.fail("fsync", OSError(errno.EIO, "no such method"))
    made.fail("write", OSError(errno.ENOSPC, "no space"))
    with pytest.raises(OSError, match="no space"):
        store.update(lambda state: state.update(n=2))
    assert made.has_failed
    assert store.read() == {"n": 1}

def test_clock(fake_clock):
    before = fake_clock()
    fake_clock.advance(1.5)
    assert fake_clock() == before + 1.5
    assert fake_clock.milliseconds() == round((before + 1.5) * 1000)
"""


def test_the_fixtures(tmp_path: Path) -> None:
    (tmp_path / "test_suite.py").write_text(SUITE)
    is_installed = any(point.value == PLUGIN for point in entry_points(group="pytest11"))
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    words += [] if is_installed else ["-p", PLUGIN]
    sources = str(Path(storewriter.__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": sources}
    ended = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100)
    assert "1 failed, 3 passed" in ended.stdout, ended.stdout + ended.stderr
    assert "FAILED test_suite.py::test_racy - Failed: updates are lost" in ended.stdout
    assert "the second call loads the file, and saves it" in ended.stdout


def test_pytest_finds_the_plugin_by_itself() -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"storewriter": PLUGIN}
