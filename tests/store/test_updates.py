"""One caller, one store: what update, transform, read and versions promise."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from helpers.counting import Counted
from helpers.lines import Worker, held
from storewriter import AsyncStore, LockTimeout, PerStoreWriterQueue, Store, VersionConflict
from storewriter.codecs import JsonCodec


def test_an_update_is_there_when_it_returns_and_its_result_comes_back(path: Path) -> None:
    store = Store(path)
    assert store.update(lambda state: state.setdefault("a", 1)) == 1
    assert json.loads(path.read_bytes()) == {"a": 1}
    assert store.read() == {"a": 1}
    assert store.path == str(path)
    assert str(path) in repr(store)


def test_the_async_face_does_the_same(path, run) -> None:
    async def main() -> None:
        store = AsyncStore(path)
        assert await store.read() == {}
        assert await store.update(lambda state: state.setdefault("a", 1)) == 1
        assert await store.transform(lambda state: {**state, "b": 2}) == {"a": 1, "b": 2}
        state, version = await store.read_versioned()
        assert state == {"a": 1, "b": 2}
        await store.update(lambda state: state.pop("a"), expect=version)
        with pytest.raises(VersionConflict):
            await store.update(lambda state: state.pop("b"), expect=version)
        async with store.transaction(label="t") as tx:
            tx.state["c"] = 3
        assert await store.read() == {"b": 2, "c": 3}

    run(main)


def test_a_store_that_does_not_exist_reads_as_its_default_and_is_not_created(path: Path) -> None:
    assert Store(path).read() == {}
    assert Store(path, default=list).read() == []
    assert Store(path, default=lambda: {"n": 0}).read() == {"n": 0}
    assert not path.exists()


def test_the_default_is_what_the_first_update_starts_from(path: Path) -> None:
    store = Store(path, default=lambda: {"n": 40})
    store.update(lambda state: state.update(n=state["n"] + 2))
    assert store.read() == {"n": 42}


def test_an_update_that_raises_writes_nothing_and_raises_the_same_error(path: Path) -> None:
    store = Store(path)
    store.update(lambda state: state.update(a=1))
    before = path.read_bytes()
    error = ZeroDivisionError("mine")

    def fail(state: dict[str, int]) -> None:
        state.clear()
        raise error

    with pytest.raises(ZeroDivisionError) as caught:
        store.update(fail)
    assert caught.value is error
    assert path.read_bytes() == before


def test_an_update_that_changes_nothing_writes_nothing(path: Path) -> None:
    system = Counted()
    store = Store(path, system=system)  # type: ignore[arg-type, call-overload]
    store.update(lambda state: state.update(a=1, b=2))
    found = path.stat()
    system.calls.clear()
    assert store.update(lambda state: state["a"]) == 1
    store.update(lambda state: state.update(a=1))
    store.transform(lambda state: dict(state))
    with store.transaction():
        pass
    assert system.calls["rename"] == system.calls["write"] == 0
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (found.st_ino, found.st_mtime_ns)


def test_an_update_that_leaves_the_default_creates_no_file(path: Path) -> None:
    store = Store(path)
    store.update(lambda state: None)
    assert not path.exists()


def test_transform_takes_immutable_states(path: Path) -> None:
    @attrs.frozen
    class State:
        n: int = 0

    @attrs.frozen
    class Codec:
        def encode(self, state: State) -> bytes:
            return str(state.n).encode()

        def decode(self, data: bytes) -> State:
            return State(int(data))

    store: Store[State] = Store(path, default=State, codec=Codec())
    assert store.transform(lambda state: attrs.evolve(state, n=state.n + 1)) == State(1)
    assert store.transform(lambda state: attrs.evolve(state, n=state.n + 1)) == State(2)
    assert path.read_bytes() == b"2"


def test_a_transform_that_forgets_to_return_is_refused(path: Path) -> None:
    store = Store(path)
    store.update(lambda state: state.update(a=1))
    with pytest.raises(ValueError, match="object"):
        store.transform(lambda state: state.update(b=1))  # type: ignore[arg-type, return-value]
    assert store.read() == {"a": 1}


@pytest.mark.parametrize("bad", [{"a": object()}, {"a": float("nan")}, {1: 2}, {"a": {1, 2}}, [1], "text", {"a": b"x"}])
def test_a_state_that_cannot_be_encoded_is_refused_and_the_document_stands(path: Path, bad: Any) -> None:
    store = Store(path)
    store.update(lambda state: state.update(a=1))
    before = path.read_bytes()
    with pytest.raises(ValueError, match="."):
        store.transform(lambda state: bad)
    assert path.read_bytes() == before
    store.update(lambda state: state.update(b=1))
    assert store.read() == {"a": 1, "b": 1}


def test_versions_are_of_the_content(path: Path) -> None:
    store = Store(path)
    assert store.read_versioned() == ({}, "absent")
    store.update(lambda state: state.update(a=1), expect="absent")
    _, first = store.read_versioned()
    store.update(lambda state: state.update(a=2))
    _, second = store.read_versioned()
    assert first != second
    store.update(lambda state: state.update(a=1))
    assert store.read_versioned()[1] == first
    with pytest.raises(VersionConflict) as caught:
        store.update(lambda state: state.update(a=3), expect=second)
    assert (caught.value.path, caught.value.expected, caught.value.found) == (str(path), second, first)
    assert store.read() == {"a": 1}


def test_what_is_no_version_is_no_conflict(path: Path) -> None:
    """A caller that decides anew after each conflict would try for ever."""
    store = Store(path)
    whole: Any = store.read_versioned()
    with pytest.raises(TypeError, match="expect must be a version of .*, a text from `read_versioned"):
        store.update(lambda state: state.update(a=1), expect=whole)
    assert store.read() == {}


def test_reading_without_a_loop_says_what_to_use(path: Path) -> None:
    with pytest.raises(RuntimeError, match="AsyncStore needs a task of asyncio or trio; in plain code use Store"):
        AsyncStore(path).read().send(None)


def test_compare_and_swap_in_a_loop_loses_nothing(path: Path) -> None:
    store = Store(path, durability="process")

    def bump() -> int:
        conflicts = 0
        for _ in range(25):
            while True:
                state, version = store.read_versioned()
                n = state.get("n", 0)
                try:
                    store.update(lambda state, n=n: state.update(n=n + 1), expect=version)
                except VersionConflict:
                    conflicts += 1
                else:
                    break
        return conflicts

    workers = [Worker(bump) for _ in range(4)]
    for worker in workers:
        worker.result()
    assert store.read() == {"n": 100}


def test_async_functions_run_in_the_task_that_asked(path, run) -> None:
    async def main() -> None:
        store = AsyncStore(path)

        async def fn(state: dict[str, Any]) -> str:
            await anyio.lowlevel.checkpoint()
            state["a"] = 1
            return "result"

        async def replace(state: dict[str, Any]) -> dict[str, Any]:
            await anyio.lowlevel.checkpoint()
            return {**state, "b": 2}

        class Callable:
            async def __call__(self, state: dict[str, Any]) -> None:
                state["c"] = 3

        assert await store.update(fn) == "result"
        assert await store.transform(replace) == {"a": 1, "b": 2}
        await store.update(Callable())
        assert await store.read() == {"a": 1, "b": 2, "c": 3}

    run(main)


def test_functions_that_hand_on_an_awaitable_are_awaited_and_never_acknowledged_unrun(path, run) -> None:
    async def main() -> None:
        store = AsyncStore(path)

        async def fn(state: dict[str, Any], n: int) -> int:
            await anyio.lowlevel.checkpoint()
            state[str(n)] = n
            return n

        assert await store.update(lambda state: fn(state, 1)) == 1
        assert await store.update(functools.partial(fn, n=2)) == 2
        assert await store.read() == {"1": 1, "2": 2}

    run(main)


def test_the_blocking_face_refuses_async_functions(path: Path) -> None:
    async def fn(state: dict[str, Any]) -> None:
        state["a"] = 1

    with pytest.raises(TypeError, match="AsyncStore"):
        Store(path).update(fn)  # type: ignore[unused-coroutine]
    assert not path.exists()


def test_an_async_function_that_raises_or_is_cancelled_writes_nothing(path, run) -> None:
    async def main() -> None:
        store = AsyncStore(path)

        async def fail(state: dict[str, Any]) -> None:
            state["a"] = 1
            raise ZeroDivisionError

        async def hang(state: dict[str, Any]) -> None:
            state["a"] = 1
            scope.cancel()
            await anyio.sleep_forever()

        with pytest.raises(ZeroDivisionError):
            await store.update(fail)
        with anyio.CancelScope() as scope:
            await store.update(hang)
        assert scope.cancelled_caught
        await store.update(lambda state: state.update(fine=1), timeout=1)
        assert await store.read() == {"fine": 1}

    run(main)


def test_the_queue_and_the_timeout_of_a_store_are_used(path, run) -> None:
    queue = PerStoreWriterQueue(timeout=20.0)
    store = Store(path, queue=queue, timeout=0.05)
    astore = AsyncStore(path, queue=queue, timeout=0.05)

    async def main() -> None:
        with pytest.raises(LockTimeout, match="nightly"):
            await astore.update(lambda state: None)

    with held(queue, path, label="nightly"):
        for call in (
            lambda: store.update(lambda state: None),
            lambda: store.transform(lambda state: state, timeout=0),
            lambda: store.transaction().__enter__(),
        ):
            with pytest.raises(LockTimeout):
                call()
        run(main)
    store.update(lambda state: state.update(a=1))


def test_bad_settings_are_refused(path: Path) -> None:
    for settings, kind in [
        ({"durability": "hope"}, ValueError),
        ({"default": {}}, TypeError),
        ({"timeout": -1}, ValueError),
        ({"backups": -1}, ValueError),
    ]:
        with pytest.raises(kind):
            Store(path, **settings)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="path"):
        Store("")
    with pytest.raises(ValueError, match="NUL"):
        Store("a\0b").read()


@pytest.mark.parametrize(("durability", "flushes"), [("power", 1), ("process", 0)])
def test_durability_decides_about_flushes(path: Path, durability: Any, flushes: int) -> None:
    system = Counted()
    store = Store(path, durability=durability, system=system)  # type: ignore[arg-type, call-overload]
    store.update(lambda state: state.update(a=1))
    system.calls.clear()
    store.update(lambda state: state.update(a=2))
    assert system.calls["flush"] == system.calls["flush_folder"] == flushes


def test_indented_documents_are_for_people(path: Path) -> None:
    store = Store(path, codec=JsonCodec(shape=dict, indent=2))
    store.update(lambda state: state.update(a=[1], ü="ö"))
    assert path.read_text(encoding="utf-8") == '{\n  "a": [\n    1\n  ],\n  "ü": "ö"\n}\n'


def test_no_temporary_file_is_left(path: Path) -> None:
    store = Store(path)
    for n in range(3):
        store.update(lambda state, n=n: state.update(n=n))
    assert sorted(os.listdir(path.parent)) == [".state.json.lock", "state.json"]
