"""What is decided for msgspec types beyond the common contract."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from storewriter.codecs import DecodeError, EncodeError
from storewriter.codecs.msgspec import MsgspecCodec


class Person(msgspec.Struct, rename="camel"):
    first_name: str
    friends: list[Person] = []


def test_fields_have_their_renamed_names_and_types_may_refer_to_themselves() -> None:
    codec = MsgspecCodec(Person)
    ada = Person("Ada", [Person("Mary")])
    data = codec.encode(ada)
    assert data == b'{"firstName":"Ada","friends":[{"firstName":"Mary","friends":[]}]}\n'
    assert codec.decode(data) == ada
    with pytest.raises(DecodeError) as caught:
        codec.decode(b'{"firstName": "Ada", "friends": [{"firstName": 5}]}')
    assert caught.value.path == ("friends", 0, "firstName")


class Tagged(msgspec.Struct, tag="tagged"):
    x: int


class Other(msgspec.Struct, tag="other"):
    x: int


def test_unions_of_tagged_structs() -> None:
    codec: MsgspecCodec[Any] = MsgspecCodec(Tagged | Other)  # type: ignore[arg-type]
    for state in (Tagged(1), Other(2)):
        assert codec.decode(codec.encode(state)) == state


class Nested(msgspec.Struct):
    by: dict[str, list[frozenset[int]]]


def test_a_type_that_holds_sets_deep_inside_is_written_in_order() -> None:
    codec = MsgspecCodec(Nested)
    assert codec.encode(Nested({"b": [frozenset({3, 1})], "a": []})) == b'{"by":{"a":[],"b":[[1,3]]}}\n'


class Plain(msgspec.Struct):
    by: dict[str, int]


def test_without_sets_the_order_of_keys_is_kept() -> None:
    codec = MsgspecCodec(Plain)
    data = codec.encode(Plain({"b": 1, "a": 2}))
    assert data == b'{"by":{"b":1,"a":2}}\n'
    assert list(codec.decode(data).by) == ["b", "a"]


class Checked(msgspec.Struct):
    low: int
    high: int

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is above high")


def test_checks_of_the_struct_guard_both_ways() -> None:
    codec = MsgspecCodec(Checked)
    with pytest.raises(DecodeError, match="low is above high"):
        codec.decode(b'{"low": 2, "high": 1}')
    wrong = Checked(1, 1)
    wrong.low = 2
    with pytest.raises(EncodeError, match="low is above high"):
        codec.encode(wrong)


def test_a_fault_below_the_key_of_a_dict_is_placed_at_the_dict() -> None:
    with pytest.raises(DecodeError) as caught:
        MsgspecCodec(Plain).decode(b'{"by": {"a": "x"}}')
    assert (caught.value.path, caught.value.column) == (("by",), 8)


def test_a_type_that_msgspec_does_not_know_is_refused_at_once() -> None:
    class Stranger:
        pass

    with pytest.raises(TypeError, match="Stranger"):
        MsgspecCodec(Stranger)
