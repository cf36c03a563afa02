"""`codecs.explained`: a codec with a JSON reader of its own names what people meet, as `JsonCodec` does."""

from __future__ import annotations

import json

import pytest

from storewriter.codecs import DecodeError, explained


def found_by_json(data: bytes) -> DecodeError:
    """The fault as a plain reader finds it."""
    try:
        json.loads(data)
    except UnicodeDecodeError as error:
        return DecodeError(f"not UTF-8: {error.reason}", position=error.start)
    except json.JSONDecodeError as error:
        return DecodeError(error.msg, position=error.pos, line=error.lineno, column=error.colno)
    raise AssertionError("it is JSON")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b'{"a": 1} // note', "a comment"),
        (b"\0" * 16, "NUL"),
        (b'{"a": [1, 2,]}', "a comma before"),
        (b"{'a': 1}", "written by `str()`"),
    ],
)
def test_a_fault_is_named_as_json_codec_names_it(data: bytes, name: str) -> None:
    error = explained(data, found_by_json(data), prefix="not JSON: ")
    assert error.reason.startswith("not JSON: ")
    assert name in error.reason


def test_where_json_codec_knows_no_name_reason_and_place_stay() -> None:
    fault = DecodeError("expected a colon, found '1'", position=5, line=1, column=6)
    error = explained(b'{"a" 1}', fault)
    assert (error.reason, error.position, error.line, error.column) == (fault.reason, 5, 1, 6)
    assert not error.may_be_intact


def test_what_json_codec_refuses_before_the_fault_is_not_the_fault() -> None:
    """A key given twice stands first; the codec that asks has accepted it, and found another thing."""
    fault = DecodeError("a later fault", position=24)
    assert explained(b'{"a": 1, "a": 2, "b": [3]}', fault) is fault


def test_a_document_that_json_codec_reads_may_be_intact() -> None:
    error = explained(b"[1]", DecodeError("expected a JSON object, found '['", position=0))
    assert error.may_be_intact
    assert error.position == 0
