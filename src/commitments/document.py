"""The store file as a value: its entries in file order, and what stands around them as it was written."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import attrs

from commitments.record import Commitment, Entry, InvalidEntry, Number, ScopeKey

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
    """Whether legacy text was left out when this was read, so that saving it would change the file."""
    _ids: _Places = attrs.field(factory=lambda: _Places(_id), init=False)
    _dedupe_keys: _Places = attrs.field(factory=lambda: _Places(_dedupe_key), init=False)
    _first_end: Number | None = attrs.field(default=None, init=False)

    def __eq__(self, other: object) -> bool:
        """Two documents are equal if they are the same file."""
        return isinstance(other, Document) and self.data() == other.data()

    def data(self) -> bytes:
        """Return the whole file."""
        return b"".join((self.head, *self.pieces, self.tail))

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
        return self._ids.of(id_, self.entries)

    def active_match(self, scope: ScopeKey, dedupe_key: str) -> int | None:
        """Return the place of the first active record of that scope with that dedupe key."""
        for place in self._dedupe_keys.of(dedupe_key, self.entries):
            record = self.record(place)
            if record.active and record.scope.key == scope:
                return place
        return None

    def append(self, record: Commitment) -> int:
        """Add a new record behind all others; returns its place."""
        if not self.entries:
            self.tail = _AFTER_LAST + self.tail.lstrip()
        self.pieces += _BEFORE_NEXT if self.entries else _BEFORE_FIRST, record.raw
        self.entries.append(record)
        if self._first_end is not None:
            self._first_end = min(self._first_end, _end_of(record))
        return len(self.entries) - 1

    def replace(self, place: int, record: Commitment) -> None:
        """Put a later state of a record in its place: same id, scope and dedupe key, no earlier end."""
        self.entries[place] = record
        self.pieces[2 * place + 1] = record.raw

    def expired(self, now_ms: int) -> list[int]:
        """Return the places of the active records that ended more than `EXPIRE_AFTER_MS` before `now_ms`."""
        # Mostly there is nothing to expire, and the earliest end shows that without a walk. It stays a lower
        # bound while records change only as `replace` promises.
        if self._first_end is not None and now_ms <= self._first_end:
            return []
        ends = {
            place: _end_of(entry)
            for place, entry in enumerate(self.entries)
            if isinstance(entry, Commitment) and entry.active
        }
        self._first_end = min(ends.values(), default=math.inf)
        return [place for place, end in ends.items() if end < now_ms]


def _end_of(record: Commitment) -> Number:
    return record.due_window.latest_ms + EXPIRE_AFTER_MS


def _id(entry: Entry) -> str | None:
    return entry.id


def _dedupe_key(entry: Entry) -> str | None:
    return None if isinstance(entry, InvalidEntry) else entry.dedupe_key


@attrs.define(eq=False)
class _Places:
    """Where the entries with a given value of a property are; an entry's value never changes."""

    _value: Callable[[Entry], str | None]
    _places: dict[str, list[int]] = attrs.Factory(dict[str, list[int]])
    _seen: int = 0

    def of(self, value: str, entries: list[Entry]) -> list[int]:
        for place in range(self._seen, len(entries)):
            found = self._value(entries[place])
            if found is not None:
                self._places.setdefault(found, []).append(place)
        self._seen = len(entries)
        return self._places.get(value, [])
