"""How deep documents may be nested: 254 levels, for every caller, and what is deeper is told apart from what is corrupt."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

import orjson
import pytest

from storewriter import Store, StoreCorrupt
from storewriter.codecs import DecodeError, EncodeError, JsonCodec, TooDeep, UnknownVersion, Versioned, _depth

T = TypeVar("T")

CODECS = [JsonCodec(), JsonCodec(indent=2)]
BIG = 2**70
"""Sends the codec the careful way."""


def nested(depth: int, kind: str, inside: Any) -> Any:
    state: Any = [inside] if kind == "list" else {"a": inside}
    for _ in range(depth - 1):
        state = [state] if kind == "list" else {"a": state}
    return state


def text_of(depth: int, kind: str, inside: str = "1") -> bytes:
    opening, closing = ("[", "]") if kind == "list" else ('{"a":', "}")
    return (opening * depth + inside + closing * depth + "\n").encode()


def down(frames: int, fn: Callable[[], T]) -> T:
    return fn() if frames == 0 else down(frames - 1, fn)


def frames_left() -> int:
    frame, used = sys._getframe(), 0
    while frame is not None:
        frame, used = frame.f_back, used + 1  # type: ignore[assignment]
    return sys.getrecursionlimit() - used


def near_the_end_of_the_stack(fn: Callable[[], T]) -> T:
    """Enough for a few calls, and not for a recursion of 254 levels."""
    return down(frames_left() - 60, fn)


def test_the_limit_is_that_of_the_engine() -> None:
    """Or what it has written, and is not looked at again, would be refused by the careful way."""
    for kind in ("list", "dict"):
        orjson.dumps(nested(_depth.MOST, kind, 1))
        with pytest.raises(TypeError, match="Recursion"):
            orjson.dumps(nested(_depth.MOST + 1, kind, 1))


@pytest.mark.parametrize("codec", CODECS, ids=["compact", "indented"])
@pytest.mark.parametrize("kind", ["list", "dict"])
@pytest.mark.parametrize("inside", [1, BIG, "\ud800"], ids=["plain", "big integer", "surrogate"])
@pytest.mark.parametrize("run", [lambda fn: fn(), near_the_end_of_the_stack], ids=["at the top", "deep in calls"])
def test_254_levels_come_back_and_one_more_is_refused_whoever_asks(
    codec: JsonCodec, kind: str, inside: Any, run: Callable[[Callable[[], Any]], Any]
) -> None:
    state = nested(254, kind, inside)
    data = run(lambda: codec.encode(state))
    assert run(lambda: codec.decode(data)) == state
    other_layout = b" " + data
    assert run(lambda: codec.decode(other_layout)) == state
    with pytest.raises(EncodeError, match="more than 254 levels"):
        run(lambda: codec.encode(nested(255, kind, inside)))
    deeper = data.replace(b"[", b"[[", 1) if kind == "list" else b'{"b":' + data
    with pytest.raises(TooDeep, match="more than 254 levels"):
        run(lambda: codec.decode(deeper))


@pytest.mark.parametrize("kind", ["list", "dict"])
@pytest.mark.parametrize("depth", [255, 900, 1000, 1025, 5000, 100_000])
def test_a_document_that_is_too_deep_is_told_with_its_place_and_is_not_corrupt(kind: str, depth: int) -> None:
    with pytest.raises(TooDeep) as caught:
        JsonCodec().decode(b"\n" + text_of(depth, kind))
    assert isinstance(caught.value, UnknownVersion)
    assert (caught.value.line, caught.value.column) == (2, 254 * (1 if kind == "list" else 5) + 1)


def test_a_state_that_is_very_deep_is_refused() -> None:
    with pytest.raises(EncodeError, match="levels"):
        JsonCodec().encode(nested(100_000, "list", 1))


def test_brackets_in_strings_are_no_levels() -> None:
    text = "[" * 1000 + '"\\' + "{" * 1000
    for beside in (1, BIG, "\ud800"):  # what the engine reads, what it reads inexactly, and what it does not read
        state = {text: text, "b": [beside, "]]" * 9]}
        assert JsonCodec().decode(JsonCodec().encode(state)) == state


@pytest.mark.parametrize(
    ("text", "reason", "column"),
    [
        ('{"a": x, "b": ' + "[" * 300, "Expecting value", 7),
        ('{"a": NaN, "b": ' + "[" * 300, "NaN", 7),
        ('{"a": {"c": 1, "c": 2}, "b": ' + "[" * 300, "twice", 16),
        ('{"a": "' + "[" * 300, "cut off", 7),
        ("]" * 300 + "[" * 300, "Expecting value", 1),
    ],
)
def test_a_fault_before_the_depth_is_a_fault(text: str, reason: str, column: int) -> None:
    with pytest.raises(DecodeError, match=reason) as caught:
        JsonCodec().decode(text.encode())
    assert not isinstance(caught.value, UnknownVersion)
    assert (caught.value.line, caught.value.column) == (1, column)


def test_recovery_leaves_a_document_that_is_too_deep_where_it_is(path: Path) -> None:
    document = text_of(900, "dict")
    path.write_bytes(document)
    store: Store[Any] = Store(path)
    for ask in (store.read, store.recover, lambda: store.update(lambda state: state.clear())):
        with pytest.raises(StoreCorrupt, match="more than 254 levels"):
            near_the_end_of_the_stack_of_a_store(ask)
        with pytest.raises(StoreCorrupt, match="more than 254 levels"):
            ask()
    assert path.read_bytes() == document
    assert [name.name for name in path.parent.iterdir() if "corrupt" in name.name] == []


def near_the_end_of_the_stack_of_a_store(fn: Callable[[], T]) -> T:
    return down(frames_left() - 200, fn)


def test_an_update_that_nests_too_deeply_fails_alone_and_what_is_acknowledged_can_be_read(path: Path) -> None:
    store: Store[Any] = Store(path)
    with pytest.raises(EncodeError, match="levels"):
        store.update(lambda state: state.update(x=nested(900, "list", 1)))
    store.update(lambda state: state.update(x=nested(253, "list", BIG)))
    assert near_the_end_of_the_stack_of_a_store(store.read) == {"x": nested(253, "list", BIG)}
    assert near_the_end_of_the_stack_of_a_store(store.recover).outcome == "healthy"


def test_an_enum_member_does_not_hide_levels() -> None:
    class Deep(Enum):
        X = nested(250, "list", 1)

    with pytest.raises(EncodeError, match="levels"):
        JsonCodec().encode([[[[[Deep.X]]]]])


def test_a_versioned_document_that_is_too_deep_is_not_corrupt_either() -> None:
    codec: Versioned[Any] = Versioned(JsonCodec(), version=1)
    for data in (b'{"version":1,"a":' + text_of(254, "list")[:-1] + b"}", b'{"a":' + text_of(254, "list")[:-1] + b"}"):
        with pytest.raises(TooDeep, match="levels") as caught:
            codec.decode(data)
        assert data[caught.value.column - 1 :].startswith(b"[1]")  # type: ignore[operator]


def test_where_there_is_no_thread_to_be_had_a_document_is_not_called_corrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(call: Any, *args: Any) -> None:
        raise RuntimeError("can't start new thread")

    def no_stack(*args: Any, **kwargs: Any) -> None:  # from 3.12 on, C code does not count Python's frames
        raise RecursionError

    data = JsonCodec().encode(nested(254, "list", BIG))
    monkeypatch.setattr("storewriter._platform.threads.start", none_left)
    with monkeypatch.context() as patch:
        patch.setattr("storewriter.codecs.json._DECODER", types.SimpleNamespace(decode=no_stack))
        patch.setattr("storewriter.codecs.json.json.dumps", no_stack)
        with pytest.raises(TooDeep, match="recursion limit"):
            JsonCodec().decode(data)
        with pytest.raises(EncodeError, match="cannot be written as JSON"):
            JsonCodec().encode(nested(254, "list", BIG))
    assert JsonCodec().decode(data) == nested(254, "list", BIG)
