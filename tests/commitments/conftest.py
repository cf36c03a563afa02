"""Stores in their files, faces to use them through, and processes of their own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commitments_support import FIXTURES, Child, Face, Tasks, Threads


@pytest.fixture(params=["threads", "asyncio", "trio"])
def face(request: pytest.FixtureRequest) -> Face:
    return Threads() if request.param == "threads" else Tasks(request.param)


@pytest.fixture
def place(tmp_path: Path) -> Callable[[str], Path]:
    """Put a copy of a fixture where a store may be: `place("valid")`."""

    def copy(name: str) -> Path:
        path = tmp_path / "commitments.json"
        shutil.copyfile(FIXTURES / f"commitments-{name}.json", path)
        path.chmod(0o600)
        return path

    return copy


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a store by hand, in the layout of the programs that share it: `write(record("a"), ...)`."""

    def store_of(*entries: Any, **top: Any) -> Path:
        path = tmp_path / "commitments.json"
        document = {"version": 1, **top, "commitments": list(entries)}
        path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")
        path.chmod(0o600)
        return path

    return store_of


@pytest.fixture
def start_child() -> Iterator[Callable[[Path], Child]]:
    children: list[Child] = []

    def start(path: Path) -> Child:
        children.append(Child(path))
        return children[-1]

    yield start
    for child in children:
        child.end()
