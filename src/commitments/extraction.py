"""From what a model inferred to candidates that a store accepts: what is dropped, and why, and when it is due.

Everything dropped is returned with its reason, to be counted and shown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import cast

import attrs

from commitments.candidates import DEFAULT_WINDOW_MS, Candidate, CandidateRefused, Item
from commitments.record import Kind, Number, Sensitivity, Source, is_blank

MINIMUM_CONFIDENCE = 0.72
MINIMUM_CONFIDENCE_OF_CARE = 0.86
"""For kind `care_check_in` and sensitivity `care`."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ABSOLUTE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)")


@attrs.frozen
class Exchange:
    """One exchange of a conversation that a model was shown."""

    item: Item
    """Where its commitments belong."""
    said_at_ms: int
    """When it took place. A follow-up is due after that."""
    timezone: str
    """IANA name, for candidates that give none."""


@attrs.frozen
class Dropped:
    """A candidate that was dropped: its place among those inferred, and the reason."""

    index: int
    reason: str


@attrs.frozen
class Extraction:
    """What came of one batch: the candidates for one upsert per exchange, and those that were dropped."""

    accepted: tuple[tuple[Item, tuple[Candidate, ...]], ...]
    dropped: tuple[Dropped, ...]


def inferred_in(text: str) -> list[object]:
    """Return the list `candidates` of the first JSON object in a model's answer that has one, or an empty list."""
    decoder = json.JSONDecoder()
    for match in re.finditer(r"\{", text):
        try:
            value, _ = decoder.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            continue
        found: object = value.get("candidates")
        if isinstance(found, list):
            return cast("list[object]", found)
    return []


def resolve(
    inferred: Iterable[object], exchanges: Mapping[str, Exchange], *, now_ms: int, heartbeat_ms: int
) -> Extraction:
    """Check what was inferred from a batch of exchanges (by item id); resolve its times for a write at `now_ms`.

    Nothing becomes due before the next heartbeat, `heartbeat_ms` from now: the same moment has just been talked about.
    """
    accepted: dict[str, list[Candidate]] = {}
    dropped: list[Dropped] = []
    for index, raw in enumerate(inferred):
        try:
            item_id, candidate = _resolved(raw, exchanges, now_ms + heartbeat_ms)
        except CandidateRefused as reason:
            dropped.append(Dropped(index, str(reason)))
        else:
            accepted.setdefault(item_id, []).append(candidate)
    return Extraction(
        tuple((exchanges[item_id].item, tuple(candidates)) for item_id, candidates in accepted.items()), tuple(dropped)
    )


def _resolved(raw: object, exchanges: Mapping[str, Exchange], not_before_ms: int) -> tuple[str, Candidate]:
    if not isinstance(raw, Mapping):
        raise CandidateRefused("it is no object")
    fields = cast("Mapping[str, object]", raw)
    if fields.get("action") == "skip":
        raise CandidateRefused("the model skipped it")
    item_id = _text(fields, "itemId")
    if item_id not in exchanges:
        raise CandidateRefused(f"itemId {item_id!r} is not of this batch")
    window = fields.get("dueWindow")
    if not isinstance(window, Mapping):
        raise CandidateRefused("dueWindow must be an object")
    candidate = _timed(fields, cast("Mapping[str, object]", window), exchanges[item_id], not_before_ms)
    careful = candidate.kind == "care_check_in" or candidate.sensitivity == "care"
    needed = MINIMUM_CONFIDENCE_OF_CARE if careful else MINIMUM_CONFIDENCE
    if candidate.confidence < needed:
        raise CandidateRefused(f"confidence {candidate.confidence} is below {needed}")
    return item_id, candidate


def _timed(
    fields: Mapping[str, object], window: Mapping[str, object], exchange: Exchange, not_before_ms: int
) -> Candidate:
    given = _absolute_ms(window.get("earliest"))
    if given is None:
        raise CandidateRefused(f"dueWindow.earliest is no absolute time: {window.get('earliest')!r}")
    if given <= exchange.said_at_ms:
        raise CandidateRefused("dueWindow.earliest is not after the exchange itself")
    earliest = max(given, not_before_ms)
    latest = _absolute_ms(window.get("latest"))
    timezone = window.get("timezone")
    return Candidate(
        kind=cast("Kind", _text(fields, "kind")),
        sensitivity=cast("Sensitivity", _text(fields, "sensitivity")),
        source=cast("Source", _text({"source": "inferred_user_context", **fields}, "source")),
        reason=_text(fields, "reason"),
        suggested_text=_text(fields, "suggestedText"),
        dedupe_key=_text(fields, "dedupeKey"),
        confidence=_number(fields, "confidence"),
        earliest_ms=earliest,
        latest_ms=earliest + DEFAULT_WINDOW_MS if latest is None or latest < earliest else latest,
        timezone=timezone if isinstance(timezone, str) and not is_blank(timezone) else exchange.timezone,
    )


def _text(fields: Mapping[str, object], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or is_blank(value):
        raise CandidateRefused(f"{name} must be a text that is not blank")
    return value


def _number(fields: Mapping[str, object], name: str) -> Number:
    value = fields.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise CandidateRefused(f"{name} must be a number")
    return value


def _absolute_ms(value: object) -> int | None:
    """Return the milliseconds of a timestamp with an offset, or None if it is none or no calendar has it."""
    if not isinstance(value, str) or not _ABSOLUTE.fullmatch(value):
        return None
    try:
        return milliseconds_of(datetime.fromisoformat(value))
    except ValueError:
        return None


def milliseconds_of(when: datetime) -> int:
    """Return a time that knows its offset in milliseconds since the Unix epoch."""
    return (when - _EPOCH) // timedelta(milliseconds=1)
