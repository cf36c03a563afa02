"""One namespace's keys: when each was first seen, and the file that says so.

Format     A flat JSON object, key -> milliseconds since the epoch, two spaces, final newline: that of OpenClaw's
           file-backed persistent-dedupe, which reads and writes the same files.
Promise    An entry that is not a time of a plain key is kept byte for byte (`1e999`, nested values, blank keys), and
           never matched, until its key is recorded for the first time. An unchanged document encodes to the bytes it
           was read from. Not UTF-8, not JSON, or not an object: refused, with the position where there is one.
How        Times in a dict; the first recording puts it in order of time, so that pruning costs what it removes. A file
           exactly as we write it is read by orjson; it is one if writing it again gives the same bytes (so no duplicate
           key can hide). Any other file is read by the standard library, and once more for the text of what is kept.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from typing import Any, Literal, cast

import attrs
import orjson

from persistent_dedupe.keys import BLANKS
from persistent_dedupe.options import Window
from storewriter.codecs import DecodeError, explained

__all__ = ["Anomaly", "Document", "DocumentCodec", "KeptEntry", "Pruned", "Sighting", "decode", "encode"]

Anomaly = tuple[Literal["invalid entry", "duplicate key", "time ahead"], str]
"""Something in a file that its writer cannot have meant, and the key where it is."""


@attrs.frozen
class KeptEntry:
    """An entry that is no record (key and time), as it was written."""

    key: str
    raw_key: str
    raw_value: str


@attrs.frozen
class Pruned:
    """What one recording did to the other keys."""

    expired: int = 0
    evicted: int = 0
    """Keys that were still recent and had to go because the file is limited."""


@attrs.frozen
class Sighting:
    """What looking for a key, and recording it if it is new, has found and done."""

    is_new: bool
    seen_at: float
    """First sighting, in milliseconds since the epoch."""
    anomalies: tuple[Anomaly, ...]
    pruned: Pruned = Pruned()


@attrs.define(eq=False)
class Document:
    """One decoded file. Used by one caller at a time."""

    times: dict[str, float] = attrs.field(factory=dict[str, float])
    """Key to time of the first sighting, in milliseconds since the epoch."""
    kept: tuple[KeptEntry, ...] = ()
    """Entries that are no records."""
    anomalies: tuple[Anomaly, ...] = ()
    """What was noticed while reading."""
    source: bytes | None = None
    """The bytes that hold exactly this document; None once it has changed."""
    _is_ordered: bool = False
    """Whether `times` is known to be in order of time."""

    def see(self, key: str, now: float, window: Window, limit: int, unanswered: Sighting | None = None) -> Sighting:
        """Record the key unless it is recent; one that an `unanswered` sighting has recorded as new is new still."""
        seen_at = self.times.get(key)
        if seen_at is None or not window.is_recent(seen_at, now):
            pruned = self.record(key, now, window, limit)
            return Sighting(True, now, self.anomalies, pruned)
        if unanswered is not None and unanswered.is_new and unanswered.seen_at == seen_at:
            return Sighting(True, seen_at, self.anomalies)
        return Sighting(False, window.believed(seen_at, now), self.noticed([key], now, window))

    def noticed(self, keys: Iterable[str], now: float, window: Window) -> tuple[Anomaly, ...]:
        """What was noticed while reading, and which of these keys have times too far ahead."""
        ahead = (key for key in keys if window.is_ahead(self.times[key], now))
        return (*self.anomalies, *_times_ahead(ahead))

    def record(self, key: str, now: float, window: Window, limit: int) -> Pruned:
        """Set the key's time to now; drop what has expired, then the oldest until `limit` is kept.

        Times too far ahead are set to now, and are among the anomalies from then on.
        """
        self.kept = tuple(entry for entry in self.kept if entry.key != key)
        self.times.pop(key, None)
        self._put_in_order()
        ahead = list(itertools.takewhile(lambda k: window.is_ahead(self.times[k], now), reversed(self.times)))
        if ahead:
            self.anomalies += _times_ahead(ahead)
            self.put(dict.fromkeys(ahead, now))
            self._put_in_order()
        expired = self._drop(itertools.takewhile(lambda k: not window.is_recent(self.times[k], now), self.times))
        evicted = self._drop(itertools.islice(self.times, max(0, len(self.times) - limit + 1)))
        self._is_ordered = next(reversed(self.times.values()), now) <= now
        self.times[key] = now
        self.source = None
        return Pruned(expired, evicted)

    def put(self, times: dict[str, float]) -> None:
        """Set the times of several keys, without pruning."""
        self.times.update(times)
        self.kept = tuple(entry for entry in self.kept if entry.key not in times)
        self.source, self._is_ordered = None, False

    def forget(self, key: str) -> bool:
        """Remove the key; whether it was there."""
        if self.times.pop(key, None) is None:
            return False
        self.source = None
        return True

    def _drop(self, keys: Iterator[str]) -> int:
        unwanted = list(keys)
        for key in unwanted:
            del self.times[key]
        return len(unwanted)

    def _put_in_order(self) -> None:
        if self._is_ordered:
            return
        times = list(self.times.values())
        if times != sorted(times):
            self.times = dict(sorted(self.times.items(), key=itemgetter(1)))
        self._is_ordered = True


def _times_ahead(keys: Iterable[str]) -> tuple[Anomaly, ...]:
    return tuple(("time ahead", key) for key in keys)


def encode(document: Document) -> bytes:
    """The document as bytes; those it was read from, if nothing has changed."""
    if document.source is None:
        document.source = _written(document)
    return document.source


def decode(data: bytes) -> Document:
    """The document in these bytes. Raises DecodeError if there is none."""
    times = _as_we_write_it(data)
    return _read_carefully(data) if times is None else Document(times, source=data)


@attrs.frozen
class DocumentCodec:
    """The `storewriter` codec of a namespace's file: `encode` and `decode`, and what spares comparing documents."""

    def encode(self, state: Document) -> bytes:
        """See `encode`."""
        return encode(state)

    def decode(self, data: bytes) -> Document:
        """See `decode`."""
        return decode(data)

    def decode_for_update(self, data: bytes) -> tuple[Document, Callable[[Document], bytes]]:
        """The document, and `encode`, which returns the bytes that were read if nothing has changed."""
        return decode(data), encode


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
    return times if _are_all_records(times, data) and _body(times) + b"\n" == data else None


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
    if type(value) is not int and type(value) is not float:
        return False
    return 0 < value < math.inf and key != "" and key[0] not in BLANKS and key[-1] not in BLANKS


