"""The typed codecs keep one contract: every test runs on each of them."""

from __future__ import annotations

import pytest
from library import KINDS, Kind


@pytest.fixture(scope="session", params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found
