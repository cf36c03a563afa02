"""Any JSON text, any change: what is written says the new state, and what has not changed keeps its text."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from storewriter.codecs import JsonCodec

CODEC = JsonCodec()

texts = st.text(st.characters(codec=None, exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ["a", "b", "c", "/", "<&>", "\\", '"', "\\x41", "\\U00041", "😀", "\ud800", "  \n", ",", ": "]
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([2**64, -(2**70), 0.0, -0.0, 1e16, 1e-7, 1.5])
    | texts
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)
blanks = st.sampled_from(["", "", "", " ", "\n", "\n  ", "\r\n\t", "\n\n    ", "  "])


@st.composite
def written(draw: st.DrawFn, value: Any) -> str:
    """The value as a text in which every piece of white space is another one."""
    if isinstance(value, dict):
        members = []
        for key, inner in value.items():
            members.append(f"{draw(blanks)}{_spelled(draw, key)}{draw(blanks)}:{draw(blanks)}{draw(written(inner))}")
        return "{" + ",".join(member + draw(blanks) for member in members) + (draw(blanks) if not members else "") + "}"
    if isinstance(value, list):
        items = [draw(blanks) + draw(written(inner)) + draw(blanks) for inner in value]
        return "[" + (",".join(items) or draw(blanks)) + "]"
    return _spelled(draw, value)


def _spelled(draw: st.DrawFn, value: Any) -> str:
    text = json.dumps(value, ensure_ascii=draw(st.booleans()))
    if isinstance(value, str):
        text = text.replace("/", draw(st.sampled_from(["/", "\\/"])))
        return text.encode("utf-8", "backslashreplace").decode()
    if type(value) is float and value == 1.5:
        return draw(st.sampled_from(["1.5", "1.50", "15e-1"]))
    return text


@st.composite
def edited(draw: st.DrawFn, value: Any) -> Any:
    """The value with some changes, anywhere."""
    if isinstance(value, dict) and draw(st.booleans()):
        made = {key: draw(edited(inner)) for key, inner in value.items() if draw(st.integers(0, 4))}
        return {**made, **draw(st.dictionaries(texts, values, max_size=1))}
    if isinstance(value, list) and draw(st.booleans()):
        made_list = [draw(edited(inner)) for inner in value if draw(st.integers(0, 4))]
        for inner in draw(st.lists(values, max_size=1)):
            made_list.insert(draw(st.integers(0, len(made_list))), inner)
        return made_list
    return draw(values) if draw(st.integers(0, 3)) == 0 else value


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, Any, Any]:
    before = draw(values)
    text = draw(blanks) + draw(written(before)) + draw(blanks)
    return draw(st.sampled_from(["", "\ufeff"])) + text, before, draw(edited(before))


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


def _has_pairs_of_surrogates(*states: Any) -> bool:
    """Lone surrogates that JSON would read as one character: nothing that it can say."""
    return any(not same(json.loads(json.dumps(state)), state) for state in states)


@given(case=cases())
@example(case=('{"a": 1,"b":\n[ ]}', {"a": 1, "b": []}, {"b": [{"c": 2}], "a": 1}))
def test_what_is_written_says_the_state(case: tuple[str, Any, Any]) -> None:
    text, before, after = case
    assume(not _has_pairs_of_surrogates(before, after))
    data = text.encode()
    state, encode = CODEC.decode_for_update(data)
    assert same(state, before)
    assert encode(state) == data
    assert same(CODEC.decode(encode(after)), after)
    again, encode_again = CODEC.decode_for_update(encode(after))
    assert same(again, after)
    assert encode_again(after) == encode(after)


@st.composite
def one_change(draw: st.DrawFn) -> tuple[str, str, str, Any, Any]:
    """A document of members on lines of their own, of which one is changed: what stands before it, it, and after."""
    members = draw(st.dictionaries(texts, values, min_size=1, max_size=5))
    keys = list(members)
    index = draw(st.integers(0, len(keys) - 1))
    lines = [f"\n{draw(blanks)}{_spelled(draw, key)}:{draw(blanks)}" for key in keys]
    bodies = [draw(written(inner)) for inner in members.values()]
    pieces = [line + body for line, body in zip(lines, bodies, strict=True)]
    before = ",".join([*pieces[:index], lines[index]])
    after = "".join("," + piece for piece in pieces[index + 1 :]) + draw(blanks)
    return "{" + before, bodies[index], after + "}", members, draw(edited(members[keys[index]]))


@given(case=one_change())
def test_what_has_not_changed_keeps_its_text(case: tuple[str, str, str, Any, Any]) -> None:
    head, body, tail, members, value = case
    state, encode = CODEC.decode_for_update((head + body + tail).encode())
    changed = _with_change(state, members, head, value)
    assume(not _has_pairs_of_surrogates(state, changed))
    written_text = encode(changed).decode()
    assert written_text.startswith(head)
    assert written_text.endswith(tail)


def _with_change(state: Any, members: Any, head: str, value: Any) -> Any:
    """The state in which the member that follows `head` has another value."""
    count = len(json.loads(head + "0}"))
    key = list(members)[count - 1]
    return {**state, key: value}


@pytest.mark.parametrize("depth", [30, 254])
@pytest.mark.parametrize("style", [{"indent": 4}, {"indent": "\t"}, {"indent": 0}, {}], ids=str)
def test_deep_documents_keep_their_layout(depth: int, style: dict[str, Any]) -> None:
    state: Any = [0]
    for _ in range(depth - 1):
        state = [state]
    data = json.dumps(state, **style).encode()
    found, encode = CODEC.decode_for_update(data)
    assert encode(found) == data
    inner = found
    while inner[0] != 0:
        inner = inner[0]
    inner[0] = 7
    assert encode(found) == data.replace(b"0", b"7")
