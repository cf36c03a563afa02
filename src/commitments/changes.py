"""The operations that change a document, and their results. Each has no effect but on the document it is given.

They run inside an update of the store, perhaps again on fresh state, so what must not differ between two runs
(the time, new ids) is an argument.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, TypeAlias, get_args

import attrs

from commitments.candidates import Candidate, CandidateRefused, Item
from commitments.document import Document
from commitments.record import ACTIVE, Commitment, DueWindow, InvalidEntry, changed, is_blank, new_record, trim

Verdict: TypeAlias = Literal["changed", "unknown", "terminal", "invalid", "duplicate"]


@attrs.frozen
class Outcome:
    """What became of one id."""

    id: str
    """The id that was asked for."""
    verdict: Verdict
    """`changed`, or why not: `unknown` (no such record), `terminal` (already sent, dismissed or expired),
    `invalid` (the entry with that id is unusable), `duplicate` (several entries have that id)."""
    status: str | None = None
    """The record's status before the call, where there is one record."""
    detail: str | None = None
    """What an `invalid` or `duplicate` verdict rests on."""
    record: Commitment | None = attrs.field(default=None, repr=False)
    """The record as it is stored after the call, where there is one record."""

    @property
    def reason(self) -> str:
        """Why it was not changed, in a few words (`unknown`, `already dismissed`, ...); empty if it was."""
        if self.verdict == "changed":
            return ""
        return f"already {self.status}" if self.verdict == "terminal" else self.detail or self.verdict


@attrs.frozen
class Marked:
    """What became of the ids of one call, in first-seen order without repeats."""

    outcomes: tuple[Outcome, ...] = ()
    """One for each id."""

    @property
    def changed(self) -> tuple[str, ...]:
        """The ids whose record was changed."""
        return tuple(outcome.id for outcome in self.outcomes if outcome.verdict == "changed")

    @property
    def unchanged(self) -> tuple[Outcome, ...]:
        """What was not changed, and why."""
        return tuple(outcome for outcome in self.outcomes if outcome.verdict != "changed")

    @property
    def unknown(self) -> tuple[str, ...]:
        """The ids that no entry has."""
        return tuple(outcome.id for outcome in self.outcomes if outcome.verdict == "unknown")

    @property
    def terminal(self) -> dict[str, str]:
        """The status of each id whose record was already sent, dismissed or expired before the call.

        An attempt is counted on such a record all the same; no other operation changes it.
        """
        return {each.id: each.status for each in self.outcomes if each.status and each.status not in ACTIVE}


@attrs.frozen
class Upserted:
    """The records that one upsert created, and those it merged candidates into, as they are stored after it.

    A record that was created and merged into by the same call is among the created ones only.
    """

    created: tuple[Commitment, ...] = ()
    """Records that the call created."""
    merged: tuple[Commitment, ...] = ()
    """Records that were there before, with what the call changed."""


_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_RANDOM_BYTES = 5


