"""A document too large to be read on an event loop is decoded in that thread too, for the first function of a batch."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import anyio
import pytest

from storewriter import AsyncStore, PerStoreWriterQueue, Store, StoreCorrupt, events
from storewriter.codecs import JsonCodec

LARGE = {"text": "x" * 70_000, "count": 0}


class NotingCodec:
    """JSON; notes in which threads it decodes."""

    def __init__(self) -> None:
        self.threads: list[int] = []

    def decode(self, data: bytes) -> Any:
        self.threads.append(threading.get_ident())
        return json.loads(data)

    def encode(self, state: Any) -> bytes:
        return json.dumps(state).encode()


@pytest.mark.parametrize("isolation", ["own", "shared"])
def test_it_is_decoded_beside_the_loop_and_the_function_runs_on_it(path: Path, run, isolation) -> None:
    path.write_text(json.dumps(LARGE))
    codec = NotingCodec()
    ran_in: list[int] = []

    def count(state: dict[str, Any]) -> int:
        ran_in.append(threading.get_ident())
        state["count"] += 1
        return state["count"]

    async def main() -> None:
        home = threading.get_ident()
        assert await AsyncStore(path, codec=codec, isolation=isolation).update(count) == 1
        assert ran_in == [home]
        assert codec.threads
        assert home not in codec.threads

    run(main)
    assert Store(path).read() == {**LARGE, "count": 1}


def test_a_small_one_is_decoded_where_its_function_runs(path: Path, run) -> None:
    path.write_text('{"count": 0}')
    codec = NotingCodec()

    async def main() -> None:
        await AsyncStore(path, codec=codec).update(lambda state: state.update(count=1))
        assert codec.threads[0] == threading.get_ident()

    run(main)


def test_every_function_gets_a_state_of_its_own(path: Path, run) -> None:
    path.write_text(json.dumps(LARGE))
    kept: list[dict[str, Any]] = []

    def keep(state: dict[str, Any]) -> None:
        state["count"] += 1
        kept.append(state)

    def fail(state: dict[str, Any]) -> None:
        state["count"] = -1
        raise ZeroDivisionError

    async def main() -> None:
        store = AsyncStore(path, queue=PerStoreWriterQueue())

        async def failing() -> None:
            with pytest.raises(ZeroDivisionError):
                await store.update(fail)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(failing)
            for _ in range(3):
                tasks.start_soon(store.update, keep)

    run(main)
    assert [state["count"] for state in kept] == [1, 2, 3]
    assert len({id(state) for state in kept}) == 3
    assert Store(path).read() == {**LARGE, "count": 3}


def test_a_damaged_one_is_reported_once_and_left_as_it_is(path: Path, run) -> None:
    damaged = json.dumps(LARGE)[:-1]
    path.write_text(damaged)
    told: list[events.Event] = []
    end = events.subscribe(lambda event: told.append(event) if isinstance(event, events.CorruptStore) else None)

    async def main() -> None:
        with pytest.raises(StoreCorrupt, match="line 1"):
            await AsyncStore(path).update(lambda state: state.clear())

    try:
        run(main)
    finally:
        end()
    assert len(told) == 1
    assert path.read_text() == damaged


def test_what_an_update_leaves_has_the_layout_that_was_found(path: Path, run) -> None:
    path.write_text(json.dumps(LARGE, indent=4))

    async def main() -> None:
        await AsyncStore(path, codec=JsonCodec()).update(lambda state: state.update(count=1))

    run(main)
    assert path.read_text() == json.dumps({**LARGE, "count": 1}, indent=4)
