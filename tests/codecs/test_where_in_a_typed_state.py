"""The typed codecs say as well where in a state the value stands that cannot be written."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import attrs
import msgspec
import pydantic
import pytest

from storewriter.codecs import DecodeError, EncodeError, Versioned
from storewriter.codecs.attrs import AttrsCodec
from storewriter.codecs.msgspec import MsgspecCodec
from storewriter.codecs.pydantic import PydanticCodec


@attrs.define
class AttrsTask:
    title: str
    more: Any = None
    due: datetime | None = None


@attrs.define
class AttrsBoard:
    tasks: list[AttrsTask]


class StructTask(msgspec.Struct):
    title: str
    more: Any = None
    due: datetime | None = None


class StructBoard(msgspec.Struct):
    tasks: list[StructTask]


class ModelTask(pydantic.BaseModel):
    title: str
    more: Any = None
    due: datetime | None = None


class ModelBoard(pydantic.BaseModel):
    tasks: list[ModelTask]


KINDS = {
    "attrs": (AttrsCodec(AttrsBoard), lambda **task: AttrsBoard([AttrsTask("first"), AttrsTask("second", **task)])),
    "msgspec": (
        MsgspecCodec(StructBoard),
        lambda **task: StructBoard([StructTask("first"), StructTask("second", **task)]),
    ),
    "pydantic": (
        PydanticCodec(ModelBoard),
        lambda **task: ModelBoard(tasks=[ModelTask(title="first"), ModelTask(title="second", **task)]),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("more", [object(), {"x": [object()]}], ids=["direct", "deeper"])
def test_a_value_that_cannot_be_written_has_its_place(kind: str, more: Any) -> None:
    codec, board = KINDS[kind]
    with pytest.raises(EncodeError, match=r"the state cannot be written as \w+Board: tasks\[1\]\.more") as caught:
        codec.encode(board(more=more))  # type: ignore[attr-defined]
    deeper = () if not isinstance(more, dict) else ("x", 0)
    assert caught.value.path == ("tasks", 1, "more", *deeper)


@pytest.mark.parametrize("kind", ["attrs", "msgspec"])
def test_a_number_that_is_none_has_its_place_and_the_advice_of_json(kind: str) -> None:
    codec, board = KINDS[kind]
    with pytest.raises(EncodeError, match=r"tasks\[1\]\.more is nan, which JSON cannot say") as caught:
        codec.encode(board(more=float("nan")))  # type: ignore[attr-defined]
    assert caught.value.path == ("tasks", 1, "more")


def test_a_hook_that_fails_is_led_back_to_its_object() -> None:
    codec, board = KINDS["attrs"]
    with pytest.raises(EncodeError, match=r"tasks\[1\]: .*isoformat") as caught:
        codec.encode(board(due="tomorrow"))  # type: ignore[attr-defined]
    assert caught.value.path == ("tasks", 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_versioned", [False, True])
def test_a_document_that_does_not_fit_may_be_intact_and_has_its_place(kind: str, is_versioned: bool) -> None:
    codec: Any = KINDS[kind][0]
    if is_versioned:
        codec = Versioned(codec, version=1)
    for begin in (b'{"version":1,', b'{ "version": 1, ') if is_versioned else (b"{",):
        with pytest.raises(DecodeError, match="unknown field") as caught:
            codec.decode(begin + b'"tasks":[{"title":"a","colour":"red"}]}')
        assert caught.value.may_be_intact
        assert caught.value.path == ("tasks", 0, "colour")
        with pytest.raises(DecodeError, match="cut off") as caught:
            codec.decode(begin + b'"tasks":[{"title":"a","colour":"r')
        assert not caught.value.may_be_intact
