"""Plugin of pytest, for `judge.py`: which tests have begun, also if the last of them never ends."""

from __future__ import annotations

from pathlib import Path

FILE = Path("at-test.txt").absolute()


def pytest_runtest_logstart(nodeid: str) -> None:
    """Before the fixtures."""
    with FILE.open("a") as file:
        file.write(f"{nodeid}\n")
