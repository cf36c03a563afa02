"""The steps of the models are the steps of the code, in its order, so that the two cannot drift apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from commit_model import CHANGE

from storewriter import PerStoreWriterQueue, Store
from storewriter._platform.journals import Journal
from storewriter.locks import Flock
from storewriter.testing import Call, intercepted


@attrs.frozen
class Noted:
    """A strategy that notes when the lock is taken and released."""

    steps: list[str]
    real: Flock = attrs.field(factory=Flock)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def attempt(self, path: str, label: str | None) -> Any:
        hold = self.real.attempt(path, label)
        self.steps.append("lock")
        release = hold.release

        def noted() -> None:
            release()
            self.steps.append("unlock")

        hold.release = noted  # type: ignore[method-assign]
        return hold


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
