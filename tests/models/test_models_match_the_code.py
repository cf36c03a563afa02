"""The steps of the models are the steps of the code, in its order, so that the two cannot drift apart."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import attrs
import pytest
from commit_model import CHANGE
from lease_model import LEASE, MARKER

from storewriter import PerStoreWriterQueue, Store
from storewriter._platform.journals import Journal
from storewriter.locks import Flock, Lease, Marker
from storewriter.testing import Call, intercepted


@attrs.frozen
class Noted:
    """A strategy that notes when the lock is taken and released."""

    steps: list[str]
    real: Flock = attrs.field(factory=Flock)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def attempt(self, path: str, label: str | None) -> Any:
        hold: Any = self.real.attempt(path, label)
        self.steps.append("lock")
        return NotedHold(hold, self.steps)


@attrs.define
class NotedHold:
    """What it hands out: another hold, whose release is noted."""

    real: Any
    steps: list[str]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def release(self) -> None:
        self.real.release()
        self.steps.append("unlock")


def test_an_update_takes_the_steps_of_the_commit_model(tmp_path: Path) -> None:
    steps: list[str] = []

    def around(call: Call, proceed: Callable[[], Any]) -> Any:
        if call.name == "journal":
            return Journal.ORDERED
        result = proceed()
        if call.name in CHANGE:
            steps.append(call.name)
        return result

    path = tmp_path / "state.json"
    Store(path).update(lambda state: state.update(n=1))
    queue = PerStoreWriterQueue(lock=Noted(steps))
    store = Store(path, queue=queue, system=intercepted(around))

    def change(state: dict[str, int]) -> None:
        steps.append("load")
        state["n"] += 1

    store.update(change)
    steps.append("answer")
    assert tuple(steps) == CHANGE


LEASE_CODE = {
    "look": ("look", "look_again"),
    "_lock_sidecar": ("lock_sidecar",),
    "_put_down": ("put_down",),
    "Guard.take": ("take_guard", "fence", "guard_release"),
    "Guard.leave": ("leave_guard", "leave_fence"),
    "MarkerHold.refresh": ("refresh",),
    "MarkerHold.check": ("check",),
    "MarkerHold._give_back": ("remove_own",),
}
"""By function of `storewriter.locks`: the steps that its calls make, in order."""

LEASE_ORDER = tuple(step for step in LEASE if step not in ("remove", "look_at_own", "end_release"))
"""Without what one lease on a free store has no call of its own for: filelock looks at the marker and removes it."""


@pytest.mark.parametrize("lock", [Lease(), Marker()], ids=["lease", "marker"])
def test_an_update_under_a_marker_takes_the_steps_of_its_model(lock: Lease | Marker, tmp_path: Path) -> None:
    steps: list[str] = []
    left = {name: list(names) for name, names in LEASE_CODE.items()}

    def profile(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and "/locks/_" in frame.f_code.co_filename and left.get(frame.f_code.co_qualname):
            steps.append(left[frame.f_code.co_qualname].pop(0))

    def around(call: Call, proceed: Callable[[], Any]) -> Any:
        if call.name == "rename":
            steps.append("rename")
        return proceed()

    path = tmp_path / "state.json"
    path.write_text('{"n": 1}')
    store = Store[Any](path, queue=PerStoreWriterQueue(lock=lock), system=intercepted(around))

    def change(state: dict[str, int]) -> None:
        steps.append("load")
        state["n"] += 1

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        store.update(change)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    if isinstance(lock, Marker):
        assert tuple(steps) == tuple(step for step in LEASE_ORDER if step in MARKER)
    else:
        assert tuple(steps) == LEASE_ORDER
