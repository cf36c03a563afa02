"""The engine is trusted only where it lost nothing, in every layout; and it is trusted wherever it lost nothing."""

from __future__ import annotations

import json
import math
import pickle
import random
import re
from typing import Any, NoReturn

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from test_json_lossless import any_text, same

from storewriter.codecs import DecodeError, EncodeError, JsonCodec, _numbers
from storewriter.codecs import json as json_codec

CODEC = JsonCodec()

# Documents are generated as text: keys given twice, numbers and characters in any spelling.

_SPELLINGS = {
    '"': ['\\"', "\\u0022"],
    "\\": ["\\\\", "\\u005c", "\\u005C"],
    "/": ["/", "\\/", "\\u002f"],
    "\n": ["\\n", "\\u000a", "\\u000A"],
    "\x1b": ["\\u001b", "\\u001B"],
    "\x7f": ["\x7f", "\\u007f"],
    "<": ["<", "\\u003c"],
    "ü": ["ü", "\\u00fc"],
    "世": ["世", "\\u4e16"],
    "😀": ["😀", "\\ud83d\\ude00"],
    "\ud800": ["\\ud800"],
    "a": ["a", "\\u0061"],
    **{char: [char] for char in "bnu019 {}[]:,e+-."},
}
_KEYS = ["", "a", "b", '"', "\\", "ü", "/", "n", "\n", "a b"]
_WHOLE = ["0", "-0", "1", "-7", "9007199254740993", "9223372036854775807", "9223372036854775808", "-9223372036854775808",
          "-9223372036854775809", "18446744073709551615", "18446744073709551616", "1" * 30]  # fmt: skip
_FLOATS = ["0.0", "-0.0", "1.0", "1.50", "1.5", "1e5", "1E+5", "1e-7", "1e-07", "1e-05", "0.00001", "1e16", "1e+16", "1e22",
           "0.1", "0.10000000000000001", "0.10000000000000000001", "5e-324", "1e-400", "1e999", "9007199254740993.0",
           "1.7976931348623157e308", "123456789.012345678", "1764025200.1234567"]  # fmt: skip


@st.composite
def strings(draw: st.DrawFn, content: st.SearchStrategy[str]) -> str:
    return '"' + "".join(draw(st.sampled_from(_SPELLINGS[char])) for char in draw(content)) + '"'


_TEXTS = strings(st.text(st.sampled_from(sorted(_SPELLINGS)), max_size=5))
_MEMBER_KEYS = strings(st.sampled_from(_KEYS))
_LEAVES = st.sampled_from(["true", "false", "null", *_WHOLE, *_FLOATS]) | _TEXTS
_BLANKS = st.text(st.sampled_from(" \t\r\n"), max_size=2)


@st.composite
def containers(draw: st.DrawFn, inner: st.SearchStrategy[str]) -> str:
    opening, closing = draw(st.sampled_from([("[", "]"), ("{", "}")]))
    parts = draw(st.lists(inner, max_size=4))
    if opening == "{":
        parts = [f"{draw(_MEMBER_KEYS)}{draw(_BLANKS)}:{draw(_BLANKS)}{part}" for part in parts]
    return opening + ",".join(f"{draw(_BLANKS)}{part}{draw(_BLANKS)}" for part in parts) + closing


DOCUMENTS = st.builds(
    lambda mark, before, text, after: (mark + before + text + after).encode(),
    st.sampled_from(["", "", "", "\ufeff"]),
    _BLANKS,
    st.recursive(_LEAVES, containers, max_leaves=8),
    _BLANKS,
)


