"""Bytes to `Document` and back.

Promise    `encode(decode(data)) == data`, byte for byte, unless legacy text or a byte order mark had to go.
How        The text is cut at the borders of the entries; what is not changed is never written anew.
Does not   guess: what is no version 1 store is refused when it is read, so no later write can erase it.
Fails by   DecodeError, with the reason and, where there is one, the place; for a file that may be intact but is of
           another version, its kind UnknownVersion.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from commitments.document import Document
from commitments.entry import has_legacy_text, json_type, parse_entry, without_legacy_text
from commitments.json_text import MalformedJson, scan_array, scan_object, skip_space, value_at
from commitments.record import Entry
from storewriter.codecs import DecodeError, UnknownVersion, explained

SUPPORTED_VERSION = 1

_BYTE_ORDER_MARK = "\ufeff"
_NOT_JSON = "not JSON: "
_ABSENT: Final = object()


@attrs.frozen
class DocumentCodec:
    """The codec of a commitments store, in the format of the programs that share the file."""

    def encode(self, state: Document) -> bytes:
        """Return the bytes of the file. Entries that were not changed keep theirs."""
        return state.data()

    def decode_for_update(self, data: bytes) -> tuple[Document, Callable[[Document], bytes]]:
        """The document, and `encode`, which knows what has not changed: all the rest has to go (legacy text)."""
        return self.decode(data), self.encode

    def decode(self, data: bytes) -> Document:
        """Return the document in a file's bytes.

        Raises DecodeError if they are not UTF-8 (its position is then the offset of the first bad byte), not
        JSON (of the first bad character), or not a version 1 store (without a position).
        """
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            reason = f"not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}"
            raise explained(data, _fault(reason, error.start, data[: error.start].decode("utf-8"))) from None
        text = text.removeprefix(_BYTE_ORDER_MARK)
        try:
            return _Reader(text).document()
        except MalformedJson as error:
            reason = f"{_NOT_JSON}{error.reason}" if text.strip() else "the file is empty"
            raise explained(data, _fault(reason, error.position, text[: error.position]), prefix=_NOT_JSON) from None


def _fault(reason: str, position: int, before: str) -> DecodeError:
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    return DecodeError(reason, position=position, line=line, column=column)


@attrs.define
class _Reader:
    """Walks one file's text once and notes what stands where."""

    _text: str
    _fields: dict[str, object] = attrs.Factory(dict[str, object])
    _entries: list[Entry] = attrs.Factory(list[Entry])
    _pieces: list[bytes] = attrs.Factory(list[bytes])
    _stripped: bool = False
    _first_at: int = 0
    _last_end: int = 0

    def document(self) -> Document:
        start = skip_space(self._text, 0)
        if not self._text.startswith("{", start):
            value, _ = value_at(self._text, start)
            raise _no_store(f"the top level must be an object, is {json_type(value)}")
        end = skip_space(self._text, scan_object(self._text, start, self._field))
        if end != len(self._text):
            raise MalformedJson("something follows the end of the document", end)
        self._check_version()
        self._check_commitments()
        head, tail = self._text[: self._first_at].encode(), self._text[self._last_end :].encode()
        return Document(head, self._entries, self._pieces, tail, self._stripped)

    def _field(self, key: str, key_at: int, at: int) -> int:
        if key in ("version", "commitments") and key in self._fields:
            # Readers differ in which of the two they take, so neither may be overwritten.
            raise _no_store(f"it has two fields {key!r}")
        if key == "commitments" and self._text.startswith("[", at):
            self._fields[key] = self._entries
            self._first_at = self._last_end = at + 1
            return scan_array(self._text, at, self._entry)
        self._fields[key], end = value_at(self._text, at)
        return end

    def _entry(self, at: int) -> int:
        value, end = value_at(self._text, at)
        text = self._text[at:end]
        if has_legacy_text(value):
            text, self._stripped = without_legacy_text(text), True
        entry = parse_entry(value, text.encode())
        self._entries.append(entry)
        self._pieces += self._text[self._last_end : at].encode(), entry.raw
        self._last_end = end
        return end

    def _check_version(self) -> None:
        found = self._fields.get("version", _ABSENT)
        if found is _ABSENT:
            raise UnknownVersion(f"not a commitments store: 'version' is missing (supported: {SUPPORTED_VERSION})")
        if isinstance(found, bool) or found != SUPPORTED_VERSION:
            shown = repr(found) if isinstance(found, int | float | str) else json_type(found)
            raise UnknownVersion(
                f"unsupported format version: found {shown}, supported {SUPPORTED_VERSION}. "
                f"Another program, perhaps a newer one, owns this file"
            )

    def _check_commitments(self) -> None:
        found = self._fields.get("commitments", _ABSENT)
        if found is _ABSENT:
            raise _no_store("'commitments' is missing")
        if found is not self._entries:
            raise _no_store(f"'commitments' must be an array, is {json_type(found)}")


def _no_store(reason: str) -> DecodeError:
    # Whole JSON, but another program's: `recover()` leaves it where it is.
    return DecodeError(f"not a commitments store: {reason}", may_be_intact=True)
