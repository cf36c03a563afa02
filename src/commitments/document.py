"""The store file as a value, its entries in file order and what stands around them as it was written; bytes and back.

Promise    `encode(decode(data)) == data`, byte for byte. Legacy text and a byte order mark go with the first change.
How        The text is cut at the borders of the entries; what is not changed is never written anew.
Does not   guess: what is no version 1 store is refused when it is read, so no later write can erase it.
Fails by   DecodeError, with the reason and, where there is one, the place; for a file that may be intact but is of
           another version, its kind UnknownVersion.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Final

import attrs

from commitments.json_text import MalformedJson, scan_array, scan_object, skip_space, value_at
from commitments.record import (
    Commitment,
    Entry,
    InvalidEntry,
    ScopeKey,
    has_legacy_text,
    json_type,
    parse_entry,
    without_legacy_text,
)
from storewriter.codecs import DecodeError, UnknownVersion, explained

EXPIRE_AFTER_MS = 72 * 60 * 60 * 1000
"""How long after the end of its window a commitment stays alive."""

_EMPTY_HEAD, _EMPTY_TAIL = b'{\n  "version": 1,\n  "commitments": [', b"]\n}\n"
_BEFORE_FIRST, _BEFORE_NEXT, _AFTER_LAST = b"\n    ", b",\n    ", b"\n  "


@attrs.define(eq=False)
class Document:
    """A decoded store; without arguments, an empty one.

    Entries keep their places: an operation puts a later state of an entry in its place, or appends.
    """

    head: bytes = _EMPTY_HEAD
    """The file up to and including the bracket that opens the array of entries."""
    entries: list[Entry] = attrs.Factory(list[Entry])
    """The entries, in file order."""
    pieces: list[bytes] = attrs.Factory(list[bytes])
    """For each entry what stands in front of it, and its JSON: ready to be joined, since every save needs them all."""
    tail: bytes = _EMPTY_TAIL
    """What stands behind the last entry."""
    stripped: bool = False
    """Whether legacy text was left out when this was read: the next expiry pass has to remove it from the file."""
    as_read: bytes | None = None
    """The file as it was read; None once there is a change to save."""
    _ids: defaultdict[str, list[int]] = attrs.field(factory=lambda: defaultdict(list), init=False)
    _dedupe_keys: defaultdict[str, list[int]] = attrs.field(factory=lambda: defaultdict(list), init=False)
    _indexed: int = attrs.field(default=0, init=False)

    def __eq__(self, other: object) -> bool:
        """Two documents are equal if they are the same file."""
        return isinstance(other, Document) and self.data() == other.data()

    def data(self) -> bytes:
        """Return the whole file."""
        return b"".join((self.head, *self.pieces, self.tail)) if self.as_read is None else self.as_read

    def commitments(self) -> Iterator[Commitment]:
        """Return the usable records, in file order."""
        return (entry for entry in self.entries if isinstance(entry, Commitment))

    def record(self, place: int) -> Commitment:
        """Return the record in that place. Raises LookupError if the entry there is unusable."""
        entry = self.entries[place]
        if isinstance(entry, InvalidEntry):
            raise LookupError(f"entry {place} is no record: {entry}")  # noqa: TRY004  # the place is at fault
        return entry

    def places_of(self, id_: str) -> list[int]:
        """Return the places of all entries with this id: at most one, in a sound store."""
        self._index()
        return self._ids.get(id_, [])

    def active_match(self, scope: ScopeKey, dedupe_key: str) -> int | None:
        """Return the place of the first active record of that scope with that dedupe key."""
        self._index()
        for place in self._dedupe_keys.get(dedupe_key, ()):
            record = self.record(place)
            if record.active and record.scope.key == scope:
                return place
        return None

    def _index(self) -> None:
        """Note the places of the entries that were added since; an entry's id and dedupe key never change."""
        for place in range(self._indexed, len(self.entries)):
            entry = self.entries[place]
            if entry.id is not None:
                self._ids[entry.id].append(place)
            if isinstance(entry, Commitment):
                self._dedupe_keys[entry.dedupe_key].append(place)
        self._indexed = len(self.entries)

    def append(self, record: Commitment) -> int:
        """Add a new record behind all others; returns its place."""
        if not self.entries:
            self.tail = _AFTER_LAST + self.tail.lstrip()
        self.pieces += _BEFORE_NEXT if self.entries else _BEFORE_FIRST, record.raw
        self.entries.append(record)
        self.as_read = None
        return len(self.entries) - 1

    def replace(self, place: int, record: Commitment) -> None:
        """Put a later state of a record in its place: same id, scope and dedupe key."""
        self.entries[place] = record
        self.pieces[2 * place + 1] = record.raw
        self.as_read = None

    def expired(self, now_ms: int) -> list[int]:
        """Return the places of the active records that ended more than `EXPIRE_AFTER_MS` before `now_ms`."""
        return [
            place
            for place, entry in enumerate(self.entries)
            if isinstance(entry, Commitment) and entry.active and entry.due_window.latest_ms + EXPIRE_AFTER_MS < now_ms
        ]


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
        """Return the document, and `encode`, which returns the same bytes if nothing has changed."""
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
            document = _Reader(text).document()
        except MalformedJson as error:
            reason = f"{_NOT_JSON}{error.reason}" if text.strip() else "the file is empty"
            raise explained(data, _fault(reason, error.position, text[: error.position]), prefix=_NOT_JSON) from None
        document.as_read = data
        return document


def _fault(reason: str, position: int, before: str) -> DecodeError:
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    return DecodeError(reason, position=position, line=line, column=column)


@attrs.define
class _Reader:
    """Walks one file's text once and notes what stands where."""

    _text: str
    _document: Document = attrs.Factory(Document)
    _fields: dict[str, object] = attrs.Factory(dict[str, object])
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
        self._document.tail = self._text[self._last_end :].encode()
        return self._document

    def _field(self, key: str, at: int) -> int:
        if key in ("version", "commitments") and key in self._fields:
            # Readers differ in which of the two they take, so neither may be overwritten.
            raise _no_store(f"it has two fields {key!r}")
        if key == "commitments" and self._text.startswith("[", at):
            self._fields[key] = self._document.entries
            self._last_end = at + 1
            self._document.head = self._text[: self._last_end].encode()
            return scan_array(self._text, at, self._entry)
        self._fields[key], end = value_at(self._text, at)
        return end

    def _entry(self, at: int) -> int:
        value, end = value_at(self._text, at)
        text = self._text[at:end]
        if has_legacy_text(value):
            text, self._document.stripped = without_legacy_text(text), True
        entry = parse_entry(value, text.encode())
        self._document.entries.append(entry)
        self._document.pieces += self._text[self._last_end : at].encode(), entry.raw
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
        if found is not self._document.entries:
            raise _no_store(f"'commitments' must be an array, is {json_type(found)}")


def _no_store(reason: str) -> DecodeError:
    # Whole JSON, but another program's: `recover()` leaves it where it is.
    return DecodeError(f"not a commitments store: {reason}", may_be_intact=True)
