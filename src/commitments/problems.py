"""Problems of stored entries: what is wrong, and whether the entry is used in spite of it."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from commitments.document import Document
from commitments.record import KINDS, SENSITIVITIES, SOURCES, STATUSES, Commitment, Entry, InvalidEntry
from commitments.trimming import is_blank


@attrs.frozen
class Problem:
    """Something about a stored entry that a person should know."""

    index: int
    """The entry's place in the file's `commitments` array, from 0."""
    id: str | None
    """The entry's id, if it has one."""
    field: str | None
    """The field at fault, in the file's spelling; None if the entry is no object."""
    reason: str
    """What is wrong."""
    left_out: bool
    """Whether the entry takes part in nothing (or is used in spite of the problem)."""

    def __str__(self) -> str:
        """One line of text."""
        who = "" if self.id is None else f" ({self.id})"
        what = self.reason if self.field is None else f"{self.field} {self.reason}"
        return f"entry {self.index}{who}: {what}" + ("; left out" if self.left_out else "")


def problems_of(document: Document) -> Iterator[Problem]:
    """Return the problems of all entries, in file order."""
    for index, entry in enumerate(document.entries):
        left_out = isinstance(entry, InvalidEntry)
        for field, reason in _faults(entry):
            yield Problem(index, entry.id, field, reason, left_out)
        if entry.id is not None and len(places := document.places_of(entry.id)) > 1:
            others = ", ".join(str(place) for place in places if place != index)
            yield Problem(index, entry.id, "id", f"is also the id of entry {others}", left_out)


def _faults(entry: Entry) -> Iterator[tuple[str | None, str]]:
    if isinstance(entry, InvalidEntry):
        yield entry.field, entry.reason
        return
    for field, value, known in (
        ("kind", entry.kind, KINDS),
        ("sensitivity", entry.sensitivity, SENSITIVITIES),
        ("source", entry.source, SOURCES),
        ("status", entry.status, STATUSES),
    ):
        if value not in known:
            yield field, f"has the unsupported value {value!r} (supported: {', '.join(known)})"
    yield from _oddities(entry)


def _oddities(record: Commitment) -> Iterator[tuple[str, str]]:
    window = record.due_window
    if window.latest_ms < window.earliest_ms:
        yield "dueWindow.latestMs", "is before earliestMs"
    if is_blank(window.timezone):
        yield "dueWindow.timezone", "is blank"
    if record.attempts != int(record.attempts):
        yield "attempts", f"should be a whole number, is {record.attempts}"
    for field, value in (
        ("attempts", record.attempts),
        ("confidence", record.confidence),
        ("dueWindow.earliestMs", window.earliest_ms),
        ("createdAtMs", record.created_at_ms),
        ("updatedAtMs", record.updated_at_ms),
    ):
        if value < 0:
            yield field, f"should not be negative, is {value}"
