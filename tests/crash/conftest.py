"""What the tests of crashes share."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_OURS = Path(tempfile.gettempdir()) / f"storewriter-loop-devices-{os.getuid()}.lock"


@pytest.fixture
def loop_devices() -> Iterator[None]:
    """One test at a time mounts images: the machine's loop devices are shared with test runs beside this one.

    A `mount` that looks for a free device opens those of others for an instant, and what they unmount is busy then.
    """
    with open(_OURS, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
