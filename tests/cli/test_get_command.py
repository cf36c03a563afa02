"""`storewriter get`: a document, or what is at a place in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from helpers.commands import Here
from storewriter import Store


def test_the_whole_document_is_printed_as_json(cli: Here, path: Path) -> None:
    path.write_text('{"a":[1,{"b":null}],"\\u00e9":1.50}')
    assert cli("get", path) == (0, '{\n  "a": [\n    1,\n    {\n      "b": null\n    }\n  ],\n  "é": 1.5\n}\n', "")
    assert cli("get", "--compact", path) == (0, '{"a":[1,{"b":null}],"é":1.5}\n', "")


# The examples of RFC 6901, section 5.
RFC_6901 = """{"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\\\j": 5, "k\\"l": 6, " ": 7,
"m~n": 8}"""
POINTERS = {
    "/foo": '["bar","baz"]',
    "/foo/0": '"bar"',
    "/": "0",
    "/a~1b": "1",
    "/c%d": "2",
    "/e^f": "3",
    "/g|h": "4",
    "/i\\j": "5",
    '/k"l': "6",
    "/ ": "7",
    "/m~0n": "8",
}


@pytest.mark.parametrize(("pointer", "value"), POINTERS.items())
def test_the_pointers_of_the_rfc_lead_where_it_says(cli: Here, path: Path, pointer: str, value: str) -> None:
    path.write_text(RFC_6901)
    assert cli("get", "--compact", path, pointer) == (0, f"{value}\n", "")


def test_keys_with_dots_lead_there_too(cli: Here, path: Path) -> None:
    path.write_text('{"users": [{"name": "Ada"}]}')
    assert cli("get", path, "users.0.name") == (0, '"Ada"\n', "")
    assert cli("get", "--raw", path, "users.0.name") == (0, "Ada\n", "")
    assert cli("get", "--raw", path, "users.0") == (0, '{\n  "name": "Ada"\n}\n', "")


NOTHING = {
    "/zz": "nothing is at /zz: there is no key 'zz'.",
    "/list/2": "nothing is at /list/2: at /list the array has 2 elements, and no index 2.",
    "/list/01": "nothing is at /list/01: at /list '01' is no index of an array.",
    "/list/-": "nothing is at /list/-: at /list '-' is no index of an array.",
    "/list/-1": "nothing is at /list/-1: at /list '-1' is no index of an array.",
    "/list/\u0661": "nothing is at /list/\u0661: at /list '\u0661' is no index of an array.",
    "/n/x": "nothing is at /n/x: at /n a number has no 'x'.",
    "/t/0": "nothing is at /t/0: at /t a text has no '0'.",
    "/null/0": "nothing is at /null/0: at /null null has no '0'.",
    "/yes/0": "nothing is at /yes/0: at /yes true or false has no '0'.",
}


@pytest.mark.parametrize(("pointer", "message"), NOTHING.items())
def test_a_place_where_nothing_is_ends_with_1(cli: Here, path: Path, pointer: str, message: str) -> None:
    path.write_text('{"list": [1, 2], "n": 1, "t": "text", "null": null, "yes": true}')
    assert cli("get", path, pointer) == (1, "", f"storewriter: {message}\n")


@pytest.mark.parametrize(
    ("pointer", "message"),
    [
        ("/a~2", "'/a~2' is no JSON pointer (RFC 6901): Found invalid escape ~2."),
        ("a..b", "'a..b' has an empty key; write such a place as a JSON pointer: /a//b."),
    ],
)
def test_what_is_no_pointer_is_wrong_usage(cli: Here, path: Path, pointer: str, message: str) -> None:
    path.write_text("{}")
    code, out, err = cli("get", path, pointer)
    assert (code, out) == (2, "")
    assert message in err


def test_a_store_without_a_document_ends_with_1(cli: Here, path: Path) -> None:
    assert cli("get", path) == (1, "", f"storewriter: {path} has no document yet.\n")
    assert cli("get", "--version-only", path) == (0, "absent\n", "")


def test_the_version_is_that_of_the_library(cli: Here, path: Path) -> None:
    path.write_text('{"a": 1}')
    assert cli("get", "--version-only", path) == (0, f"{Store(path, dict).read_versioned()[1]}\n", "")


def test_a_document_that_cannot_be_read_ends_with_3(cli: Here, path: Path) -> None:
    path.write_text('{"a": ')
    code, out, err = cli("get", path)
    assert (code, out) == (3, "")
    assert err.startswith(f"storewriter: {path} cannot be read: line 1, column ")


def test_reading_takes_no_lock(cli: Here, path: Path) -> None:
    path.write_text("{}")
    cli("get", path)
    assert os.listdir(path.parent) == [path.name]


CODEC = """
from storewriter.codecs import FunctionCodec
lines = FunctionCodec(lambda state: "\\n".join(state).encode(), lambda data: data.decode().splitlines())
kind = FunctionCodec
"""


def test_another_format_is_read_by_its_codec(cli: Here, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path.parent / "formats.py").write_text(CODEC)
    monkeypatch.syspath_prepend(path.parent)
    path.write_text("one\ntwo")
    assert cli("get", "--codec", "formats:lines", "--compact", path) == (0, '["one","two"]\n', "")


@pytest.mark.parametrize(
    ("codec", "message"),
    [
        ("formats", "'formats' does not name a codec; write MODULE:NAME, for example myapp.state:codec."),
        ("no_such_module:x", "the codec 'no_such_module:x' cannot be imported: No module named 'no_such_module'."),
        ("json:codec", "the codec 'json:codec' cannot be imported: module 'json' has no attribute 'codec'."),
        ("json:dumps", "'json:dumps' is no codec: it is <function dumps at"),
    ],
)
def test_what_is_no_codec_is_wrong_usage(cli: Here, path: Path, codec: str, message: str) -> None:
    code, out, err = cli("get", "--codec", codec, path)
    assert (code, out) == (2, "")
    assert message in err