def _read_carefully(data: bytes) -> Document:
    times: dict[str, float] = {}
    anomalies: list[Anomaly] = []
    known: set[str] = set()
    invalid = 0
    for key, value in _pairs(data):
        if key in known:
            anomalies.append(("duplicate key", key))
        known.add(key)
        if _is_record(key, value):
            times[key] = max(value, times.get(key, 0))
        else:
            anomalies.append(("invalid entry", key))
            invalid += 1
    kept = tuple(itertools.islice(_invalid_entries(data.decode()), invalid))
    return Document(times, kept, tuple(anomalies), source=data)


_SURELY_FINITE = 300
"""Digits up to which an integer is a finite number to the other readers of these files, whose numbers are doubles."""


def _integer(digits: str) -> float:
    return int(digits) if len(digits) <= _SURELY_FINITE or math.isfinite(float(digits)) else math.inf


def _refused(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


class _Pairs(list[tuple[str, Any]]):
    """The entries of an object, duplicates included."""


_WANTED = "expected a JSON object"
_decoder = json.JSONDecoder(object_pairs_hook=_Pairs, parse_int=_integer, parse_constant=_refused)


def _pairs(data: bytes) -> list[tuple[str, Any]]:
    """The entries of the object, in order; `null` has none. Raises DecodeError."""
    try:
        text = data.decode()
        found: Any = _decoder.decode(text)
    except UnicodeDecodeError as error:
        fault = DecodeError(f"not UTF-8 ({error.reason})", position=error.start)
    except json.JSONDecodeError as error:
        wanted = error.msg if error.doc[: error.pos].strip() else _WANTED
        met = repr(error.doc[error.pos]) if error.pos < len(error.doc) else "the end of the file"
        fault = DecodeError(f"{wanted}, found {met}", position=error.pos)
    except ValueError as error:
        fault = DecodeError(str(error))
    except RecursionError:
        fault = DecodeError("nested too deeply")
    else:
        if found is None:
            return []
        if isinstance(found, _Pairs):
            return found
        fault = DecodeError(f"{_WANTED}, found {text.lstrip()[:1]!r}", position=0)
    raise explained(data, fault) from None


_BLANK = re.compile(r"[ \t\n\r]*")


def _invalid_entries(text: str) -> Iterator[KeptEntry]:
    """The text of the entries that are no records, of an object. We write them first, so in our files they are near."""
    at = _skip(text, text.index("{") + 1)
    while True:
        key, key_end = _decoder.raw_decode(text, at)
        start = _skip(text, _skip(text, key_end) + 1)  # the colon
        value, end = _decoder.raw_decode(text, start)
        if not _is_record(key, value):
            yield KeptEntry(key, text[at:key_end], text[start:end])
        at = _skip(text, _skip(text, end) + 1)  # the comma


def _skip(text: str, at: int) -> int:
    """The next character from `at` on that is no white space."""
    match = _BLANK.match(text, at)
    return match.end() if match else at
