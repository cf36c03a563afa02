"""A state that cannot be written: the error says where in it the value stands, and what to store instead."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

import attrs
import pytest

from storewriter import Store
from storewriter.codecs import EncodeError, JsonCodec, _unwritable

NOT_FINITE = "which JSON cannot say (RFC 8259, section 6); use None or a text, or a codec of your own"


class Subclass(str):
    __slots__ = ()


class Moment(Enum):
    FIRST = date(2030, 1, 1)


@attrs.define
class Plain:
    x: int = 1


def _cycle() -> Any:
    state: Any = {"a": [{}]}
    state["a"][0]["again"] = state["a"]
    return state


STATES: list[tuple[Any, str]] = [
    (
        {"a": {"b": [0, {"when": datetime(2030, 1, 1)}]}},
        "state['a']['b'][1]['when'] is a datetime, which JSON cannot hold; store its isoformat()",
    ),
    ({"a": [Moment.FIRST]}, "state['a'][0] is a date, which JSON cannot hold; store its isoformat()"),
    ({"a": timedelta(1)}, "state['a'] is a timedelta, which JSON cannot hold; store its total_seconds()"),
    ({"a": Decimal(1)}, "state['a'] is a Decimal, which JSON cannot hold; store its str()"),
    ({"a": Path("x")}, f"state['a'] is a {type(Path()).__name__}, which JSON cannot hold; store its str()"),
    ({"a": b"x"}, "state['a'] is a bytes, which JSON cannot hold; store its hex(), or base64"),
    ({"a": {1}}, "state['a'] is a set, which JSON cannot hold; store it as a list, sorted(...)"),
    ({"a": deque()}, "state['a'] is a deque, which JSON cannot hold; store list(...) of it"),
    ({"a": OrderedDict()}, "state['a'] is an OrderedDict, which JSON cannot hold; store dict(...) of it"),
    ({"a": Counter()}, "state['a'] is a Counter, which JSON cannot hold; store dict(...) of it"),
    ({"a": Subclass("x")}, "state['a'] is a Subclass, which JSON cannot hold; store str(...) of it"),
    ({"a": Plain()}, "state['a'] is a Plain, which JSON cannot hold; use a typed codec, or store its fields as a dict"),
    (
        [object()],
        "state[0] is an object, which JSON cannot hold; put dicts, lists, text, numbers, True, False and None into the state",
    ),
    (date(2030, 1, 1), "state is a date, which JSON cannot hold; store its isoformat()"),
    ({"a": {"b": float("nan")}}, f"state['a']['b'] is nan, {NOT_FINITE}"),
    ([2**70, {"x": float("-inf")}], f"state[1]['x'] is -inf, {NOT_FINITE}"),
    (
        {"a": [{1: 2}]},
        "state['a'][0] has the key 1, which is not text (int): it would come back as another key; use str(key)",
    ),
    ({"a": {Subclass("k"): 1}}, "state['a'] has the key 'k', a Subclass and not a str; use str(key)"),
    (_cycle(), "state['a'][0]['again'] is state['a'] itself: JSON cannot hold that"),
    (
        {"a": ["\ud83d\ude00"]},
        "state['a'][0] holds two lone surrogates side by side ('\\ud83d\\ude00'); JSON would make one character of them",
    ),
    (
        {"a": {"n": 10**5000}},
        "state['a']['n'] is a whole number of more than 4300 digits (`sys.get_int_max_str_digits()`); store its hex() as text",
    ),
]


@pytest.mark.parametrize(("state", "message"), STATES, ids=[message[:50] for _, message in STATES])
@pytest.mark.parametrize("indent", [None, 2])
def test_the_error_says_where_it_is_and_what_to_do(state: Any, message: str, indent: int | None) -> None:
    with pytest.raises(EncodeError) as caught:
        JsonCodec(indent=indent).encode(state)
    assert str(caught.value) == message


def test_a_long_way_is_abbreviated() -> None:
    state: Any = []
    for _ in range(300):
        state = {"level": state}
    with pytest.raises(
        EncodeError,
        match=r"^state(\['level'\]){8}\.\.\.\(\d+ more\)\.\.\.(\['level'\]){8} is nested more than 254 levels deep$",
    ) as caught:
        JsonCodec().encode(state)
    assert len(caught.value.path or ()) == 254


def test_the_way_is_an_attribute() -> None:
    with pytest.raises(EncodeError) as caught:
        JsonCodec().encode({"a": [1, {"b": object()}]})
    assert caught.value.path == ("a", 1, "b")


def test_what_stands_in_many_places_is_looked_at_once_a_level() -> None:
    """A state with 2 to the power of 60 ways through it."""
    shared: Any = {"end": 1}
    for _ in range(60):
        shared = {"left": shared, "right": shared}
    assert _unwritable.objection(shared) is None


def test_the_caller_of_an_update_gets_it(path: Path) -> None:
    store = Store(path)
    with pytest.raises(EncodeError, match=r"^state\['a'\] is a datetime"):
        store.update(lambda state: state.update(a=datetime(2030, 1, 1)))
    assert not path.exists()
