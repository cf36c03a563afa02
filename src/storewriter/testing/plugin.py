"""The pytest plugin: fixtures for tests of programs that keep their state in files. Loaded by pytest itself.

race          the function `storewriter.testing.race`, which fails the test if an update was lost
faults        a function that makes `Faults` for a folder
fake_clock    a `FakeClock`
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from storewriter.testing.clock import FakeClock
from storewriter.testing.faults import Faults

__all__ = ["fake_clock", "faults", "race"]


@pytest.fixture
def race() -> Callable[..., None]:
    """Run two calls against each other as `storewriter.testing.race` does, and fail if an update was lost."""
    from storewriter.testing.race import race as run

    def checked(*functions: Any, **options: Any) -> None:
        __tracebackhide__ = True
        seen = run(*functions, **options)
        if seen.lost:
            pytest.fail(str(seen), pytrace=False)

    return checked


@pytest.fixture
def faults() -> Callable[..., Faults]:
    """Make a `Faults` for the folder of a store, before the store is made."""
    return Faults


@pytest.fixture
def fake_clock() -> FakeClock:
    """A clock that stands still until it is moved."""
    return FakeClock()
