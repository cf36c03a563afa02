"""A writer is killed, or stopped, at every fault point of a turn and a commit: the others are let in, or are told why not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "every_point.py"


@pytest.mark.parametrize("strategy", ["flock", "marker", "lease"])
@pytest.mark.parametrize("what", ["kill", "stop"])
def test_at_every_point(what: str, strategy: str) -> None:
    ended = subprocess.run([sys.executable, str(PROGRAM), strategy, what], capture_output=True, text=True, timeout=110)
    assert not ended.stderr, ended.stderr
    assert ended.returncode == 0, ended.stdout
    points = [line.partition(": ") for line in ended.stdout.splitlines()[:-1]]
    assert len(points) > 30, "which calls two threads come to at the same time is another set each time"
    outcomes = {outcome for _, _, outcome in points}
    if what == "kill":
        assert outcomes == {"applied", "not applied"}
    else:
        assert {"another one got in", "named"} <= outcomes
