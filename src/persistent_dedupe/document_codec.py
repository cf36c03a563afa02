"""A namespace's file as bytes: a flat JSON object, key -> milliseconds since the epoch, two spaces, final newline.

Promise    Entries that are no records are kept byte for byte (`1e999`, nested values, blank keys); an unchanged
           document encodes to the bytes it was read from. Not UTF-8, not JSON, or not an object: refused, with the
           position.
How        A file exactly as we write it is read by orjson; it is one if writing it again gives the same bytes (so no
           duplicate key can hide). Any other file is walked entry by entry, keeping the text of each.
Source     The format of OpenClaw's file-backed persistent-dedupe, which reads and writes the same files.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any, cast

import attrs
import orjson

from persistent_dedupe.document import Anomaly, Document, KeptEntry
from persistent_dedupe.keys import BLANKS
from storewriter.codecs import DecodeError, explained

__all__ = ["DocumentCodec", "decode", "encode"]


@attrs.frozen
class DocumentCodec:
    """`storewriter` codec of a namespace's file."""

    def encode(self, state: Document) -> bytes:
        """The document as bytes."""
        return encode(state)

    def decode_for_update(self, data: bytes) -> tuple[Document, Callable[[Document], bytes]]:
        """The document, and `encode`, which returns the bytes that were read if nothing has changed."""
        return self.decode(data), self.encode

    def decode(self, data: bytes) -> Document:
        """The document in these bytes. Raises DecodeError if there is none."""
        return decode(data)


def encode(document: Document) -> bytes:
    """The document as bytes; those it was read from, if nothing has changed."""
    if document.source is None:
        document.source = _written(document)
    return document.source


def decode(data: bytes) -> Document:
    """The document in these bytes. Raises DecodeError if there is none."""
    times = _as_we_write_it(data)
    if times is not None:
        return Document(times, source=data)
    try:
        return _walked(data)
    except DecodeError as error:
        raise explained(data, error) from None


def _written(document: Document) -> bytes:
    body = _body(document.times)
    if not document.kept:
        return body + b"\n"
    # First, so that a reader that lets the last of two equal keys win finds the time.
    kept = ",\n".join(f"  {entry.raw_key}: {entry.raw_value}" for entry in document.kept).encode()
    if not document.times:
        return b"{\n" + kept + b"\n}\n"
    return b"{\n" + kept + b",\n" + body.removeprefix(b"{\n") + b"\n"


_SURROGATE = re.compile("[\ud800-\udfff]")


def _body(times: dict[str, float]) -> bytes:
    try:
        return orjson.dumps(times, option=orjson.OPT_INDENT_2)
    except TypeError:
        # Half a surrogate pair in a key (an undecodable byte of a command line), or an integer beyond 64 bits.
        text = json.dumps(times, indent=2, ensure_ascii=False)
        return _SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", text).encode()


def _as_we_write_it(data: bytes) -> dict[str, float] | None:
    try:
        parsed: Any = orjson.loads(data)
    except ValueError:
        return None
    if not isinstance(parsed, dict):
        return None
    times = cast("dict[str, float]", parsed)
    if not _are_all_records(times, data):
        return None
    return times if _body(times) + b"\n" == data else None


_NUMBERS = {int, float}
_BOM = "\ufeff".encode()


def _are_all_records(times: dict[str, float], data: bytes) -> bool:
    """Whether `_is_record` says so of every entry, or a quick No: this is asked of every file at every read.

    `str.strip` removes more than `keys.trimmed` does, except for the byte order mark.
    """
    if not _NUMBERS.issuperset(map(type, times.values())) or _BOM in data:
        return False
    return min(times.values(), default=1) > 0 and "" not in times and list(map(str.strip, times)) == list(times)


def _is_record(key: str, value: object) -> bool:
    """Whether the entry is a time of a plain key."""
    if type(value) is int:
        if value <= 0:
            return False
    elif type(value) is not float or not 0 < value < math.inf:
        return False
    return key != "" and key[0] not in BLANKS and key[-1] not in BLANKS


