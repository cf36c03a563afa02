"""Node.js counterparts: installed once, and skipped with a reason where that cannot be done."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.node import PROGRAMS, why_not


@pytest.fixture(scope="session")
def node() -> Path:
    """The folder of the programs on Node.js, with their packages installed."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    return PROGRAMS
