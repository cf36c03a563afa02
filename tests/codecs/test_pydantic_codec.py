"""What is decided for pydantic models beyond the common contract."""

from __future__ import annotations

import datetime as dt
from typing import Any, Generic, Literal, TypeVar

import pydantic
import pytest

from storewriter.codecs import DecodeError, EncodeError
from storewriter.codecs.pydantic import PydanticCodec


class Measure(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(ser_json_inf_nan="constants")
    value: float


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_a_model_that_would_take_nan_does_not_get_it(constant: str) -> None:
    codec = PydanticCodec(Measure)
    with pytest.raises(DecodeError, match=f"{constant} is not JSON"):
        codec.decode(f'{{"value":{constant}}}\n'.encode())
    with pytest.raises(EncodeError):
        codec.encode(Measure(value=float(constant)))
    assert codec.decode(codec.encode(Measure(value=1.5))) == Measure(value=1.5)


class Person(pydantic.BaseModel):
    first_name: str = pydantic.Field(alias="firstName")

    @pydantic.computed_field
    def shout(self) -> str:
        return self.first_name.upper()


def test_fields_are_written_by_alias_and_computed_ones_are_not() -> None:
    codec = PydanticCodec(Person)
    data = codec.encode(Person(firstName="Ada"))
    assert data == b'{"firstName":"Ada"}\n'
    assert codec.decode(data) == Person(firstName="Ada")


class Renamed(pydantic.BaseModel):
    name: str = pydantic.Field(validation_alias="old", serialization_alias="new")


def test_a_model_that_could_not_read_what_it_writes_writes_nothing() -> None:
    with pytest.raises(EncodeError, match="name"):
        PydanticCodec(Renamed).encode(Renamed(old="a"))  # type: ignore[call-arg]


class Keeper(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    known: int


def test_a_model_that_keeps_unknown_fields_keeps_them() -> None:
    codec = PydanticCodec(Keeper)
    kept = codec.decode(b'{"known":1,"unknown":[2]}\n')
    assert codec.encode(kept) == b'{"known":1,"unknown":[2]}\n'


T = TypeVar("T")


class Page(pydantic.BaseModel, Generic[T]):
    entries: list[T]
    groups: dict[str, frozenset[tuple[int, str]]] = {}


def test_sets_deep_inside_are_written_in_order() -> None:
    codec = PydanticCodec(Page[dt.date])
    page = Page[dt.date](entries=[dt.date(2026, 1, 2)], groups={"a": frozenset({(2, "b"), (1, "z"), (2, "a")})})
    data = codec.encode(page)
    assert data == b'{"entries":["2026-01-02"],"groups":{"a":[[1,"z"],[2,"a"],[2,"b"]]}}\n'
    assert codec.decode(data) == page


def test_other_types_than_models_are_fine() -> None:
    codec: PydanticCodec[Any] = PydanticCodec(dict[str, Literal["a", "b"]])  # type: ignore[arg-type]
    assert codec.decode(codec.encode({"x": "a"})) == {"x": "a"}
    with pytest.raises(DecodeError, match="x: Input should be 'a' or 'b'"):
        codec.decode(b'{"x": "c"}')


def test_a_type_that_pydantic_does_not_know_is_refused_at_once() -> None:
    class Stranger:
        pass

    with pytest.raises(TypeError, match="Stranger"):
        PydanticCodec(Stranger)
