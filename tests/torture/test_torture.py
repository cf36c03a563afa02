"""A short torture of every strategy and API; the long one is `make torture`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent


def torture(folder: Path, *options: str) -> tuple[int, str]:
    words = [sys.executable, str(PROGRAM), "--once", "--folder", str(folder), *options]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=110)
    assert not ended.stderr, ended.stderr
    return ended.returncode, ended.stdout


@pytest.mark.parametrize("strategy", ["flock", "marker", "lease"])
def test_nothing_is_lost_torn_stuck_or_left_behind(strategy: str, tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    code, said = torture(tmp_path, "--only", strategy, "--seconds", "1.0", "--json", str(figures))
    assert code == 0, said
    found = json.loads(figures.read_text())
    assert found["rounds"] == 8
    assert found["kills"] >= 24
    assert found["answered"] > 0
    assert found["reads"] > 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["figures.json"]


@pytest.mark.parametrize("plant", ["acknowledge before the save", "load before the lock", "no lock"])
def test_a_planted_defect_is_found(plant: str, tmp_path: Path) -> None:
    code, said = torture(tmp_path, "--only", "flock, threads", "--seconds", "3", "--plant", plant)
    assert code == 1
    assert "round 1, flock, threads" in said