def new_id(now_ms: int, entropy: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """Return a fresh record id for something created at `now_ms`, for example `cm_o8ivbnk0_0270da4daa`.

    `entropy` returns as many random bytes as it is asked for. Raises ValueError if the time is negative.
    """
    return f"cm_{_base36(now_ms)}_{entropy(_RANDOM_BYTES).hex()}"


def _base36(number: int) -> str:
    if number < 0:
        raise ValueError(f"a creation time cannot be negative, got {number} ms")
    digits = ""
    while True:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
        if number == 0:
            return digits


FinalStatus: TypeAlias = Literal["sent", "dismissed", "expired"]
FINAL_STATUSES: tuple[str, ...] = get_args(FinalStatus)

_Change: TypeAlias = Callable[[Commitment], Commitment | None]
"""Returns a later state of a record; None if it must stay as it is."""


def has_work(document: Document, now_ms: int) -> bool:
    """Say whether an expiry pass would change the file: something has expired, or legacy text has to go."""
    return document.stripped or bool(document.expired(now_ms))


def expire(document: Document, now_ms: int) -> None:
    """Mark each active record `expired` whose window ended more than 72 hours ago, snoozed or not.

    Legacy text that was left out when the document was read counts as a change to save.
    """
    if document.stripped:
        document.as_read = None
    for place in document.expired(now_ms):
        record = changed(document.record(place), status="expired", updated_at_ms=now_ms, expired_at_ms=now_ms)
        document.replace(place, record)


def upsert(
    document: Document, item: Item, candidates: Sequence[Candidate], ids: Sequence[str], now_ms: int
) -> Upserted:
    """Merge each candidate into the active record of its scope with its dedupe key, or append a record.

    There is an id for each candidate, used if it becomes a record. Raises CandidateRefused if one has to be
    created and has no text.
    """
    expire(document, now_ms)
    created: list[int] = []
    merged: list[int] = []
    for candidate, id_ in zip(candidates, ids, strict=True):
        place = document.active_match(item.scope.key, trim(candidate.dedupe_key))
        if place is None:
            created.append(document.append(_create(item, candidate, id_, now_ms)))
            continue
        document.replace(place, _merge(document.record(place), candidate, now_ms))
        if place not in created and place not in merged:
            merged.append(place)
    return Upserted(tuple(map(document.record, created)), tuple(map(document.record, merged)))


def _create(item: Item, candidate: Candidate, id_: str, now_ms: int) -> Commitment:
    for name, text in (("reason", candidate.reason), ("suggested_text", candidate.suggested_text)):
        if is_blank(text):
            raise CandidateRefused(f"{name} must not be blank: there is no record to keep the text of")
    return new_record(
        id=id_,
        **{name: value or None for name, value in attrs.asdict(item.scope).items()},
        kind=candidate.kind,
        sensitivity=candidate.sensitivity,
        source=candidate.source,
        status="pending",
        reason=trim(candidate.reason),
        suggested_text=trim(candidate.suggested_text),
        dedupe_key=trim(candidate.dedupe_key),
        confidence=candidate.confidence,
        due_window=DueWindow(candidate.earliest_ms, candidate.latest_ms, candidate.timezone),
        source_message_id=item.source_message_id,
        source_run_id=item.source_run_id,
        created_at_ms=now_ms,
        updated_at_ms=now_ms,
        attempts=0,
    )


def _merge(record: Commitment, candidate: Candidate, now_ms: int) -> Commitment:
    window = record.due_window
    earliest, latest = min(window.earliest_ms, candidate.earliest_ms), max(window.latest_ms, candidate.latest_ms)
    return changed(
        record,
        reason=trim(candidate.reason) or record.reason,
        suggested_text=trim(candidate.suggested_text) or record.suggested_text,
        confidence=max(record.confidence, candidate.confidence),
        due_window=DueWindow(earliest, latest, candidate.timezone),
        updated_at_ms=now_ms,
    )


def mark_attempted(document: Document, ids: Iterable[str], now_ms: int, every_copy: bool) -> Marked:
    """Count a delivery attempt on each record with one of `ids`, whatever its status."""

    def attempt(record: Commitment) -> Commitment:
        return changed(record, attempts=record.attempts + 1, last_attempt_at_ms=now_ms, updated_at_ms=now_ms)

    return _mark(document, ids, attempt, every_copy)


def mark_status(document: Document, ids: Iterable[str], now_ms: int, every_copy: bool, status: FinalStatus) -> Marked:
    """Give each active record with one of `ids` its final status. Raises ValueError for another status."""
    if status not in FINAL_STATUSES:
        raise ValueError(f"the status to set must be one of {', '.join(FINAL_STATUSES)}, not {status!r}")
    times = {"updated_at_ms": now_ms, f"{status}_at_ms": now_ms}
    return _mark_active(document, ids, every_copy, status=status, **times)


def snooze(document: Document, ids: Iterable[str], now_ms: int, every_copy: bool, until_ms: int) -> Marked:
    """Hide each active record with one of `ids` until `until_ms`."""
    return _mark_active(document, ids, every_copy, status="snoozed", updated_at_ms=now_ms, snoozed_until_ms=until_ms)


def _mark_active(document: Document, ids: Iterable[str], every_copy: bool, **attributes: object) -> Marked:
    return _mark(document, ids, lambda record: changed(record, **attributes) if record.active else None, every_copy)


def _mark(document: Document, ids: Iterable[str], change: _Change, every_copy: bool) -> Marked:
    return Marked(tuple(_mark_id(document, id_, change, every_copy) for id_ in dict.fromkeys(ids)))


def _mark_id(document: Document, id_: str, change: _Change, every_copy: bool) -> Outcome:
    places = document.places_of(id_)
    if not places:
        return Outcome(id_, "unknown")
    if len(places) > 1 and not every_copy:
        return Outcome(id_, "duplicate", detail=f"the id of several entries: {', '.join(map(str, places))}")
    outcomes = [_mark_entry(document, id_, place, change) for place in places]
    return next((outcome for outcome in outcomes if outcome.verdict == "changed"), outcomes[0])


def _mark_entry(document: Document, id_: str, place: int, change: _Change) -> Outcome:
    entry = document.entries[place]
    if isinstance(entry, InvalidEntry):
        return Outcome(id_, "invalid", detail=f"unusable, entry {place}: {entry}")
    later = change(entry)
    if later is None:
        return Outcome(id_, "terminal", entry.status, record=entry)
    document.replace(place, later)
    return Outcome(id_, "changed", entry.status, record=later)
