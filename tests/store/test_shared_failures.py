"""With isolation="shared" a failure of one function is its own caller's, and what its neighbours were told is true."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_group_commit import tasks_together, together

from helpers.lines import Worker
from storewriter import AsyncStore, PerStoreWriterQueue, Store
from storewriter.codecs import DecodeError, FunctionCodec, JsonCodec
from storewriter.testing import Fault, intercepted

plain = JsonCodec(shape=dict)


class Interrupted(BaseException):
    """Comes from a signal handler, say."""


def add(name: str) -> Any:
    def fn(state: dict[str, Any]) -> str:
        state[name] = 1
        return name

    return fn


def told(workers: list[Worker]) -> list[str]:
    """What was acknowledged."""
    for worker in workers:
        worker.wait()
    return [worker.result() for worker in workers if worker.error is None]


@pytest.mark.parametrize("name", ["rename", "write", "open"])
def test_an_interrupt_before_the_rename_takes_back_one_update_only(
    queue: PerStoreWriterQueue, path: Path, name: str
) -> None:
    path.write_text("{}")
    fault = Fault(Interrupted(), name=name, skip=name == "open")
    store: Store[Any] = Store(path, queue=queue, isolation="shared", system=intercepted(fault))
    workers = together(queue, path, *(lambda n=n: store.update(add(n)) for n in ("one", "two", "three")))
    acknowledged = told(workers)
    assert fault.struck is not None
    assert acknowledged == ["one", "two"]
    assert sorted(store.read()) == sorted(acknowledged)


def _must_have_no_bad(data: bytes) -> Any:
    state = plain.decode(data)
    if "bad" in state:
        raise DecodeError("bad")
    return state


@pytest.mark.parametrize("order", [("one", "bad", "two"), ("bad", "one", "two"), ("one", "two", "bad")])
def test_a_state_that_cannot_be_read_back_fails_the_function_that_made_it(
    queue: PerStoreWriterQueue, path: Path, order: tuple[str, ...]
) -> None:
    codec = FunctionCodec(plain.encode, _must_have_no_bad)
    store: Store[Any] = Store(path, queue=queue, codec=codec, isolation="shared")

    def keep(state: dict[str, Any]) -> dict[str, Any]:
        return state

    workers = together(queue, path, *(lambda n=n: store.update(add(n)) for n in order), lambda: store.transform(keep))
    assert workers[3].result() == {"one": 1, "two": 1}
    assert sorted(told(workers[:3])) == ["one", "two"]
    assert isinstance(workers[order.index("bad")].error, DecodeError)
    assert store.read() == {"one": 1, "two": 1}


def _make_a_pair(state: dict[str, Any]) -> str:
    state["p"] = state["q"] = []
    return "pair"


def _put_one_into_the_other(state: dict[str, Any]) -> str:
    state["p"].append(state["q"])
    return "put"


def test_what_each_function_can_do_alone_is_nobodys_error(queue: PerStoreWriterQueue, path: Path, run: Any) -> None:
    """Together they leave a list that contains itself; each with a state of its own does not."""
    store: Store[Any] = Store(path, queue=queue, isolation="shared")
    calls = (_make_a_pair, _put_one_into_the_other)
    assert told(together(queue, path, *(lambda fn=fn: store.update(fn) for fn in calls))) == ["pair", "put"]
    assert store.read() == {"p": [[]], "q": []}
    store.transform(lambda _: {})

    async def main() -> None:
        astore: AsyncStore[Any] = AsyncStore(path, queue=queue, isolation="shared")
        assert await tasks_together(queue, path, *(lambda fn=fn: astore.update(fn) for fn in calls)) == ["pair", "put"]
        assert await astore.read() == {"p": [[]], "q": []}

    run(main)


class Alarm(Exception):
    """An ordinary error out of a signal handler."""


def test_an_alarm_while_the_shared_state_is_encoded_is_told_to_no_neighbour(
    queue: PerStoreWriterQueue, path: Path
) -> None:
    left = [1]

    def encode(state: Any) -> bytes:
        if len(state) == 3 and left:
            left.pop()
            raise Alarm
        return plain.encode(state)

    codec = FunctionCodec(encode, plain.decode)
    store: Store[Any] = Store(path, queue=queue, codec=codec, isolation="shared")
    workers = together(queue, path, *(lambda n=n: store.update(add(n)) for n in ("one", "two", "three")))
    assert told(workers) == ["one", "two"]
    assert isinstance(workers[2].error, Alarm)
    assert not left
    assert {"one", "two"} <= set(store.read())
