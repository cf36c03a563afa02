"""Contenders for every test here, gone when it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contenders import Contender, start_server

# Here, and not in the first test that needs it: that test would seem to leave the server's pipes behind.
start_server()


@pytest.fixture
def contender() -> Iterator[Callable[[], Contender]]:
    started: list[Contender] = []

    def start() -> Contender:
        started.append(Contender())
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A store that does not exist yet, in a folder of its own."""
    folder = tmp_path.resolve() / "stores"
    folder.mkdir()
    return str(folder / "state.json")
