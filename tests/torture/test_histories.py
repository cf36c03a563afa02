"""Histories of several processes, of which some are killed, have an order that explains every answer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "histories.py"


def histories(*options: str, is_sound: bool = True) -> tuple[int, str]:
    ended = subprocess.run([sys.executable, str(PROGRAM), *options], capture_output=True, text=True, timeout=110)
    if is_sound:  # a planted defect may also end a thread, with a document that was torn
        assert not ended.stderr, ended.stderr
    return ended.returncode, ended.stdout


def test_every_history_has_an_order() -> None:
    code, said = histories("--count", "12")
    assert code == 0, said
    assert "12 histories" in said


@pytest.mark.parametrize("plant", ["load before the lock", "no lock", "acknowledge before the save"])
def test_a_planted_defect_is_found(plant: str) -> None:
    code, said = histories("--count", "100", "--plant", plant, is_sound=False)  # until one is found
    assert code == 1, said
    assert "has no order" in said
