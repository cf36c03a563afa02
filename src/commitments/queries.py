"""The operations that only look at a document, one to which `changes.expire` has been applied."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import attrs

from commitments.config import CommitmentsConfig
from commitments.document import EXPIRE_AFTER_MS, Document
from commitments.problems import Problem, problems_of
from commitments.record import Commitment, Scope

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


def pending_for_scope(document: Document, scope: Scope, limit: int, now_ms: int) -> tuple[Commitment, ...]:
    """Return the first `limit` active records of exactly that scope that no snooze hides, by due time.

    Raises ValueError for a negative limit.
    """
    _check_limit(limit)
    found = (
        record
        for record in document.commitments()
        if record.active and _snooze_is_over(record, now_ms) and record.scope.key == scope.key
    )
    return tuple(_in_order(found)[:limit])


def due_for_session(
    document: Document,
    config: CommitmentsConfig,
    agent_id: str,
    session_key: str,
    limit: int | None,
    now_ms: int,
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
    document: Document, config: CommitmentsConfig, agent_id: str, limit: int | None, now_ms: int
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
