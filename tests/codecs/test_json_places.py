"""JSON documents: NaN is always found, errors are always placed, and the quick way reads what the careful way reads."""

from __future__ import annotations

import json
import math
import struct
import sys
import uuid
from enum import Enum, IntEnum, StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storewriter.codecs import DecodeError, EncodeError, JsonCodec, _finite
from storewriter.codecs._places import locate, spelled

CODEC = JsonCodec()

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    # What looks like the bytes of a NaN: sevens and high bytes, in text and in numbers.
    | st.sampled_from(["g\x7f", "\xe7\xf0\x7f" * 9, "g123456\U000f007f", 0x7FF0, 2**62 + 0x7FFFFFFF, 5e-324, 1.7e308])
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20
)
_EXPONENT = 0x7FF0_0000_0000_0000
STRANGE = st.integers(0, 2**52 - 1).flatmap(
    lambda payload: st.sampled_from([_EXPONENT | payload, 1 << 63 | _EXPONENT | payload])
)


def float_of(bits: int) -> float:
    found: float = struct.unpack("<d", struct.pack("<Q", bits))[0]
    return found


@st.composite
def states_with_a_stranger(draw: st.DrawFn) -> Any:
    """A state with one NaN or infinity, of any payload, somewhere inside."""
    stranger: Any = float_of(draw(STRANGE))
    state: Any = draw(st.sampled_from([stranger, [stranger, stranger]]))  # once, or referred to twice
    for _ in range(draw(st.integers(0, 6))):
        beside = draw(VALUES)
        state = draw(st.sampled_from([[beside, state], {"a": state, "b": beside}, (state, beside), [state]]))
    return state


@given(state=states_with_a_stranger())
def test_a_nan_or_infinity_is_found_wherever_it_stands_and_whatever_its_bits(state: Any) -> None:
    found = _finite.find(state)
    assert found is not None
    assert not math.isfinite(found)
    with pytest.raises(EncodeError, match=r"nan|inf|Out of range"):
        CODEC.encode({"null": None, "state": state})


class Strange(Enum):
    NAN = math.nan
    INFINITE = [1, {"a": (-math.inf,)}]


class Nothing(float, Enum):
    IS = math.nan


class Wrapped(Enum):
    IT = Nothing.IS


@pytest.mark.parametrize("member", [*Strange, *Nothing, *Wrapped])
@pytest.mark.parametrize("beside", [None, 2**70], ids=["engine", "careful"])
def test_a_nan_or_infinity_in_an_enum_member_is_found(member: Enum, beside: int | None) -> None:
    for state in (member, [member], {"a": (member, beside)}, [{"a": member}, beside]):
        with pytest.raises(EncodeError, match=r"nan|inf|Out of range"):
            CODEC.encode(state)


@given(state=VALUES)
def test_states_without_one_are_written(state: Any) -> None:
    assert _finite.find(state) is None
    data = CODEC.encode([None, state])
    assert CODEC.decode(data) == [None, state]


def test_the_quick_check_works_on_this_interpreter() -> None:
    assert _finite._may_hold_one is _finite._may_hold_one_by_marshal
    assert not _finite._may_hold_one({"a": [None, 1.5, "text", True, 2**40]})


@given(state=VALUES)
def test_every_layout_is_read_alike(state: Any) -> None:
    layouts = [
        json.dumps(state),
        json.dumps(state, indent=2),
        json.dumps(state, separators=(",", ":")),
        json.dumps(state, indent="\t") + "\n",
        "\ufeff" + json.dumps(state),
    ]
    for text in layouts:
        assert CODEC.decode(text.encode()) == state


