"""The release of a lock that is interrupted twice is made all the same: by ordinary exceptions, such as a timer's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from storewriter import PerStoreWriterQueue
from storewriter.locks import Flock
from storewriter.locks.flock import _FlockHold


class Expired(Exception):
    """What a signal handler raises."""


@pytest.mark.parametrize("times", [1, 2, 3])
def test_the_lock_is_free_afterwards(times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, release, interrupts = str(tmp_path / "a.json"), _FlockHold.release, [Expired() for _ in range(times)]

    def interrupted(self: Any) -> None:
        if interrupts:
            raise interrupts.pop()
        release(self)

    monkeypatch.setattr(_FlockHold, "release", interrupted)
    with pytest.raises(Expired) as caught, PerStoreWriterQueue(timeout=0).turn(path):
        pass
    hold = Flock().attempt(path, None)  # while what was raised, and with it the frames of the turn, is still there
    assert hold is not None
    hold.release()
    del caught
    assert not interrupts
