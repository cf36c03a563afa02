"""How many functions an update enters when nothing is in its way: counted, not timed, so that any machine gives the same."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import storewriter
from storewriter import PerStoreWriterQueue, Store
from storewriter._platform import journals
from storewriter._platform.journals import Journal

SOURCE = os.path.dirname(storewriter.__file__)


def entered(work: Any) -> tuple[int, int]:
    """How many functions of the package, and in how many of its files, one piece of work enters.

    The least of several times: what was looked up is looked up again after a moment, which may be over.
    """
    return min(_entered_once(work) for _ in range(10))


def _entered_once(work: Any) -> tuple[int, int]:
    found: set[tuple[str, str]] = set()

    def count(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(SOURCE):
            found.add((frame.f_code.co_filename, frame.f_code.co_qualname))

    work()  # what is looked up once is known now
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return len(found), len({name for name, _ in found})


@pytest.mark.parametrize("journal", [Journal.ORDERED, Journal.OTHER])
def test_an_update_alone_enters_few_functions(path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever file system the tests run on: as on ext4 and xfs, and as elsewhere."""
    monkeypatch.setitem(journals._known, path.parent.stat().st_dev, (journal, float("inf")))
    store = Store(path)

    def bump(state: dict[str, int]) -> None:
        state["n"] = state.get("n", 0) + 1

    functions, files = entered(lambda: store.update(bump))
    assert functions <= 60
    assert files <= 12


def test_a_turn_alone_enters_few_functions(path: Path) -> None:
    queue = PerStoreWriterQueue()

    def turn() -> None:
        with queue.turn(path):
            pass

    functions, files = entered(turn)
    assert functions <= 25
    assert files <= 7
