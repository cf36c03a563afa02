"""`JsonCodec`: whatever JSON can say comes back; what cannot be kept is refused, never changed."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import json
import math
import threading
import uuid
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from storewriter.codecs import DecodeError, EncodeError, JsonCodec

CODECS = [JsonCodec(), JsonCodec(indent=2)]

any_text = st.text(st.characters(codec=None, exclude_categories=[]), max_size=8)
"""Every code point, lone surrogates among them."""

numbers = (
    st.integers()
    | st.integers(-(2**70), 2**70)
    | st.sampled_from([2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**300])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0.0, -0.0, 5e-324, 1.7976931348623157e308, 0.1, 1e22, 1e21, 123456789012345680.0])
)
documents = st.recursive(
    st.none() | st.booleans() | numbers | any_text,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(any_text, children, max_size=4),
    max_leaves=12,
)


def _pairs_of_surrogates(value: Any) -> bool:
    """Two lone surrogates that JSON would read as one character: nothing that JSON can say."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass") != value
    if isinstance(value, dict):
        return any(map(_pairs_of_surrogates, (*value, *value.values())))
    return isinstance(value, list) and any(map(_pairs_of_surrogates, value))


def same(one: Any, other: Any) -> bool:
    """Equal in every way that JSON can see: types, order of keys, the sign of zero."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return one == other and math.copysign(1, one) == math.copysign(1, other)
    return bool(one == other)


@pytest.mark.parametrize("codec", CODECS, ids=["compact", "indented"])
@given(state=documents)
@example(state={"ü": ["\ud800", "\udfff", "\x00", "\u2028", "😀", "\x7f", "\ufeff"]})
@example(state={"b": 1, "a": 2, "": {"": []}})
def test_every_document_comes_back_exactly(codec: JsonCodec, state: Any) -> None:
    assume(not _pairs_of_surrogates(state))
    data = codec.encode(state)
    assert same(codec.decode(data), state)
    assert codec.encode(codec.decode(data)) == data
    assert data.endswith(b"\n")
    assert same(json.loads(data), state)


@pytest.mark.parametrize("codec", CODECS, ids=["compact", "indented"])
@given(
    state=documents, style=st.sampled_from([{}, {"indent": 4}, {"ensure_ascii": False}, {"separators": (" , ", " : ")}])
)
def test_documents_of_other_programs_are_read_exactly(codec: JsonCodec, state: Any, style: dict[str, Any]) -> None:
    assume(not _pairs_of_surrogates(state))
    text = json.dumps(state, **style)
    try:
        data = text.encode()
    except UnicodeEncodeError:
        data = json.dumps(state).encode()
    assert same(codec.decode(data), state)
    assert same(codec.decode(b"\xef\xbb\xbf" + data), state)
    assert same(codec.decode(b"\n\t " + data + b"\r\n"), state)


@given(state=documents)
def test_both_layouts_say_the_same(state: Any) -> None:
    assume(not _pairs_of_surrogates(state))
    compact, indented = (codec.encode(state) for codec in CODECS)
    assert same(CODECS[0].decode(indented), CODECS[1].decode(compact))


@given(state=documents)
def test_encoding_depends_on_nothing_but_the_state(state: Any) -> None:
    assume(not _pairs_of_surrogates(state))
    assert JsonCodec().encode(state) == JsonCodec().encode(JsonCodec().decode(JsonCodec().encode(state)))


@given(data=st.binary(max_size=40) | st.text(max_size=20).map(str.encode))
@example(data=b"-0")
@example(data=b"1E5")
@example(data=b'"\\ud83d\\ude00"')
@example(data=b"-0.0e-0")
def test_arbitrary_bytes_are_read_as_json_reads_them_or_refused(data: bytes) -> None:
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(items)) != len(items):
            raise ValueError("duplicate")
        return dict(items)

    def constant(name: str) -> Any:
        raise ValueError(name)

    try:
        expected = json.loads(data.decode("utf-8-sig"), object_pairs_hook=pairs, parse_constant=constant)
    except (ValueError, RecursionError):
        with pytest.raises(DecodeError):
            JsonCodec().decode(data)
        return
    if "inf" in repr(expected) and not isinstance(expected, str):
        return
    found = JsonCodec().decode(data)
    assert same(found, expected) or found == expected  # "-0" is -0.0 here, and the integer 0 there


@pytest.mark.parametrize("codec", CODECS, ids=["compact", "indented"])
def test_two_surrogates_that_would_become_one_character_are_refused(codec: JsonCodec) -> None:
    for state in ({"x": "\ud83d\ude00"}, {"\ud83d\ude00": 1}, ["a\ud83d\ude00b"]):
        with pytest.raises(EncodeError):
            codec.encode(state)


class Colour(enum.Enum):
    RED = "red"


class Number(enum.IntEnum):
    ONE = 1


class Text(str):
    __slots__ = ()


class Dictionary(dict):  # type: ignore[type-arg]
    pass


@dataclasses.dataclass
class Record:
    a: int = 1


@pytest.mark.parametrize("codec", CODECS, ids=["compact", "indented"])
@pytest.mark.parametrize(
    "stranger",
    [
        object(),
        {1, 2},
        b"bytes",
        bytearray(b"x"),
        1j,
        decimal.Decimal("1.1"),
        datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
        datetime.date(2026, 1, 1),
        Record(),
        Text("subclass"),
        Dictionary(a=1),
        collections.OrderedDict(a=1),
        collections.deque([1]),
        float("nan"),
        float("inf"),
        -float("inf"),
        {1: "a"},
        {None: "a"},
        {True: "a"},
        {1.5: "a"},
        {(1,): "a"},
        {Text("k"): 1},
        range(3),
        10**5000,
        int,
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("beside", [None, 2**70, "\ud800"], ids=["alone", "beside a big integer", "beside a surrogate"])
def test_what_is_no_json_is_refused(codec: JsonCodec, stranger: Any, beside: Any) -> None:
    """Also where another value sends the encoder another way."""
    for state in (stranger, [stranger], {"a": stranger}, {"a": [{"b": stranger}]}):
        with pytest.raises(EncodeError):
            codec.encode({"beside": beside, "state": state, "after": None})


@pytest.mark.parametrize("beside", [None, 2**70], ids=["alone", "beside a big integer"])
def test_what_stands_for_json_is_written_as_that_or_refused_but_always_the_same_way(beside: Any) -> None:
    """Tuples, enum members and UUIDs: whatever is decided, a big integer beside them must not change it."""
    for value, plain in (
        ((1, 2), [1, 2]),
        (Colour.RED, "red"),
        (Number.ONE, 1),
        (uuid.UUID(int=1), str(uuid.UUID(int=1))),
    ):
        try:
            data = JsonCodec().encode([value, beside])
        except EncodeError:
            with pytest.raises(EncodeError):
                JsonCodec().encode([value, None])
        else:
            assert JsonCodec().decode(data) == [plain, beside]


@pytest.mark.parametrize("codec", CODECS, ids=["compact", "indented"])
@pytest.mark.parametrize("null", [True, False])
@pytest.mark.parametrize("bad", [float("nan"), -float("nan"), float("inf"), -float("inf")])
def test_nan_is_found_wherever_it_hides(codec: JsonCodec, bad: float, null: bool) -> None:
    for state in ([bad], {"a": bad}, {"a": [[], {"b": (1, bad)}]}, [1.5] * 1000 + [bad], {"null": "null", "x": bad}):
        with pytest.raises(EncodeError):
            codec.encode([state, None] if null else state)


def test_text_that_looks_like_null_or_nan_is_just_text() -> None:
    state = {"null": "null", "NaN": "NaN", "n": None, "e": "\x7f\xf0" * 3, "g": "gggggggg\ufff0\u7fff"}
    assert JsonCodec().decode(JsonCodec().encode(state)) == state


def test_a_state_that_refers_to_itself_is_refused_at_once() -> None:
    loop: dict[str, Any] = {}
    loop["loop"] = loop
    branching: list[Any] = []
    branching += [branching, branching]
    for state in (loop, branching, {"a": loop, "big": 2**70}):
        with pytest.raises(EncodeError):  # following every branch of the second would take 2 ** depth steps: for ever
            JsonCodec().encode(state)


def test_one_object_in_two_places_is_no_loop() -> None:
    shared = [1]
    for extra in (None, 2**70):
        state = {"a": shared, "b": [shared, shared], "extra": extra}
        assert JsonCodec().decode(JsonCodec().encode(state)) == {"a": [1], "b": [[1], [1]], "extra": extra}


@pytest.mark.parametrize(
    ("data", "line", "column"),
    [
        (b"{", 1, 2),
        (b"", 1, 1),
        (b'{\n "a": 1,\n "b": x}', 3, 7),
        (b'{"\xc3\xbc": nope}', 1, 7),
        (b'{"a": "\xff"}', 1, 8),
        (b"[1,\n2,\n\n  oops]", 4, 3),
        (b"[1] 2", 1, 5),
        (b'\xef\xbb\xbf{"a": x}', 1, 7),
    ],
)
def test_faults_are_placed(data: bytes, line: int, column: int) -> None:
    with pytest.raises(DecodeError) as caught:
        JsonCodec().decode(data)
    assert (caught.value.line, caught.value.column) == (line, column)


@pytest.mark.parametrize(("shape", "good", "bad"), [(dict, {}, []), (list, [], {}), ((dict, list), [], "x")])
def test_another_shape_is_refused_both_ways(shape: Any, good: Any, bad: Any) -> None:
    codec = JsonCodec(shape=shape)
    assert codec.decode(codec.encode(good)) == good
    with pytest.raises(EncodeError):
        codec.encode(bad)
    with pytest.raises(DecodeError, match="top level"):
        codec.decode(json.dumps(bad).encode())


def test_a_codec_is_a_value_and_shared_by_threads() -> None:
    assert JsonCodec(indent=2) == JsonCodec(indent=2) != JsonCodec()
    assert JsonCodec() == JsonCodec(indent="keep") != JsonCodec(indent=None)
    codec = JsonCodec()
    wrong: list[int] = []

    def work(place: int) -> None:
        for n in range(200):
            if codec.decode(codec.encode({"n": n + place, "big": 2**70})) != {"n": n + place, "big": 2**70}:
                wrong.append(place)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("text", ["-0", "[-0]", '{"a": [1, -0]}'])
def test_the_sign_of_a_zero_is_kept(text: str) -> None:
    state = JsonCodec().decode(text.encode())
    written = JsonCodec().encode(state)
    assert b"-0.0" in written
    assert same(JsonCodec().decode(written), state)
    found, encode = JsonCodec().decode_for_update(text.encode())
    assert encode(found) == text.encode()
