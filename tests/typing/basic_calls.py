"""Never run: what users write on their first day, without annotations of their own where Python needs none.

mypy --strict and pyright (strict) must accept every line and find the types as they stand here
(`test_type_checkers.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypedDict, assert_type

import attrs

import storewriter
from storewriter import (
    AsyncStore,
    AsyncTransaction,
    Backoff,
    DecodeError,
    EncodeError,
    LockTimeout,
    Owner,
    PerStoreWriterQueue,
    Recovery,
    ReturnedAwaitable,
    Store,
    StoreCorrupt,
    StoreWriterError,
    Transaction,
    Turn,
    VersionConflict,
    events,
    run_exclusive,
)
from storewriter.codecs import FunctionCodec, JsonCodec, Versioned
from storewriter.codecs.attrs import AttrsCodec
from storewriter.locks import Flock, Lease, Marker, OpenClawLock

State = dict[str, Any]


class Counters(TypedDict):
    hits: int


@attrs.frozen
class Position:
    x: int = 0


def visit(state: State) -> int:
    visits: int = state.get("visits", 0) + 1
    state["visits"] = visits
    return visits


async def visit_later(state: State) -> int:
    return visit(state)


def no_hits() -> Counters:
    return {"hits": 0}


def hit(state: Counters) -> int:
    state["hits"] += 1
    return state["hits"]


def a_store_without_settings() -> None:
    store = Store("x.json")
    assert_type(store, Store[State])
    assert_type(store.read(), State)
    assert_type(store.read()["visits"], Any)
    assert_type(store.read_versioned(), tuple[State, str])
    assert_type(store.update(visit), int)
    store.update(lambda state: state.update(answered=True))
    store.update(lambda state: state.setdefault("names", []).append("a"))
    assert_type(store.update(lambda state: len(state)), int)
    assert_type(store.transform(lambda state: {**state, "a": 1}), State)
    assert_type(store.recover(), Recovery)
    assert_type(store.path, str)
    with store.transaction() as tx:
        assert_type(tx, Transaction[State])
        tx.state["greeted"] = True
        tx.state = {}
        tx.discard()
    with store.watch() as states:
        assert_type(next(states), State)
    for state in store.watch(events=False, poll=Backoff(maximum=2.0)):
        assert_type(state, State)


def a_store_is_named_without_its_type(store: Store, queue: PerStoreWriterQueue) -> AsyncStore:
    assert_type(store.read(), State)
    return AsyncStore(store.path, queue=queue)


def settings_of_a_store(path: Path, choice: Literal["power", "process"]) -> None:
    assert_type(Store(path), Store[State])
    assert_type(Store(b"x.json"), Store[State])
    assert_type(Store("x.json", durability="process", mode=0o644, backups=3), Store[State])
    assert_type(Store("x.json", durability=choice, isolation="shared", on_corrupt="restore"), Store[State])
    assert_type(Store("x.json", lock="lease", timeout=None), Store[State])
    assert_type(Store("x.json", lock=Flock(file="{name}.lock"), timeout=5), Store[State])
    assert_type(Store("x.json", lock=Lease(stale=30.0)), Store[State])
    assert_type(Store("x.json", queue=PerStoreWriterQueue(Marker(), timeout=5.0)), Store[State])
    assert_type(Store("x.json", codec=JsonCodec(indent=2)), Store[State])
    assert_type(Store("x.json", default=dict), Store[State])
    assert_type(Store("x.json", default=dict[str, int]), Store[dict[str, int]])
    assert_type(Store("x.json", default=list[str]), Store[list[str]])
    assert_type(Store("x.json", default=no_hits), Store[Counters])
    assert_type(Store("x.json", default=no_hits).update(hit), int)
    assert_type(Store("x.json", default=Position, codec=AttrsCodec(Position)), Store[Position])
    mine: Store[dict[str, list[int]]] = Store("x.json", default=dict)
    assert_type(mine.read(), dict[str, list[int]])
    named: Store[Counters] = Store("x.json", default=lambda: {"hits": 0})
    assert_type(named.read(), Counters)


def codecs_of_a_store() -> None:
    def encode(position: Position) -> bytes:
        return str(position.x).encode()

    def decode(data: bytes) -> Position:
        return Position(int(data))

    robot = Store("robot.txt", default=Position, codec=FunctionCodec(encode, decode))
    assert_type(robot, Store[Position])
    assert_type(robot.transform(lambda here: attrs.evolve(here, x=here.x + 3)), Position)
    assert_type(Store("v.json", codec=Versioned(JsonCodec(shape=dict), version=1)), Store[State])
    versioned = Versioned(AttrsCodec(Position), version=2, migrations={1: lambda old: {**old, "x": 0}})
    assert_type(Store("p.json", default=Position, codec=versioned), Store[Position])


async def tasks() -> None:
    store = AsyncStore("x.json")
    assert_type(store, AsyncStore[State])
    assert_type(await store.read(), State)
    assert_type(await store.update(visit), int)
    assert_type(await store.update(visit_later), int)
    assert_type(await store.update(lambda state: len(state)), int)
    await store.update(lambda state: state.update(answered=True))
    assert_type(await store.transform(lambda state: {**state, "a": 1}), State)
    async with store.transaction(label="why", timeout=1) as tx:
        assert_type(tx, AsyncTransaction[State])
        tx.state["greeted"] = True
    async with store.watch() as states:
        async for state in states:
            assert_type(state, State)
    assert_type(await run_exclusive("x.json", lambda: 1), int)


def turns() -> None:
    queue = PerStoreWriterQueue(timeout=5.0)
    with queue.turn("a.json", Path("b.json"), label="both") as turn:
        assert_type(turn, Turn)
        turn.check()
    assert_type(queue.pending("a.json"), int)
    assert_type(queue.owner("a.json"), Owner | None)
    PerStoreWriterQueue("marker", also=OpenClawLock())
    PerStoreWriterQueue(lock="none", also=[OpenClawLock(stale=30.0)], max_pending=10, warn_after=None)
    assert_type(attrs.evolve(queue, timeout=1.0), PerStoreWriterQueue)


def errors(store: Store, version: str) -> None:
    assert_type(storewriter.__version__, str)
    try:
        store.update(visit, expect=version, label="visit", timeout=0)
    except LockTimeout as error:
        assert_type(error.waited, float)
        assert_type(error.owner, Owner | None)
    except VersionConflict as error:
        assert_type(error.found, str)
    except StoreCorrupt as error:
        assert_type(error.line, int | None)
    except (DecodeError, EncodeError, ReturnedAwaitable) as error:
        base: StoreWriterError = error
        raise base from None


def listen() -> None:
    def show(event: events.Event) -> None:
        if isinstance(event, events.TurnWaited):
            assert_type(event.owner, Owner | None)

    end = events.subscribe(show)
    end()
