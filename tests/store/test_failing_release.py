"""A lock that cannot be given back does not make an update fail that is on disk."""

from __future__ import annotations

import contextlib
import errno
import logging
from pathlib import Path
from typing import Any

import pytest
from test_group_commit import tasks_together, together

from storewriter import AsyncStore, PerStoreWriterQueue, Store
from storewriter.locks import Hold


class StuckHold:
    """Its server refuses the first attempt to give it back."""

    token: str | None = None

    def __init__(self) -> None:
        self.releases = 0

    def may_pass(self) -> bool:
        return True

    def check(self) -> None:
        pass

    def fence(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def describe(self, label: str | None) -> None:
        pass

    def release(self) -> None:
        self.releases += 1
        if self.releases == 1:
            raise PermissionError(errno.EACCES, "the marker cannot be removed")


class Sticky:
    """A lock whose holds are hard to give back."""

    name = "own"

    def __init__(self, *, is_quick: bool) -> None:
        self.is_quick = is_quick

    def attempt(self, path: str, label: str | None) -> Hold | None:
        return StuckHold()

    def owner(self, path: str) -> None:
        return None


def count(state: dict[str, Any]) -> int:
    state["n"] = state.get("n", 0) + 1
    return int(state["n"])


@pytest.mark.parametrize("is_quick", [True, False])
def test_what_was_committed_is_acknowledged(
    path: Path, run: Any, caplog: pytest.LogCaptureFixture, is_quick: bool
) -> None:
    queue = PerStoreWriterQueue(Sticky(is_quick=is_quick))
    store: Store[Any] = Store(path, queue=queue)
    with caplog.at_level(logging.ERROR, "storewriter"):
        assert store.update(count) == 1
        with store.transaction() as tx:
            assert count(tx.state) == 2
        assert [worker.result() for worker in together(queue, path, *[lambda: store.update(count)] * 3)] == [3, 4, 5]

        async def main() -> None:
            astore: AsyncStore[Any] = AsyncStore(path, queue=queue)
            assert await tasks_together(queue, path, *[lambda: astore.update(count)] * 3) == [6, 7, 8]
            async with astore.transaction() as tx:
                assert count(tx.state) == 9

        run(main)
    assert store.read() == {"n": 9}
    assert "could not release" in caplog.text


@pytest.mark.parametrize("is_quick", [True, False])
def test_a_turn_without_a_commit_says_so(path: Path, is_quick: bool) -> None:
    queue = PerStoreWriterQueue(Sticky(is_quick=is_quick))
    with pytest.raises(PermissionError, match="marker"), queue.turn(path):
        pass
