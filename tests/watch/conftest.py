"""Every promise of a watch holds by events and by looking alone."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["events", "looking"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)
