"""The outcome for each id that was given to an operation, and for each candidate of an upsert."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

from commitments.record import ACTIVE, Commitment

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
    merged: tuple[Commitment, ...] = ()
