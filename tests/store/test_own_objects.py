"""What a caller keeps is the caller's: changed outside of an update, it is never saved. In small and large documents."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import anyio
import pytest

from helpers.waiting import until_async, wait_for
from storewriter import AsyncStore, PerStoreWriterQueue, Store
from storewriter._platform.system import System
from storewriter.codecs import FunctionCodec, JsonCodec

BESIDE = 1 << 18
LARGE = 1 << 14

PADDING = {"small": "", "large": "x" * (LARGE + 1000), "huge": "x" * (BESIDE + 1000)}


@pytest.fixture(params=list(PADDING))
def store(request: pytest.FixtureRequest, path: Path) -> Store[dict[str, Any]]:
    """A store with a small document, one large enough to be remembered between updates, or to be proven beside a save."""
    store = Store(path)
    store.update(lambda state: state.update(padding=PADDING[request.param], items=[]))
    return store


def content(store: Store[dict[str, Any]]) -> dict[str, Any]:
    state = Store(store.path).read()
    del state["padding"]
    return state


def touch(store: Store[dict[str, Any]]) -> None:
    """Another update, which saves whatever is remembered."""
    store.update(lambda state: state.update(touched=state.get("touched", 0) + 1))


def test_what_an_update_returned(store: Store[dict[str, Any]]) -> None:
    items = store.update(lambda state: state["items"])
    items.append("outside")
    touch(store)
    assert content(store) == {"items": [], "touched": 1}


def test_what_an_update_put_in(store: Store[dict[str, Any]]) -> None:
    mine = {"a": 1}
    store.update(lambda state: state.update(mine=mine))
    mine["b"] = 2
    touch(store)
    assert content(store) == {"items": [], "mine": {"a": 1}, "touched": 1}
    store.update(lambda state: state["mine"].update(c=3))
    assert mine == {"a": 1, "b": 2}


def test_what_an_update_kept_in_a_closure(store: Store[dict[str, Any]]) -> None:
    kept: list[Any] = []
    store.update(lambda state: kept.append(state))
    kept[0]["outside"] = True
    touch(store)
    assert content(store) == {"items": [], "touched": 1}


class Defaults:
    TAGS: list[str] = []


def test_what_an_update_took_from_a_class(store: Store[dict[str, Any]]) -> None:
    """The usual place for mutable defaults: a class or a module of settings."""
    Defaults.TAGS.clear()
    store.update(lambda state: state.update(tags=Defaults.TAGS))
    Defaults.TAGS.append("outside")
    touch(store)
    assert content(store) == {"items": [], "tags": [], "touched": 1}


def _put_default_argument(state: dict[str, Any], tags: list[str] = []) -> None:  # noqa: B006 - the point of the test
    state["tags"] = tags


def test_what_an_update_took_from_a_default_argument(store: Store[dict[str, Any]]) -> None:
    store.update(_put_default_argument)
    store.update(lambda state: state["tags"].append("inside"))
    store.update(_put_default_argument)
    assert content(store)["tags"] == []


def test_one_object_put_in_twice_becomes_two(store: Store[dict[str, Any]]) -> None:
    shared: list[int] = []
    store.update(lambda state: state.update(a=shared, b=shared))
    store.update(lambda state: state["a"].append(1))
    assert content(store) == {"items": [], "a": [1], "b": []}


def test_a_part_of_the_state_put_in_a_second_time_becomes_a_copy(store: Store[dict[str, Any]]) -> None:
    store.update(lambda state: state.update(previous=state["items"]))
    store.update(lambda state: state["items"].append(1))
    assert content(store) == {"items": [1], "previous": []}


def test_a_part_put_in_a_second_time_by_somebody_the_function_calls_becomes_a_copy(
    store: Store[dict[str, Any]],
) -> None:
    store.update(lambda state: _put_twice(state))
    touch(store)
    store.update(lambda state: state["items"].append(1))
    assert content(store) == {"items": [1], "previous": [], "touched": 1}


def _put_twice(state: dict[str, Any]) -> None:
    state["previous"] = state["items"]


def test_a_new_object_put_in_twice_beside_a_text_that_loses_its_brackets_becomes_two(
    store: Store[dict[str, Any]],
) -> None:
    """The number of brackets in the document stays what it was."""
    store.update(lambda state: state.update(text="[["))
    touch(store)
    store.update(lambda state: _put_new_twice(state))
    store.update(lambda state: state["a"].append(1))
    assert content(store) == {"items": [], "text": "", "a": [1], "b": [], "touched": 1}


def _put_new_twice(state: dict[str, Any]) -> None:
    state["text"] = ""
    state["a"] = state["b"] = []


_HIDDEN: list[Any] = []


def _hide(part: Any) -> None:
    _HIDDEN.append(part)


@pytest.mark.parametrize("part", ["state", "items"])
def test_what_somebody_the_function_called_has_kept(store: Store[dict[str, Any]], part: str) -> None:
    _HIDDEN.clear()
    touch(store)
    store.update(lambda state: _hide(state if part == "state" else state["items"]))
    hidden = _HIDDEN.pop()
    (hidden["items"] if part == "state" else hidden).append("outside")
    touch(store)
    assert content(store) == {"items": [], "touched": 2}


def test_the_next_update_sees_what_the_document_says(store: Store[dict[str, Any]]) -> None:
    store.update(lambda state: state.update(tuple=(1, 2)))
    assert store.update(lambda state: type(state["tuple"]).__name__) == "list"


def test_what_transform_returned(store: Store[dict[str, Any]]) -> None:
    new = store.transform(lambda state: {**state, "a": []})
    new["a"].append("outside")
    new["items"].append("outside")
    touch(store)
    assert content(store) == {"items": [], "a": [], "touched": 1}


def test_what_a_transaction_had_in_hand(store: Store[dict[str, Any]]) -> None:
    with store.transaction() as tx:
        kept = tx.state
        kept["inside"] = True
    kept["outside"] = True
    touch(store)
    assert content(store) == {"items": [], "inside": True, "touched": 1}


def test_what_a_discarded_or_failed_transaction_had_in_hand(store: Store[dict[str, Any]]) -> None:
    with store.transaction() as tx:
        tx.state["items"].append("discarded")
        tx.discard()
    with pytest.raises(ZeroDivisionError), store.transaction() as tx:
        tx.state["items"].append("failed")
        raise ZeroDivisionError
    touch(store)
    assert content(store) == {"items": [], "touched": 1}


def test_what_a_failed_update_did(store: Store[dict[str, Any]]) -> None:
    def fail(state: dict[str, Any]) -> None:
        state["items"].append("failed")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.update(fail)
    touch(store)
    assert content(store) == {"items": [], "touched": 1}


def test_read_gives_everybody_an_object_of_their_own(store: Store[dict[str, Any]]) -> None:
    one, other = store.read(), store.read()
    one["items"].append("mine")
    assert other["items"] == []
    touch(store)
    assert content(store) == {"items": [], "touched": 1}


def test_a_mutable_default_is_not_shared_by_stores_or_reads(path: Path) -> None:
    template: dict[str, Any] = {"items": []}
    store = Store(path, default=lambda: {"items": list(template["items"])})
    store.read()["items"].append("mine")
    assert store.read() == {"items": []}


def test_changed_by_another_task_while_the_document_is_being_saved(path: Path, run: Any, monkeypatch: Any) -> None:
    """The update is what it was when its function had run: what the caller does to its objects afterwards is not in it."""
    saving, go_on = threading.Event(), threading.Event()
    real_replace = os.replace

    def slow_replace(source: str, target: str) -> None:
        saving.set()
        wait_for(go_on)
        real_replace(source, target)

    monkeypatch.setattr(System, "rename", staticmethod(slow_replace))

    async def main() -> None:
        store = AsyncStore(path)
        mine: dict[str, int] = {"a": 1}
        async with anyio.create_task_group() as group:
            group.start_soon(store.update, lambda state: state.update(mine=mine))
            await until_async(saving.is_set)
            mine["outside"] = 1
            go_on.set()
        await store.update(lambda state: state.update(touched=1))
        assert await store.read() == {"mine": {"a": 1}, "touched": 1}

    run(main)


def test_changed_by_another_task_before_the_document_is_encoded(path: Path, run: Any) -> None:
    """Between a function and the encoding no other task may run: it could change what the function put in."""
    encoding, go_on = threading.Event(), threading.Event()

    class Codec(JsonCodec):
        def encode(self, state: Any) -> bytes:
            if "mine" in state and threading.current_thread() is not threading.main_thread():
                encoding.set()
                wait_for(go_on)
            return super().encode(state)

    async def main() -> None:
        store = AsyncStore(path, codec=Codec(shape=dict))
        mine = ["a"]
        async with anyio.create_task_group() as group:

            async def put() -> None:
                await store.update(lambda state: state.update(mine=mine))
                encoding.set()

            group.start_soon(put)
            await until_async(encoding.is_set)
            mine.append("outside")
            go_on.set()
        assert await store.read() == {"mine": ["a"]}

    run(main)


def test_a_foreign_writer_is_noticed_whatever_it_keeps_the_same(store: Store[dict[str, Any]], path: Path) -> None:
    """Same size, same times, a file that took the place of ours: what counts is what is there."""
    touch(store)
    for place in range(10):
        data = path.read_bytes()
        found = path.stat()
        foreign = (
            data.replace(b'"items":[]', b'"items":{}')
            if b'"items":[]' in data
            else data.replace(b'"items":{}', b'"items":[]')
        )
        other = path.with_name(f"foreign-{place}")
        other.write_bytes(foreign)
        os.utime(other, ns=(found.st_atime_ns, found.st_mtime_ns))
        os.replace(other, path)
        expected = [] if b'"items":[]' in foreign else {}  # type: ignore[var-annotated]
        assert store.update(lambda state: state["items"]) == expected
        touch(store)
        assert content(store)["items"] == expected


def test_a_foreign_writer_that_writes_in_place_is_noticed(store: Store[dict[str, Any]], path: Path) -> None:
    touch(store)
    data = path.read_bytes()
    found = path.stat()
    path.write_bytes(data.replace(b'"items":[]', b'"items":{}'))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert store.update(lambda state: state["items"]) == {}


def test_a_deleted_document_is_noticed(store: Store[dict[str, Any]], path: Path) -> None:
    touch(store)
    path.unlink()
    store.update(lambda state: state.update(padding="", new=1))
    assert content(store) == {"new": 1}


def test_updates_through_other_objects_and_queues_are_seen(store: Store[dict[str, Any]], path: Path) -> None:
    other = Store(path, queue=PerStoreWriterQueue())
    for _ in range(5):
        touch(store)
        touch(other)
    assert content(store)["touched"] == 10


class Library:
    """A state of a type of its own."""

    def __init__(self, books: list[str]) -> None:
        self.books = books


@pytest.mark.parametrize("kind", ["plain", "own type"])
def test_a_default_that_hands_out_its_own_parts_keeps_no_trace_of_what_was_done_to_them(path: Path, kind: str) -> None:
    """As `default=TEMPLATE.copy` does, or a function that always returns one object."""
    template: Any = {"books": []} if kind == "plain" else Library([])
    codec: Any = None
    if kind == "own type":
        codec = FunctionCodec(
            lambda state: "\n".join(state.books).encode(), lambda data: Library(data.decode().split("\n"))
        )
    store = Store[Any](path, default=template.copy if kind == "plain" else lambda: template, codec=codec)

    def books(state: Any) -> list[str]:
        found: list[str] = state["books"] if kind == "plain" else state.books
        return found

    def fail(state: Any) -> None:
        books(state).append("trace")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.update(fail)
    books(store.read()).append("read")
    with pytest.raises(ZeroDivisionError), store.transaction() as tx:
        fail(tx.state)
    with store.transaction() as tx:
        books(tx.state).append("discarded")
        tx.discard()
    assert books(store.read()) == []
    store.update(lambda state: books(state).append("kept"))
    assert books(store.read()) == ["kept"]
    assert books(template) == []


def test_a_default_that_cannot_be_copied_is_used_as_it_is(path: Path) -> None:
    class Guarded:
        def __init__(self) -> None:
            self.lock = threading.Lock()
            self.text = ""

    codec = FunctionCodec[Guarded](lambda state: state.text.encode(), lambda data: Guarded())
    store = Store[Guarded](path, default=Guarded, codec=codec)
    store.update(lambda state: setattr(state, "text", "written"))
    assert path.read_bytes() == b"written"
