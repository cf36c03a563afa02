"""Plugin of pytest, for `covering.py`: coverage notes for each line which tests run it, in their children too."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from coverage import Coverage


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """A context of its own for each test; children take it from the environment, forked ones from the settings."""
    coverage = Coverage.current()
    if coverage is not None:
        coverage.switch_context(item.nodeid)
        coverage.config.context = item.nodeid
        os.environ["COVERAGE_PROCESS_CONFIG"] = coverage.config.serialize()
    return (yield)