@pytest.mark.parametrize("newline", ["", "\n"])
@pytest.mark.parametrize("indent", [None, 2])
def test_what_other_programs_write_compact_or_with_two_spaces_needs_no_careful_reading(
    newline: str, indent: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = {"a": [1, {"b": None}], "c": "é", "d": [], "e": {}}
    text = json.dumps(state, indent=indent, separators=None if indent else (",", ":"), ensure_ascii=False) + newline
    monkeypatch.setattr("storewriter.codecs.json._decode_carefully", lambda data: pytest.fail("read carefully"))
    assert CODEC.decode(text.encode()) == state


_MOST_DIGITS = sys.get_int_max_str_digits()


@pytest.mark.parametrize(
    ("text", "reason", "line", "column"),
    [
        ('{"a": 1,\n "b": {"c": 1, "c": 2}}', "'c' is given twice", 2, 16),
        ('{"a": 1, "\\u0061": 2}', "'a' is given twice", 1, 10),
        ("[1,\n\n  1e999]", "1e999 is beyond the range", 3, 3),
        ("[-1e999]", "-1e999 is beyond", 1, 2),
        ('{"x": NaN}', "NaN is not JSON", 1, 7),
        ('["NaN", -Infinity]', "-Infinity is not JSON", 1, 9),
        (f"[0, {'9' * (_MOST_DIGITS + 1)}]", f"{_MOST_DIGITS + 1} digits", 1, 5),
        ('{"a": "}{,:[\\"", "a": 0}', "twice", 1, 18),
        ('{"é": 1,\n"é": 2}', "twice", 2, 1),
        ('{"a": 1 "b"}', "Expecting ',' delimiter", 1, 9),
        ("[1,]", "a comma before `]`", 1, 4),
        ('[1,\n {"a": 2 ,\n }]', "a comma before `}`", 3, 2),
        ("[1,}", "a comma before `}`", 1, 4),
        ('[",]', "cut off: this text has no end", 1, 2),
        ("[,]", "Expecting value", 1, 2),
        ("[]]", "a whole document, then more", 1, 3),
        ('{"a": 1e400x}', "1e400 is beyond the range", 1, 7),
        ("[1E400E]", "1E400 is beyond the range", 1, 2),
        ("[1, NaNx]]]", "NaN is not JSON", 1, 5),
        ("[-Infinityx}}", "-Infinity is not JSON", 1, 2),
        (f"[{'9' * (_MOST_DIGITS + 1)}x]]", f"{_MOST_DIGITS + 1} digits", 1, 2),
        ("[" * 5000, "nested more than 254 levels", 1, 255),
        ("", "empty", 1, 1),
        (" \n", "empty", 1, 1),
    ],
)
def test_an_error_has_its_place(text: str, reason: str, line: int, column: int) -> None:
    with pytest.raises(DecodeError) as caught:
        CODEC.decode(text.encode())
    assert reason in caught.value.reason
    assert (caught.value.line, caught.value.column) == (line, column)


def test_bytes_that_are_no_text_have_a_place_too() -> None:
    with pytest.raises(DecodeError, match="0xff") as caught:
        CODEC.decode(b'{"a":\n "\xff"}')
    assert (caught.value.line, caught.value.column, caught.value.position) == (2, 3, 8)


@given(state=VALUES, indent=st.sampled_from([None, 1]))
def test_every_value_can_be_located(state: Any, indent: int | None) -> None:
    text = json.dumps(state, indent=indent, ensure_ascii=False)
    decoder = json.JSONDecoder()

    def visit(value: Any, path: tuple[str | int, ...]) -> None:
        found, _ = decoder.raw_decode(text, locate(text, path))
        assert found == value
        if isinstance(value, dict):
            for key, inner in value.items():
                key_found, _ = decoder.raw_decode(text, locate(text, (*path, key), key=True))
                assert key_found == key
                visit(inner, (*path, key))
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                visit(inner, (*path, index))

    visit(state, ())


def test_a_path_that_ends_early_is_located_as_far_as_it_goes() -> None:
    text = '{"a": [10, 20]}'
    assert text[locate(text, ("a", 5, "x"))] == "["
    assert text[locate(text, ("b",))] == "{"


def test_a_path_is_spelled_for_people() -> None:
    assert spelled(("items", 2, "due")) == "items[2].due"
    assert spelled(("a b", "c")) == '["a b"].c'
    assert spelled(()) == "the top level"


class Plain(Enum):
    A = "a"


class Number(IntEnum):
    ONE = 1


class Text(StrEnum):
    B = "b"


@pytest.mark.parametrize("forced", [None, 2**70], ids=["engine", "careful"])
def test_enum_members_tuples_and_uuids_are_written_alike_on_both_ways(forced: int | None) -> None:
    number = uuid.UUID(int=5)
    state = [Plain.A, Number.ONE, Text.B, (1, 2), number, forced]
    assert CODEC.decode(CODEC.encode(state)) == ["a", 1, "b", [1, 2], str(number), forced]


@pytest.mark.parametrize("stranger", [object(), {1: 2}, {None: 1}, b"bytes", {1, 2}, 1j])
@pytest.mark.parametrize("beside", [None, 2**70])
def test_what_json_cannot_say_is_refused(stranger: Any, beside: int | None) -> None:
    with pytest.raises(EncodeError):
        CODEC.encode([beside, stranger])
