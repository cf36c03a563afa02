"""What is decided for attrs classes beyond the common contract."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import pathlib
import uuid
from typing import Any
from zoneinfo import ZoneInfo

import attrs
import cattrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storewriter.codecs import DecodeError, EncodeError
from storewriter.codecs.attrs import AttrsCodec, converter


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@attrs.frozen
class Everything:
    when: dt.datetime
    day: dt.date
    clock: dt.time
    span: dt.timedelta
    number: uuid.UUID
    price: decimal.Decimal
    where: pathlib.PurePosixPath
    blob: bytes
    level: Level
    mixed: int | str | None
    nested: dict[str, list[tuple[int, ...]]]
    frozen: frozenset[int]


EVERYTHING = st.builds(
    Everything,
    when=st.datetimes(timezones=st.none() | st.sampled_from([dt.UTC, dt.timezone(dt.timedelta(hours=-3))])),
    day=st.dates(),
    clock=st.times(),
    span=st.timedeltas(dt.timedelta(days=-90_000), dt.timedelta(days=90_000)),
    number=st.uuids(),
    price=st.decimals(allow_nan=False),
    where=st.lists(st.text("abc", min_size=1), min_size=1).map(lambda parts: pathlib.PurePosixPath(*parts)),
    blob=st.binary(),
    level=st.sampled_from(Level),
    mixed=st.none() | st.integers() | st.text(st.characters(codec="utf-8")),
    nested=st.dictionaries(st.text("xyz"), st.lists(st.lists(st.integers()).map(tuple), max_size=3), max_size=3),
    frozen=st.frozensets(st.integers(), max_size=4),
)


@given(state=EVERYTHING)
def test_every_kind_of_value_comes_back_as_it_was(state: Everything) -> None:
    codec = AttrsCodec(Everything)
    data = codec.encode(state)
    assert codec.decode(data) == state
    assert codec.encode(codec.decode(data)) == data


@attrs.frozen
class Moment:
    at: dt.datetime


def test_a_named_zone_becomes_its_offset_and_the_moment_stays() -> None:
    codec = AttrsCodec(Moment)
    summer = Moment(dt.datetime(2026, 7, 1, 12, 0, tzinfo=ZoneInfo("Europe/Vienna")))
    data = codec.encode(summer)
    assert data == b'{"at":"2026-07-01T12:00:00+02:00"}\n'
    assert codec.decode(data) == summer


@attrs.frozen
class Span:
    of: dt.timedelta


def test_a_span_that_is_no_exact_number_of_seconds_is_refused() -> None:
    exact = Span(dt.timedelta(days=9 * 10**4, microseconds=1))
    assert AttrsCodec(Span).decode(AttrsCodec(Span).encode(exact)) == exact
    with pytest.raises(EncodeError, match="not exact"):
        AttrsCodec(Span).encode(Span(dt.timedelta(days=9 * 10**8, microseconds=1)))


@attrs.frozen
class Cat:
    meows: bool


@attrs.frozen
class Dog:
    barks: bool


@attrs.frozen
class Home:
    pet: Cat | Dog


def test_classes_that_can_be_told_apart_may_be_in_a_union() -> None:
    codec = AttrsCodec(Home)
    assert codec.decode(codec.encode(Home(Dog(True)))) == Home(Dog(True))
    assert codec.decode(codec.encode(Home(Cat(False)))) == Home(Cat(False))


@attrs.frozen
class One:
    x: int


@attrs.frozen
class Other:
    x: int


@attrs.frozen
class Either:
    of: One | Other


def test_classes_that_cannot_be_told_apart_are_refused_at_once() -> None:
    with pytest.raises(TypeError, match="Either"):
        AttrsCodec(Either)


def test_what_is_no_attrs_class_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="attrs class"):
        AttrsCodec(dict)


@attrs.frozen
class Checked:
    percent: int = attrs.field(validator=attrs.validators.le(100))


def test_validators_of_the_class_guard_both_ways() -> None:
    codec = AttrsCodec(Checked)
    with pytest.raises(DecodeError, match="<= 100"):
        codec.decode(b'{"percent": 101}')
    wrong = Checked(1)
    object.__setattr__(wrong, "percent", 101)
    with pytest.raises(EncodeError, match="<= 100"):
        codec.encode(wrong)


@attrs.frozen
class Numbered:
    by: dict[int, str]


def test_keys_that_are_not_text_are_refused() -> None:
    with pytest.raises(EncodeError, match="not text"):
        AttrsCodec(Numbered).encode(Numbered({1: "a"}))


@attrs.frozen
class Point:
    x: complex


def _hooks() -> cattrs.Converter:
    made = converter()
    made.register_unstructure_hook(complex, lambda value: [value.real, value.imag])

    def read(value: Any, _: Any) -> complex:
        return complex(*value)

    made.register_structure_hook(complex, read)
    return made


def test_hooks_of_ones_own_may_be_added() -> None:
    codec = AttrsCodec(Point, converter=_hooks())
    assert codec.encode(Point(1 + 2j)) == b'{"x":[1.0,2.0]}\n'
    assert codec.decode(b'{"x":[1.0,2.0]}\n') == Point(1 + 2j)


@pytest.mark.parametrize(
    "document", [b'{"title": null}', b'{"done": null}', b'{"tags": [null]}', b'{"count": null}', b'{"share": null}']
)
@pytest.mark.parametrize("exact", [True, False])
def test_null_is_no_text_and_no_truth(document: bytes, exact: bool) -> None:
    @attrs.define
    class Task:
        title: str = ""
        done: bool = False
        tags: list[str] = attrs.field(factory=list)
        count: int = 0
        share: float = 0.0

    with pytest.raises(DecodeError, match=r"null|None") as caught:
        AttrsCodec(Task, exact=exact).decode(document)
    assert caught.value.column is not None
    assert document[caught.value.column - 1 :].startswith(b"null")


def test_null_is_read_where_the_type_allows_it() -> None:
    @attrs.define
    class Task:
        title: str | None = ""
        done: bool | None = False
        tags: list[str | None] = attrs.field(factory=list)
        other: int | str | None = 1

    codec = AttrsCodec(Task)
    nothing = codec.decode(b'{"title": null, "done": null, "tags": [null], "other": null}')
    assert nothing == Task(None, None, [None], None)
    assert codec.decode(codec.encode(nothing)) == nothing


class Text(enum.StrEnum):
    A = "a"


@attrs.define
class Enums:
    text: Text = Text.A


def test_enum_members_that_are_texts_stay_members() -> None:
    codec = AttrsCodec(Enums)
    assert codec.decode(b'{"text":"a"}') == Enums()
    assert codec.decode(codec.encode(Enums())).text is Text.A
    with pytest.raises(DecodeError):
        codec.decode(b'{"text":null}')