def by_reference(data: bytes) -> Any:
    """What the standard library reads, one value after the other. Raises ValueError."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(items)) != len(items):
            raise ValueError("a key is given twice")
        return dict(items)

    def constant(name: str) -> NoReturn:
        raise ValueError(name)

    text = data.decode().removeprefix("\ufeff")
    return json.loads(text, object_pairs_hook=pairs, parse_float=_numbers.kept, parse_constant=constant)


@given(data=DOCUMENTS)
@example(data=b'{"a":1,"a":1}')
@example(data=b'{"a": {"b": 1}, "\\u0061": {"b": 1}}')
@example(data=b'[18446744073709551616, "1.8446744073709552e+19"]')
@example(data=b'{"a":"\\u0022","a":"\\u0022,\\u0022"}')
@example(data=b'[{"": 0, "": "\\""}]')
def test_a_document_is_read_as_by_the_reference_or_refused_as_by_the_reference(data: bytes) -> None:
    try:
        expected = by_reference(data)
    except ValueError:
        with pytest.raises(DecodeError):
            CODEC.decode(data)
        return
    assert same(CODEC.decode(data), expected)


@given(data=DOCUMENTS)
def test_the_comparison_is_never_content_where_the_engine_lost_something(data: bytes) -> None:
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        found = orjson.loads(data)
        lossless = same(found, by_reference(data))
    except orjson.JSONDecodeError:
        return
    except ValueError:
        lossless = False
    assert lossless or not json_codec._says_the_same(data, orjson.dumps(found))


@pytest.mark.parametrize(
    ("data", "again"),
    [
        (b"[1.50]", b"[[1.5]]"),
        (b"[1.50]", b"[1.5}"),
        (b'{"a":1.50}', b'{"b":1.5}'),
        (b"[1.50,1.50]", b"[1.5]"),
        (b"[1.5,[1.5,1.50]]", b"[1.5,1.5]]"),
        (b'[1.50,"a"]', b'[1.5,"b"]'),
        (b'["1.50"]', b'["1.5"]'),
        (b"[-0.00]", b"[0.0]"),
        (b"[-0]", b"[0]"),
        (b"[1.00]", b"[1]"),
    ],
)
def test_texts_that_differ_in_more_than_the_spelling_of_a_double_are_not_the_same(data: bytes, again: bytes) -> None:
    assert not json_codec._says_the_same(data, again)


def _scrambled_dump(state: Any, seed: int) -> bytes:
    """Each character above ASCII, and each of `/<>&`, as itself or as an escape."""
    dice = random.Random(seed)

    def spelled(match: re.Match[str]) -> str:
        escape = json.dumps(match[0])[1:-1] if match[0] > "\x7f" else f"\\u{ord(match[0]):04x}"
        return dice.choice([match[0], escape])

    return re.sub("[/<>&'\x7f-\U0010ffff]", spelled, json.dumps(state, ensure_ascii=False)).encode()


LAYOUTS: dict[str, Any] = {
    "compact": lambda state: orjson.dumps(state),
    "two spaces": lambda state: orjson.dumps(state, option=orjson.OPT_INDENT_2) + b"\n",
    "json.dumps": lambda state: json.dumps(state).encode(),
    "json.dumps, two spaces": lambda state: json.dumps(state, indent=2).encode(),
    "json.dumps, as it is": lambda state: json.dumps(state, ensure_ascii=False).encode(),
    "four spaces": lambda state: json.dumps(state, indent=4, ensure_ascii=False).encode() + b"\n",
    "tabs": lambda state: json.dumps(state, indent="\t").encode(),
    "CRLF": lambda state: orjson.dumps(state, option=orjson.OPT_INDENT_2).replace(b"\n", b"\r\n") + b"\r\n",
    "byte order mark": lambda state: b"\xef\xbb\xbf" + orjson.dumps(state, option=orjson.OPT_INDENT_2),
    "PHP": lambda state: json.dumps(state).replace("/", "\\/").encode(),
    "Go": lambda state: re.sub(rb"[<>&]", lambda match: b"\\u%04x" % ord(match[0]), orjson.dumps(state)),
    "mixed": lambda state: _scrambled_dump(state, 7),
}
_ORDINARY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.integers(-(10**17), 10**17).map(lambda number: number / 1000)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    | st.text('ü世😀"\\/<>&\n\x1b\x7f u0041', max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('aü"\\/ ', max_size=3), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("layout", LAYOUTS)
@given(state=_ORDINARY)
def test_no_layout_needs_the_careful_decoder(layout: str, state: Any) -> None:
    def careful(data: bytes, is_flat: bool) -> NoReturn:
        raise AssertionError(data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_codec, "_decode_carefully", careful)
        assert same(CODEC.decode(LAYOUTS[layout](state)), state)


@pytest.mark.parametrize("codec", [JsonCodec(), JsonCodec(indent=2)], ids=["compact", "indented"])
@given(
    state=st.recursive(
        st.none() | st.integers(-(2**70), 2**70) | st.floats() | any_text,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    )
)
@example(state=[2**64, None, 1e300])
@example(state=["\udc00", 2**64 - 1, -(2**63), 5e-324])
def test_what_was_just_written_is_read_as_if_it_came_from_the_file(codec: JsonCodec, state: Any) -> None:
    try:
        written = codec.encode(state)
    except EncodeError:
        return
    own, from_file = codec.decode(written), codec.decode(bytes(written))
    assert same(own, from_file)
    assert same(own, state)


@given(
    numbers=st.lists(
        st.sampled_from(["1.50", "1e5", "1E+5", "1e-05", "0.10", "100e-2", "-0.00", "0.10000000000000001"])
    )
)
@example(numbers=[])
def test_numbers_in_another_spelling_need_no_careful_decoder(numbers: list[str]) -> None:
    text = '{"a,b:[1.50]": ["x,1.50", ' + ", ".join([*numbers, "1.5"]) + ', 7], "c": 2.500}'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_codec, "_decode_carefully", lambda data, is_flat: pytest.fail("read carefully"))
        assert same(CODEC.decode(text.encode()), json.loads(text))


def test_what_the_engine_has_written_is_read_by_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    written = CODEC.encode({"a": [1, None, "ü", 0.1]})
    monkeypatch.setattr(json_codec, "_read", lambda data: pytest.fail("proven once more"))
    assert CODEC.decode(written) == {"a": [1, None, "ü", 0.1]}
    with pytest.raises(DecodeError, match="an array at the top level"):
        JsonCodec(shape=list).decode(written)


def test_what_was_written_is_bytes_for_all_purposes() -> None:
    written = CODEC.encode({"a": 1})
    plain = b'{"a":1}\n'
    assert (written, hash(written), repr(written)) == (plain, hash(plain), repr(plain))
    assert pickle.loads(pickle.dumps(written)) == plain
    assert not math.isnan(CODEC.decode(written[:-1])["a"])
