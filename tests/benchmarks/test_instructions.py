"""Counting instructions: the start of the interpreter, some hundred million of them, is left out."""

from __future__ import annotations

import pytest

pytest.importorskip("scipy")

from benchmarks.instructions import Operation, count, missing

PROGRAM = """
import sys
for _ in range(int(sys.argv[2])):
    sum(range(20_000))
"""


@pytest.mark.slow
def test_only_what_is_repeated_is_counted() -> None:
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    # Adding up an iterator takes some hundred instructions a number; the start would add twenty million.
    assert 20_000 * 10 < count(Operation(PROGRAM, repetitions=2)) < 20_000 * 500
