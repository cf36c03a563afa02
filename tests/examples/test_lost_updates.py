"""The examples of published packages that lose updates: each shows the loss, and that turns keep both updates.

The packages are large; a script whose package is not installed is skipped. `pip install` lines are in the scripts.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples" / "lost_updates"
SCRIPTS = sorted(FOLDER.glob("*.py"))


def _package(script: Path) -> str:
    """What the script is about, as it is imported."""
    return re.findall(r"^from (\w+)\..* import", script.read_text(), re.MULTILINE)[0]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_the_published_package_loses_an_update_and_none_in_turns(script: Path, tmp_path: Path) -> None:
    package = _package(script)
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")

    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    lost, _, in_turns = done.stdout.partition("in turns: ")
    assert lost.startswith("updates are lost\nas threads:")
    assert "the first call loads the file" in lost
    assert in_turns.strip() == "no update was lost (threads, processes)"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_the_script_says_how_to_install_what_it_needs_and_where_it_was_reported(script: Path) -> None:
    text = script.read_text()

    assert re.search(rf"pip install {_package(script)}==[\d.]+ storewriter", text)
    assert "https://github.com/" in text