def _walked(data: bytes) -> Document:
    text = _text(data)
    times: dict[str, float] = {}
    anomalies: list[Anomaly] = []
    known: set[str] = set()
    invalid = 0
    for key, value in _pairs(text):
        if key in known:
            anomalies.append(("duplicate key", key))
        known.add(key)
        if _is_record(key, value):
            times[key] = max(value, times.get(key, 0))
        else:
            anomalies.append(("invalid entry", key))
            invalid += 1
    return Document(times, _as_written(text, invalid), tuple(anomalies), source=data)


def _pairs(text: str) -> list[tuple[str, Any]]:
    """All entries in order, without their text. Raises DecodeError."""
    try:
        pairs: Any = _decoder.decode(text)
    except (ValueError, RecursionError):
        pairs = None
    if isinstance(pairs, _Pairs):
        return pairs
    # The careful walk knows what is wrong and where; the only document besides an object is `null`.
    return [(entry.key, value) for entry, value in _entries(text)]


def _as_written(text: str, invalid: int) -> tuple[KeptEntry, ...]:
    """The text of the invalid entries. We write them first, so that this walk is a short one in our own files."""
    entries = (entry for entry, value in _entries(text) if not _is_record(entry.key, value))
    return tuple(itertools.islice(entries, invalid))


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        msg = f"not UTF-8 ({error.reason})"
        raise DecodeError(msg, position=error.start) from None


_SURELY_FINITE = 300
"""Digits up to which an integer is a finite number to the other readers of these files, whose numbers are doubles."""


def _integer(digits: str) -> float:
    if len(digits) <= _SURELY_FINITE or math.isfinite(float(digits)):
        return int(digits)
    return math.inf


def _refused(constant: str) -> float:
    msg = f"{constant} is not JSON"
    raise ValueError(msg)


class _Pairs(list[tuple[str, Any]]):
    """The entries of an object, duplicates included."""


_decoder = json.JSONDecoder(object_pairs_hook=_Pairs, parse_int=_integer, parse_constant=_refused)
_BLANK = re.compile(r"[ \t\n\r]*")


def _entries(text: str) -> Iterator[tuple[KeptEntry, Any]]:
    """The entries of the object that the text holds, each as it is written, with its value; `null` has none."""
    at = _skip(text, 0)
    if text[at : at + 4] == "null":
        _nothing_after(text, at + 4)
        return
    at = _skip(text, _past(text, at, "{", "a JSON object"))
    if text[at : at + 1] == "}":
        _nothing_after(text, at + 1)
        return
    while True:
        start, at, key = _value(text, at, text[at : at + 1] == '"', "a key in double quotes")
        raw_key = text[start:at]
        at = _skip(text, _past(text, _skip(text, at), ":", "a colon"))
        start, at, value = _value(text, at, True, "a value")
        yield KeptEntry(key, raw_key, text[start:at]), value
        at = _skip(text, at)
        if text[at : at + 1] == "}":
            _nothing_after(text, at + 1)
            return
        at = _skip(text, _past(text, at, ",", "a comma or a closing brace"))


def _value(text: str, at: int, possible: bool, expected: str) -> tuple[int, int, Any]:
    try:
        if not possible:
            raise ValueError
        value, end = _decoder.raw_decode(text, at)
    except RecursionError:
        msg = "nested too deeply"
        raise DecodeError(msg, position=at) from None
    except ValueError as error:
        raise _unexpected(text, getattr(error, "pos", at), expected) from None
    return at, end, value


def _past(text: str, at: int, char: str, expected: str) -> int:
    if text[at : at + 1] != char:
        raise _unexpected(text, at, expected)
    return at + 1


def _nothing_after(text: str, at: int) -> None:
    at = _skip(text, at)
    if at != len(text):
        raise _unexpected(text, at, "the end of the file")


def _skip(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    return match.end() if match else at


def _unexpected(text: str, at: int, expected: str) -> DecodeError:
    found = repr(text[at]) if at < len(text) else "the end of the file"
    return DecodeError(f"expected {expected}, found {found}", position=at)
