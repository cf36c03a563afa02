"""What a document that is not JSON is called: by what people meet, at its place, and whether it may be intact."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from storewriter.codecs import DecodeError, JsonCodec, TooDeep, _diagnosis
from storewriter.codecs import json as json_codec

COMMENT = "a comment; JSON has none. Remove it, or give the store a codec that knows comments"
POWER_CUT = "all NUL: usually left by a power cut"
MORE = "a whole document, then more: two programs wrote at once, or a longer text was overwritten"
LINES = "one document a line (JSON Lines): give the store a codec for it"
UTF16 = "UTF-16 (PowerShell's `>` writes it): save as UTF-8"
PYTHON = "written by `str()`, not by `json.dumps()`"
BACKSLASH = "a backslash in text must be doubled"
CONFLICT = "marks of a merge conflict: choose one side of each, and remove the marks"
NAN = (
    "NaN is not JSON (RFC 8259, section 6); Python's `json.dump` writes it unless `allow_nan=False`. Use null or a text, "
    "or a codec of your own"
)
YAML = "it looks like YAML, not JSON: give the store a codec for it"
SETTINGS = "it looks like TOML, INI or .env, not JSON: give the store a codec for it"
NUMBER = "a number that JSON does not have: no `+`, no `0x`, no 0 in front, and digits on both sides of the point"
CUT = "the document is cut off: it ends in the middle"

INTACT = [
    (b"[1, 2,]", "a comma before `]`; JSON allows none there", 1, 7),
    (b'{"a": 1,\n}', "a comma before `}`; JSON allows none there", 2, 1),
    (b'// settings\n{"a": 1}', COMMENT, 1, 1),
    (b'{\n  # the first\n  "a": 1}', COMMENT, 2, 3),
    (b'{"a": 1, /* second */ "b": 2}', COMMENT, 1, 10),
    (b'{"a": 1} // the end\n', COMMENT, 1, 10),
    ('{"a": 1}'.encode("utf-16"), UTF16, 1, 1),
    ('{"a": "x"}'.encode("utf-16-le"), UTF16, 1, 2),
    ('{"a": 1}'.encode("utf-16-be"), UTF16, 1, 1),
    (gzip.compress(b'{"a": 1}', mtime=0), "gzip-compressed, not JSON", 1, 2),
    (b"PK\x03\x04\x14", "a ZIP archive, not JSON", 1, 1),
    (b"SQLite format 3\0\x10", "an SQLite database, not JSON", 1, 1),
    (b"{'a': 1}", PYTHON, 1, 2),
    (b'{"a": True}', PYTHON, 1, 7),
    (b'{"a": [False, 1]}', PYTHON, 1, 8),
    (b"None", PYTHON, 1, 1),
    (b'{"path": "C:\\Documents\\me"}', BACKSLASH, 1, 13),
    (b'{"path": "C:\\users\\me"}', BACKSLASH, 1, 14),
    (b'{"a": "one\ntwo"}', "a raw line break in a text: write `\\n`, or add the quotation mark that is missing", 1, 11),
    (b'{"a": "one\ttwo"}', "a raw tab in a text: write `\\t`", 1, 11),
    (b'{"a": "\x1b[0m"}', "a control character in a text: write `\\u001b`", 1, 8),
    (b'{\n<<<<<<< HEAD\n  "a": 1\n=======\n  "a": 2\n>>>>>>> theirs\n}', CONFLICT, 2, 1),
    (b'{"a": 1\n=======\n}', CONFLICT, 2, 1),
    (b"<!DOCTYPE html>\n<html>", "an HTML page, not JSON: perhaps a server's error page", 1, 1),
    (b'<?xml version="1.0"?>', "XML, not JSON", 1, 1),
    (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        "a Git LFS pointer, not the file itself: `git lfs pull` fetches that",
        1,
        1,
    ),
    (b'{"a": {"b": NaN}}', NAN, 1, 13),
    (b'{"a": -Infinity}', NAN.replace("NaN", "-Infinity", 1), 1, 7),
    (b'{"a": 1}\n{"a": 2}\n', LINES, 2, 1),
    (b"[1]\n[2]\n[3", LINES, 2, 1),
    (b'{"caf\xe9": 1}', "not UTF-8: byte 0xe9 at offset 5; perhaps Windows-1252 or Latin-1: save as UTF-8", 1, 6),
    (b"{a: 1}", "a key without quotation marks, as JavaScript and JSON5 have them; JSON has none", 1, 2),
    (b'{"a": +1}', NUMBER, 1, 7),
    (b'{"a": .5}', NUMBER, 1, 7),
    (b'{"a": -.5}', NUMBER, 1, 7),
    (b'{"a": 007}', NUMBER, 1, 8),
    (b'{"a": -0x1F}', NUMBER, 1, 9),
    (b'{"a": 5.}', NUMBER, 1, 8),
    (b"colour: red\nlimit: 3\n", YAML, 1, 1),
    (b"---\n- a\n", YAML, 1, 1),
    (b"[section]\nkey = 1\n", SETTINGS, 1, 2),
    (b"export KEY=value\n", SETTINGS, 1, 1),
    (b"[]", "expected an object at the top level, found an array", 1, 1),
    (b'{"a": 1, "a": 2}', "the key 'a' is given twice in one object; keeping one value would lose the other", 1, 10),
]
DAMAGED = [
    (b"\0" * 512, f"512 bytes, {POWER_CUT}. Restore a backup", 1, 1),
    (b'{"a": 1}\n' + b"\0" * 7, f"7 bytes from here on, {POWER_CUT}", 2, 1),
    (b'{"a": 1, ' + b"\0" * 9, f"9 bytes from here on, {POWER_CUT}", 1, 10),
    (b'{"a": 1}}', MORE, 1, 9),
    (b'{"a": 1}{"b": 2}', MORE, 1, 9),
    (b'{"a": 1}\n": 2}\n', MORE, 2, 1),
    (b'{"u": "http"}//example.com", "b": 1}', MORE, 1, 14),
    (b"", "the file is empty", 1, 1),
    (b'{"a": {"b": 1', CUT, 1, 14),
    (b'{"a": [1, tru', CUT, 1, 11),
    (b'{"a": "\\u00', CUT, 1, 9),
    (b'{"a": "xyz', "the document is cut off: this text has no end", 1, 7),
    (b'{"caf\xe9": 1', "not UTF-8: byte 0xe9 at offset 5", 1, 6),
    (b'{"a": x}', "Expecting value", 1, 7),
]


def refusal(data: bytes) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        JsonCodec(shape=dict).decode(data)
    return caught.value


@pytest.mark.parametrize(("data", "reason", "line", "column"), INTACT + DAMAGED)
def test_a_document_is_called_what_it_is_at_its_place(data: bytes, reason: str, line: int, column: int) -> None:
    error = refusal(data)
    assert error.reason == str(error) == reason
    assert (error.line, error.column) == (line, column)


@pytest.mark.parametrize("data", [data for data, *_ in INTACT])
def test_what_a_person_or_another_program_means_so_may_be_intact(data: bytes) -> None:
    assert refusal(data).may_be_intact is True


@pytest.mark.parametrize("data", [data for data, *_ in DAMAGED])
def test_what_no_one_means_so_is_damaged(data: bytes) -> None:
    assert refusal(data).may_be_intact is False


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('{"users": [{"name": "a"}, {"name": x}]}', ("users", 1, "name")),
        ('{"a": 1, "b": {"c": [1, 2 3]}}', ("b", "c", 1)),
        ('{"a": {"b": 1, x}}', ("a",)),
        ('{"a": {"b": "C:\\d]}"}}', ("a", "b")),
        ('{"a": {"C:\\d": 1}}', ("a",)),
        ("[[], [x]]", (1, 0)),
        ('{"a": [NaN]}', ("a", 0)),
        ("x", ()),
    ],
)
def test_the_way_to_the_bad_place_is_known(text: str, path: tuple[str | int, ...]) -> None:
    with pytest.raises(DecodeError) as caught:
        JsonCodec().decode(text.encode())
    assert caught.value.path == path


def test_a_document_that_is_nested_too_deeply_has_no_way_of_254_steps() -> None:
    with pytest.raises(TooDeep) as caught:
        JsonCodec().decode(b"[" * 300 + b"]" * 300)
    assert caught.value.path is None
    assert caught.value.column == 255


def plain_reading(data: bytes) -> Any:
    """What the decoder says without a diagnosis; DecodeError."""
    return json_codec._decode_carefully(data.removeprefix(b"\xef\xbb\xbf"), False)


MARKS = [
    "{",
    "}",
    "[",
    "]",
    '"',
    "'",
    ":",
    ",",
    "\\",
    "\\u",
    "//",
    "#",
    "/*",
    "<",
    "=======\n",
    "<<<<<<< ",
    "\n",
    "\t",
    " ",
    "\0",
    "NaN",
    "True",
    "1",
    "-",
    "a",
    "é",
    "\ufeff",
    "1e999",
    "a: ",
    "k=",
    "---",
]
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def _torn(document: Any, mark: str, cut: int, encoding: str) -> bytes:
    text = json.dumps(document, ensure_ascii=False)
    at = cut % (len(text) + 1)
    return f"{text[:at]}{mark}{text[at + cut % 3 :]}".encode(encoding, "surrogatepass")


NEARLY_JSON = st.builds(
    _torn,
    DOCUMENTS,
    st.sampled_from(MARKS),
    st.integers(0, 200),
    st.sampled_from(["utf-8", "utf-16", "utf-16-le", "utf-16-be"]),
)
ANY_BYTES = st.one_of(
    st.binary(max_size=40),
    NEARLY_JSON,
    st.lists(st.sampled_from(MARKS), max_size=8).map(lambda parts: "".join(parts).encode()),
)


@given(ANY_BYTES)
@example(b'{"a]b\\x": 1')
@example(b'["]\\')
def test_a_diagnosis_raises_nothing_and_changes_neither_what_is_accepted_nor_the_place(data: bytes) -> None:
    try:
        state: Any = plain_reading(data)
    except DecodeError as error:
        found = refusal_of_any(data)
        assert (found.position, found.line, found.column) == (error.position, error.line, error.column)
        assert isinstance(found, type(error))
        assert found.reason
        assert "\n" not in found.reason
    else:
        assert repr(JsonCodec().decode(data)) == repr(state)


def refusal_of_any(data: bytes) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        JsonCodec().decode(data)
    return caught.value


@given(DOCUMENTS)
def test_what_is_accepted_is_never_diagnosed(document: Any) -> None:
    try:
        data = json.dumps(document, allow_nan=False).encode()
    except ValueError:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_diagnosis, "named", lambda *_: pytest.fail("asked"))
        JsonCodec().decode(data)
