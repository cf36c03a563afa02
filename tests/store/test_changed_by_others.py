"""What programs without the lock do to a document while a function runs is noticed before the rename."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from storewriter import AsyncStore, LockLost, Store
from storewriter.errors import DocumentChanged


def test_a_document_that_was_removed_meanwhile_does_not_come_back(path: Path) -> None:
    store: Store[Any] = Store(path)
    store.update(lambda state: state.update(old=1))
    seen: list[dict[str, Any]] = []

    def fn(state: dict[str, Any]) -> None:
        seen.append(dict(state))
        if len(seen) == 1:
            path.unlink()
        state["new"] = 1

    store.update(fn)
    assert seen == [{"old": 1}, {}]
    assert store.read() == {"new": 1}


def test_a_transaction_on_a_document_that_was_removed_meanwhile_is_refused(path: Path) -> None:
    store: Store[Any] = Store(path)
    store.update(lambda state: state.update(old=1))
    with pytest.raises(DocumentChanged), store.transaction() as tx:
        path.unlink()
        tx.state["new"] = 1
    assert not path.exists()


@pytest.mark.parametrize("kind", [LockLost, DocumentChanged])
def test_what_an_async_function_raises_itself_is_its_answer(path: Path, run: Any, kind: Any) -> None:
    runs: list[int] = []

    async def main() -> None:
        async def fn(state: dict[str, Any]) -> None:
            runs.append(1)
            raise kind("another store's", path="another", owner=None)

        with pytest.raises(kind, match="another store's"):
            await AsyncStore[Any](path).update(fn)

    run(main)
    assert len(runs) == 1
