"""What is proven of a state: that it is a tree of plain values which nobody else can reach."""

from __future__ import annotations

import copy
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.waiting import wait_for
from storewriter import CommitUncertain, Store, _census, _group_commit, _threads
from storewriter._group_commit import BESIDE
from storewriter._remembered import LARGE
from storewriter.codecs import JsonCodec
from storewriter.testing import Fault, intercepted

values = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(alphabet="ab[]{}\"\\é", max_size=4)
trees = st.recursive(
    st.dictionaries(st.text(max_size=2), values, max_size=3) | st.lists(values, max_size=3),
    lambda inner: st.lists(inner | values, max_size=4) | st.dictionaries(st.text(max_size=2), inner | values, max_size=4),
    max_leaves=12,
)
states = st.dictionaries(st.text(max_size=2), trees | values, min_size=1, max_size=5)


def containers(value: Any) -> list[Any]:
    """Every place of the state where a list or dict stands."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    found = [value] if isinstance(value, (dict, list)) else []
    return found + [each for child in inside for each in containers(child)]


def put(target: Any, value: Any) -> None:
    if isinstance(target, dict):
        target["put"] = value
    else:
        target.append(value)


class Change:
    """Ways to change a state, each with what must be found out about it."""

    @staticmethod
    def nothing(state: Any, data: st.DataObject) -> bool:
        return True

    @staticmethod
    def a_value(state: Any, data: st.DataObject) -> bool:
        put(one_of(state, data), data.draw(values))
        return True

    @staticmethod
    def a_new_container(state: Any, data: st.DataObject) -> bool:
        put(one_of(state, data), copy.deepcopy(data.draw(trees)))
        return True

    @staticmethod
    def a_removal(state: Any, data: st.DataObject) -> bool:
        target = one_of(state, data)
        if target:
            target.popitem() if isinstance(target, dict) else target.pop()
        return True

    @staticmethod
    def a_move(state: Any, data: st.DataObject) -> bool:
        name = data.draw(st.sampled_from(sorted(state)))
        state["moved"] = state.pop(name)
        return True

    @staticmethod
    def an_old_container_in_a_second_place(state: Any, data: st.DataObject) -> bool:
        inner = one_of(state, data)
        if inner is state:
            return True
        state["second"] = None
        state["second"] = inner
        return len(set(map(id, containers(state)))) == len(containers(state))

    @staticmethod
    def a_new_container_in_two_places_and_its_bracket_gone_from_a_text(state: Any, data: st.DataObject) -> bool:
        state["one"] = state["other"] = []
        return False


def take(box: list[Any], before: Any) -> Any:
    """As a store does. In a function of its own: what stands in an `assert` is kept by pytest, and would count."""
    return _census.take(box, orjson.dumps(box[0]), before)


def listed(state: Any) -> tuple[list[Any], Any]:
    """The state in a box of its own, and its first census."""
    box = [copy.deepcopy(state)]
    return box, take(box, None)


def one_of(state: Any, data: st.DataObject) -> Any:
    """A list or dict of the state. By number: what hypothesis drew it keeps."""
    found = containers(state)
    return found[data.draw(st.integers(0, len(found) - 1))]


@given(states)
def test_a_decoded_state_is_proven(state: Any) -> None:
    box, census = listed(state)
    assert census is not None
    has_brackets_in_texts = sum(map(orjson.dumps(state).count, (b"[", b"{"))) > len(containers(state))
    assert (take(box, census) is census) == (not has_brackets_in_texts)
    assert take(box, None if has_brackets_in_texts else census) is not None
    assert _census.is_tree(box)


KINDS = [getattr(Change, name) for name in vars(Change) if not name.startswith("_")]


@given(state=states, kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=4), data=st.data())
def test_after_any_change_a_tree_is_proven_and_nothing_else(state: Any, kinds: list[Any], data: st.DataObject) -> None:
    box, census = listed({**state, "text": "[["})
    for kind in kinds:
        if "text" in kind.__name__:
            box[0]["text"] = ""
        is_tree = kind(box[0], data)
        census = take(box, census)
        assert (census is not None) == is_tree == _census.is_tree(box)
        if not is_tree:
            return


@given(state=states, data=st.data(), again=st.booleans())
def test_a_piece_that_somebody_holds_is_found_and_forgotten_with_its_holder(
    state: Any, data: st.DataObject, again: bool
) -> None:
    box, census = listed(state)
    before = census if again else None
    del census
    kept = [one_of(box[0], data)]
    assert take(box, before) is None
    assert _census.is_tree(box)
    del kept, before
    assert take(box, None) is not None


def _refers_to_itself() -> Any:
    state: dict[str, Any] = {"list": []}
    state["list"].append(state["list"])
    return state


class _Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    "state",
    [_refers_to_itself(), {"a": (1, 2)}, {"a": [{1}]}, {"a": object()}, {"a": _Text("x")}, {"a": bytearray(b"x")}, [iter([])]],
    ids=["a state that refers to itself", "a tuple", "a set", "an object", "a kind of text", "bytes", "an iterator"],
)
def test_what_json_does_not_say_is_not_proven(state: Any) -> None:
    box = [state]
    del state
    assert _census.take(box, b"{}", None) is None
    assert not _census.is_tree(box)


def test_a_change_of_values_needs_no_new_census_wherever_it_is_and_however_long(path: Path) -> None:
    box, census = listed({"records": [{"n": 0, "inner": {"text": "x" * 1000}} for _ in range(100)]})
    for place, length in ((0, 1), (50, 5000), (99, 3), (50, 0), (0, 30_000), (1, 30_000), (0, 0)):
        box[0]["records"][place]["inner"]["text"] = "y" * length
        box[0]["records"][place]["n"] += 1
        assert take(box, census) is census
    box[0]["records"].append({})
    assert take(box, census) is not census


def test_a_large_document_that_nobody_else_writes_is_decoded_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(path).update(lambda state: state.update(padding="[" * LARGE, items=[{"n": 0}]))
    decoded: list[int] = []
    real_decode = JsonCodec.decode

    def decode(codec: JsonCodec, data: bytes) -> Any:
        decoded.append(len(data))
        return real_decode(codec, data)

    monkeypatch.setattr(JsonCodec, "decode", decode)
    store, other = Store(path), Store(path)
    for _ in range(3):
        store.update(lambda state: _count(state))
        other.update(lambda state: state["items"].append({"n": 0}))
        with store.transaction() as tx:
            tx.state["items"][0]["n"] += 1
    assert len(decoded) == 1
    assert len(store.read()["items"]) == 4


@pytest.mark.parametrize("name", ["open", "write", "flush", "rename", "flush_folder"])
def test_a_save_that_fails_while_its_state_is_being_proven_keeps_nothing(path: Path, name: str) -> None:
    Store(path).update(lambda state: state.update(padding="x" * BESIDE, items=[{"n": 0}]))
    fault = Fault(OSError(errno.EIO, os.strerror(errno.EIO)), name=name, skip=name == "open")
    store = Store(path, system=intercepted(fault))
    with pytest.raises((OSError, CommitUncertain)):
        store.update(lambda state: _count(state))
    committed = Store(path).read()["items"][0]["n"]
    assert committed == (name == "flush_folder")
    store.update(lambda state: _count(state))
    assert store.read()["items"] == [{"n": committed + 1}]


def tell_proofs(monkeypatch: pytest.MonkeyPatch, tell: Callable[[_census.Census | None], object]) -> None:
    """From now on say what every attempt to prove a state brought."""
    real_take = _group_commit.take

    def take(*arguments: Any, **named: Any) -> Any:
        found = real_take(*arguments, **named)
        tell(found)
        return found

    monkeypatch.setattr(_group_commit, "take", take)


def test_a_large_state_is_proven_while_the_flush_is_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proven = threading.Event()
    real_fsync = os.fsync

    def fsync(fd: int) -> None:
        wait_for(proven, "the proof, which another thread makes meanwhile")
        real_fsync(fd)

    store = Store(path)
    store.update(lambda state: state.update(padding="x" * BESIDE, items=[{"n": 0}]))
    tell_proofs(monkeypatch, lambda _: proven.set())
    monkeypatch.setattr(os, "fsync", fsync)
    store.update(lambda state: _count(state))
    assert store.read()["items"] == [{"n": 1}]


def test_where_no_thread_can_be_had_a_large_state_is_proven_in_its_own(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    proven: list[bool] = []
    tell_proofs(monkeypatch, lambda found: proven.append(found is not None))
    store = Store(path)
    store.update(lambda state: state.update(padding="x" * BESIDE, items=[{"n": 0}]))
    monkeypatch.setattr(_threads, "start", refuse)
    store.update(lambda state: _count(state))
    assert proven == [True, True]
    assert store.read()["items"] == [{"n": 1}]


def _count(state: Any) -> None:
    state["items"][0]["n"] += 1
