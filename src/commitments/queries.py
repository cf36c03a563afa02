"""The operations that only look at a document, one to which `changes.expire` has been applied, and their results."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import cast

import attrs

from commitments.document import EXPIRE_AFTER_MS, Document
from commitments.record import KINDS, SENSITIVITIES, SOURCES, STATUSES, Commitment, Entry, InvalidEntry, Scope, is_blank

DEFAULT_MAX_PER_DAY = 3


@attrs.frozen
class CommitmentsConfig:
    """The gateway's settings for commitments."""

    enabled: bool = False
    """Whether due commitments are delivered; off by default."""
    max_per_day: int = attrs.field(default=DEFAULT_MAX_PER_DAY, validator=attrs.validators.ge(1))
    """How many may be sent per agent and session in any 24 hours; at least 1."""

    @classmethod
    def from_mapping(cls, config: Mapping[str, object]) -> CommitmentsConfig:
        """Return the settings in `config`, a configuration: `{"commitments": {"enabled": true, "maxPerDay": 3}}`.

        Only the value `true` enables. `maxPerDay` is rounded down, to at least 1; any value that is not a
        finite number above 0 means the default. Nothing is refused, as in the gateway, whose configuration it is.
        """
        section = config.get("commitments")
        if not isinstance(section, Mapping):
            return cls()
        settings = cast("Mapping[str, object]", section)
        return cls(settings.get("enabled") is True, _max_per_day(settings.get("maxPerDay")))


def _max_per_day(value: object) -> int:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
        return DEFAULT_MAX_PER_DAY
    return max(1, math.floor(value))


@attrs.frozen
class Problem:
    """A fault of a stored entry."""

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
    yield from _anomalies(entry)


def _anomalies(record: Commitment) -> Iterator[tuple[str, str]]:
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


DEFAULT_PENDING_LIMIT = 20

MAX_PER_HEARTBEAT = 3
"""How many due commitments one heartbeat may bring up in one session."""

ROLLING_DAY_MS = 24 * 60 * 60 * 1000


@attrs.frozen
class Listing:
    """What a look at the store found."""

    commitments: tuple[Commitment, ...]
    """The records that were asked for."""
    problems: tuple[Problem, ...]
    """The problems of all entries of the store, in this listing or not."""


def everything(document: Document) -> Listing:
    """Every record, in file order."""
    return Listing(tuple(document.commitments()), tuple(problems_of(document)))


def listing(document: Document, status: str | None, agent_id: str | None) -> Listing:
    """Return the records with that status and that agent (None: any), by due time."""
    found = (
        record
        for record in document.commitments()
        if (status is None or record.status == status) and (agent_id is None or record.agent_id == agent_id)
    )
    return Listing(tuple(_in_order(found)), tuple(problems_of(document)))


def pending_for_scope(document: Document, now_ms: int, scope: Scope, limit: int) -> tuple[Commitment, ...]:
    """Return the first `limit` active records of exactly that scope that no snooze hides, by due time.

    Raises ValueError for a negative limit.
    """
    _check_limit(limit)
    key = scope.key
    found = (
        record
        for record in document.commitments()
        if record.active and _snooze_is_over(record, now_ms) and record.scope.key == key
    )
    return tuple(_in_order(found)[:limit])


def due_for_session(
    document: Document,
    now_ms: int,
    config: CommitmentsConfig,
    agent_id: str,
    session_key: str,
    limit: int | None,
) -> tuple[Commitment, ...]:
    """Return the records of that session that a heartbeat may bring up now, by due time, within all limits.

    Raises ValueError for a negative limit.
    """
    _check_limit(limit)
    session = [
        record for record in document.commitments() if record.agent_id == agent_id and record.session_key == session_key
    ]
    remaining = config.max_per_day - sum(_sent_within_a_day(record, now_ms) for record in session)
    allowed = min(remaining, MAX_PER_HEARTBEAT, MAX_PER_HEARTBEAT if limit is None else limit)
    return tuple(_in_order(record for record in session if _is_due(record, now_ms))[: max(allowed, 0)])


def due_session_keys(
    document: Document, now_ms: int, config: CommitmentsConfig, agent_id: str, limit: int | None
) -> tuple[str, ...]:
    """Return the sessions of that agent in which something is due and may still be sent today, sorted.

    The limit (None or 0: none) picks by file order, before sorting. Keys are sorted by their UTF-16 units, as
    the other programs that read this file sort them. Raises ValueError for a negative limit.
    """
    _check_limit(limit)
    records = [record for record in document.commitments() if record.agent_id == agent_id]
    sent = Counter(record.session_key for record in records if _sent_within_a_day(record, now_ms))
    due = dict.fromkeys(
        record.session_key
        for record in records
        if _is_due(record, now_ms) and sent[record.session_key] < config.max_per_day
    )
    return tuple(sorted(list(due)[: limit or None], key=lambda key: key.encode("utf-16-be", "surrogatepass")))


def _check_limit(limit: int | None) -> None:
    if limit is not None and limit < 0:
        raise ValueError(f"a limit cannot be negative, got {limit}")


def _in_order(records: Iterable[Commitment]) -> list[Commitment]:
    return sorted(records, key=lambda record: (record.due_window.earliest_ms, record.created_at_ms))


def _is_due(record: Commitment, now_ms: int) -> bool:
    window = record.due_window
    in_time = window.earliest_ms <= now_ms <= window.latest_ms + EXPIRE_AFTER_MS
    return record.active and in_time and _snooze_is_over(record, now_ms)


def _snooze_is_over(record: Commitment, now_ms: int) -> bool:
    return record.status != "snoozed" or (record.snoozed_until_ms or 0) <= now_ms


def _sent_within_a_day(record: Commitment, now_ms: int) -> bool:
    return record.status == "sent" and (record.sent_at_ms or 0) >= now_ms - ROLLING_DAY_MS
