"""What a typed codec writes comes back as it was, or is refused: nothing of a state is dropped without a word."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import math
import pathlib
import uuid
from collections import OrderedDict
from typing import Any
from zoneinfo import ZoneInfo

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from library import KINDS, Kind

from storewriter.codecs import EncodeError, TooDeep
from storewriter.codecs._same import difference
from storewriter.codecs.attrs import AttrsCodec, converter
from storewriter.codecs.msgspec import MsgspecCodec
from storewriter.codecs.pydantic import PydanticCodec


@attrs.define
class Item:
    name: str = ""


@attrs.define
class Special(Item):
    price: int = 5


@attrs.define
class Box:
    items: list[Item] = attrs.field(factory=list)


@attrs.define
class Counter:
    start: int = 0
    count: int = attrs.field(init=False, default=0)


@attrs.define
class Derived:
    start: int = 0
    twice: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.twice = 2 * self.start


@attrs.define
class Pair:
    pair: tuple[int, str] = (1, "a")


@attrs.define
class Names:
    names: list[str] = attrs.field(factory=list)


@attrs.define
class Whatever:
    it: Any = None


class Struct(msgspec.Struct):
    name: str = ""


class SubStruct(Struct):
    price: int = 5


class StructBox(msgspec.Struct):
    items: list[Struct] = []
    it: Any = None


class Model(pydantic.BaseModel):
    name: str = ""


class SubModel(Model):
    price: int = 5


class ModelBox(pydantic.BaseModel):
    items: list[Model] = []


class Login(pydantic.BaseModel):
    password: pydantic.SecretStr


class Private(pydantic.BaseModel):
    x: int = 0
    hidden: int = pydantic.Field(default=0, exclude=True)
    _secret: int = 0


def counted() -> Counter:
    counter = Counter()
    counter.count = 99
    return counter


def with_a_secret() -> Private:
    made = Private()
    made._secret = 1
    return made


class Colour(enum.Enum):
    RED = "red"


LOST: list[tuple[Any, Any, str]] = [
    (AttrsCodec(Box), Box([Special("x", 7)]), r"items\[0\].*Special"),
    (AttrsCodec(Item), Special("x", 7), "Special"),
    (AttrsCodec(Counter), counted(), "count: 99"),
    (AttrsCodec(Pair), Pair((1, "a", "lost")), "pair.*lost"),  # type: ignore[arg-type]
    (AttrsCodec(Pair), Pair([1, "a"]), "pair.*list"),  # type: ignore[arg-type]
    (AttrsCodec(Names), Names("abc"), "names.*'abc'"),  # type: ignore[arg-type]
    (AttrsCodec(Names), Names(("a",)), "names.*tuple"),  # type: ignore[arg-type]
    (AttrsCodec(Names), Names([None]), "null"),  # type: ignore[list-item]
    (AttrsCodec(Item), Item(None), "null"),  # type: ignore[arg-type]
    (AttrsCodec(Whatever), Whatever((1, 2)), "tuple"),
    (AttrsCodec(Whatever), Whatever({"a": [Colour.RED]}), "Colour"),
    (AttrsCodec(Whatever), Whatever(Item("x")), "Item"),
    (MsgspecCodec(StructBox), StructBox([SubStruct("x", 7)]), r"items\[0\]|price"),
    (MsgspecCodec(Struct), SubStruct("x", 7), "price"),
    (MsgspecCodec(StructBox), StructBox(it=(1, 2)), "tuple"),
    (MsgspecCodec(StructBox), StructBox(it={"a": uuid.UUID(int=1)}), "UUID"),
    (PydanticCodec(ModelBox), ModelBox(items=[SubModel()]), r"items\[0\]"),
    (PydanticCodec(Model), SubModel(), "SubModel"),
    (PydanticCodec(Login), Login(password="hunter2"), "password"),  # type: ignore[arg-type]
    (PydanticCodec(Private), Private(hidden=1), "hidden"),
    (PydanticCodec(Private), with_a_secret(), "_secret"),
]


@pytest.mark.parametrize(("codec", "state", "reason"), LOST)
def test_a_state_that_would_not_come_back_is_not_written(codec: Any, state: Any, reason: str) -> None:
    with pytest.raises(EncodeError, match=reason):
        codec.encode(state)
    attrs.evolve(codec, verify=False).encode(state)  # which one may ask for


@pytest.mark.parametrize(
    ("codec", "state"),
    [
        (AttrsCodec(Derived), Derived(4)),
        (AttrsCodec(Counter), Counter(7)),
        (AttrsCodec(Whatever), Whatever({"a": [1, 1.5, None, True, {"b": "c"}]})),
        (AttrsCodec(Whatever), Whatever(OrderedDict(a=1))),
        (PydanticCodec(Private), Private(x=3)),
        (PydanticCodec(ModelBox), ModelBox(items=[Model(name="a")])),
        (MsgspecCodec(StructBox), StructBox([Struct("a")], {"a": [1]})),
    ],
)
def test_what_comes_back_equal_is_written(codec: Any, state: Any) -> None:
    assert codec.decode(codec.encode(state)) == state


class Text(enum.StrEnum):
    A = "a"


@attrs.define(eq=False)
class Alike:
    """Without an `==` of its own."""

    x: float | str = 0.0
    inner: Any = None


@attrs.define
class Odd:
    alike: Alike = attrs.field(factory=Alike)
    price: decimal.Decimal = decimal.Decimal(0)
    at: dt.datetime = dt.datetime(2026, 1, 1)


@attrs.define
class Scratch:
    x: int = 0
    cache: int = attrs.field(default=0, eq=False, init=False)


@pytest.mark.parametrize(
    "state",
    [
        Odd(Alike(1.5)),
        Odd(price=decimal.Decimal("NaN")),
        Odd(price=decimal.Decimal("sNaN")),
        Odd(at=dt.datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Vienna"))),
        Odd(at=dt.datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Vienna"), fold=1)),
        Odd(at=dt.datetime(2026, 10, 25, 2, 30, fold=1)),
        Odd(Alike("x", {"a": [1]})),
    ],
    ids=repr,
)
def test_types_without_an_equality_of_use_come_back_too(state: Odd) -> None:
    codec = AttrsCodec(Odd)
    assert difference(codec.decode(codec.encode(state)), state) is None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Odd(Alike(1.5)), Odd(Alike(2.5))),
        (Odd(Alike(1.5, {"a": [1]})), Odd(Alike(1.5, {"a": [2]}))),
        (Odd(Alike(1.5, {"a": 1})), Odd(Alike(1.5, {"b": 1}))),
        (
            Odd(Alike(), at=dt.datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Vienna"))),
            Odd(Alike(), at=dt.datetime(2026, 10, 25, 2, 30, tzinfo=dt.timezone(dt.timedelta(hours=1)))),
        ),
        (Odd(Alike(), decimal.Decimal("NaN")), Odd(Alike(), decimal.Decimal(1))),
        ([1, 2], [1]),
        (Alike(), Odd()),
    ],
)
def test_a_difference_is_seen_where_equality_is_of_no_use(before: Any, after: Any) -> None:
    assert difference(before, after) is not None


def test_what_equality_does_not_look_at_is_no_content() -> None:
    state = Scratch(1)
    state.cache = 5
    assert AttrsCodec(Scratch).decode(AttrsCodec(Scratch).encode(state)) == state


# Any value in any field


class Level(enum.IntEnum):
    LOW = 1


@attrs.define
class Everything:
    i: int
    f: float
    s: str | None
    b: bool
    mixed: int | str | None
    level: Level
    when: dt.datetime | None
    day: dt.date
    clock: dt.time
    span: dt.timedelta
    number: uuid.UUID
    price: decimal.Decimal
    where: pathlib.PurePosixPath
    blob: bytes
    nested: dict[str, list[tuple[int, str]]]
    many: tuple[float, ...]
    tags: set[str]
    any: Any
    children: list[Everything] = attrs.field(factory=list)


STRANGERS = (
    st.sampled_from([None, True, 1, 1.5, 2**70, math.nan, 1j, "text", "\ud800", b"b", object(), Level.LOW, Text.A])
    | st.sampled_from(
        [Item(), Special(), dt.datetime(2026, 1, 1), dt.date(2026, 1, 1), decimal.Decimal(1), uuid.UUID(int=1)]
    )
    | st.sampled_from([OrderedDict(a=1), pathlib.Path("a"), (1, "a"), (1, "a", 2), [1], [None], {1}, {"a": 1}, {1: 2}])
    | st.sampled_from([{"a": [(1, 2, 3)]}, {"a": ((1, "b"),)}, {"a": [(1, "b")]}, {Text.A: []}, {None: []}])
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "i": st.integers(),
    "f": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**60), 2**60),
    "s": st.none() | st.text(),
    "b": st.booleans(),
    "mixed": st.none() | st.integers() | st.text(),
    "level": st.just(Level.LOW),
    "when": st.none() | st.datetimes(timezones=st.sampled_from([None, dt.UTC, ZoneInfo("Europe/Vienna")])),
    "day": st.dates(),
    "clock": st.times(),
    "span": st.timedeltas(dt.timedelta(days=-90_000), dt.timedelta(days=90_000)),
    "number": st.uuids(),
    "price": st.decimals(),
    "where": st.just(pathlib.PurePosixPath("a/b")),
    "blob": st.binary(max_size=5),
    "nested": st.dictionaries(
        st.text(max_size=2), st.lists(st.tuples(st.integers(), st.text(max_size=2)), max_size=2), max_size=2
    ),
    "many": st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=3).map(tuple),
    "tags": st.sets(st.text(max_size=2), max_size=3),
    "any": st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
        max_leaves=5,
    ),
}
STATES = st.builds(Everything, **FIELDS)
EVERYTHING = AttrsCodec(Everything)


@attrs.define
class Share:
    of: float = 0.0


def test_whole_numbers_in_a_float_field_are_written_if_a_double_says_them() -> None:
    codec = AttrsCodec(Share)
    for good in (0, -1, 2**53, -(2**53), 2**60):
        assert codec.decode(codec.encode(Share(good))) == Share(good)
    for wrong in (2**53 + 1, -(2**53) - 1, 10**400, True):
        with pytest.raises(EncodeError):
            codec.encode(Share(wrong))


@given(state=STATES, name=st.sampled_from([*sorted(FIELDS), "children"]), stranger=STRANGERS, deep=st.booleans())
def test_a_state_with_any_value_in_any_field_is_refused_or_comes_back(
    state: Everything, name: str, stranger: Any, deep: bool
) -> None:
    setattr(state, name, stranger)
    if deep:
        state = attrs.evolve(state, children=[state], **{name: getattr(state, name)} if name != "children" else {})
    try:
        data = EVERYTHING.encode(state)
    except EncodeError:
        return
    assert difference(state, EVERYTHING.decode(data)) is None


@given(state=STATES, child=STATES)
def test_a_state_of_the_right_types_is_written(state: Everything, child: Everything) -> None:
    state.children = [child]
    try:
        data = EVERYTHING.encode(state)
    except EncodeError as error:
        # A text may hold what JSON cannot say, a span a fraction, and a float field a whole number that is no double.
        is_no_double = any(type(one.f) is int and abs(one.f) > 2**53 for one in (state, child))
        assert "surrogates" in str(error) or "not exact" in str(error) or is_no_double
    else:
        assert difference(state, EVERYTHING.decode(data)) is None


@attrs.define
class Checked:
    x: int = attrs.field(validator=attrs.validators.ge(0))


@attrs.define
class Converted:
    x: int = attrs.field(converter=abs)


@attrs.define
class OwnInit:
    x: int

    def __init__(self, x: int) -> None:
        self.__attrs_init__(abs(x))  # type: ignore[attr-defined]


def test_validators_and_converters_are_asked_although_the_types_are_right() -> None:
    wrong = Checked(1)
    with attrs.validators.disabled():
        wrong.x = -1
    with pytest.raises(EncodeError):
        AttrsCodec(Checked).encode(wrong)
    converted = Converted(1)  # type: ignore[arg-type]
    object.__setattr__(converted, "x", -1)
    with pytest.raises(EncodeError):
        AttrsCodec(Converted).encode(converted)
    own = OwnInit(1)
    own.x = -1
    with pytest.raises(EncodeError):
        AttrsCodec(OwnInit).encode(own)


def test_a_class_that_was_made_twice_is_told_from_itself() -> None:
    twice = attrs.define(Item)  # with slots, this is another class
    with pytest.raises(EncodeError, match="another class named Item"):
        AttrsCodec(Box).encode(Box([twice("a")]))


def test_codecs_with_hooks_of_their_own_are_not_equal_to_those_without() -> None:
    hooks = converter()
    assert AttrsCodec(Item) == AttrsCodec(Item)
    assert AttrsCodec(Item, converter=hooks) == AttrsCodec(Item, converter=hooks)
    assert hash(AttrsCodec(Item, converter=hooks)) == hash(AttrsCodec(Item, converter=hooks))
    assert AttrsCodec(Item, converter=hooks) != AttrsCodec(Item)
    assert AttrsCodec(Item, converter=hooks) != AttrsCodec(Item, converter=converter())


# Depth


@attrs.define
class Tree:
    inner: Tree | None = None


class StructTree(msgspec.Struct):
    inner: StructTree | None = None


class ModelTree(pydantic.BaseModel):
    inner: ModelTree | None = None


TREES = {"attrs": Tree, "msgspec": StructTree, "pydantic": ModelTree}


def tree_of(kind: Any, levels: int) -> Any:
    made = kind()
    for _ in range(levels - 1):
        made = kind(inner=made)
    return made


def down(frames: int, fn: Any) -> Any:
    return fn() if frames == 0 else down(frames - 1, fn)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("indent", [None, 2])
def test_deep_states_do_not_depend_on_the_stack_of_whoever_reads_them(kind: Kind, indent: int | None) -> None:
    tree = TREES[kind.name]
    codec = kind.codec(tree, indent=indent)
    state = tree_of(tree, 150)
    data = codec.encode(state)
    assert down(700, lambda: codec.encode(state)) == data
    again = down(700, lambda: codec.decode(data))
    assert codec.encode(again) == data


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("levels", [201, 255, 900])
def test_what_is_too_deep_for_a_type_is_refused_and_never_taken_for_corrupt(kind: Kind, levels: int) -> None:
    tree = TREES[kind.name]
    codec = kind.codec(tree)
    data = b'{"inner":' * (levels - 1) + b"{}" + b"}" * (levels - 1)
    try:
        codec.decode(data)
    except TooDeep:
        with pytest.raises(EncodeError):
            codec.encode(tree_of(tree, levels))
    else:
        assert levels <= 254
