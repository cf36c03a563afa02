"""For the commands: `cli` runs a command line in this process and returns its code, its output and its errors."""

from __future__ import annotations

import pytest

from helpers.commands import Here


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Here:
    return Here(capfd)
