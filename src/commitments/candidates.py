"""What an upsert is given: where the commitments belong, and what was inferred.

Both are checked when they are made, so that nothing reaches a store that the store would not read back.
"""

from __future__ import annotations

import math

import attrs

from commitments.record import KINDS, SENSITIVITIES, SOURCES, Kind, Number, Scope, Sensitivity, Source, is_blank

DEFAULT_WINDOW_MS = 12 * 60 * 60 * 1000
"""How long a commitment stays due by default."""


class CandidateRefused(ValueError):
    """A candidate cannot become a record. Nothing of its call was written."""


@attrs.frozen
class Item:
    """The exchange that was looked at: its scope, and where it can be found again.

    Raises CandidateRefused for a scope without an agent, a session or a channel.
    """

    scope: Scope
    """Where the commitments belong."""
    source_message_id: str | None = None
    """The message that was looked at; None: not known."""
    source_run_id: str | None = None
    """The agent's run that was looked at; None: not known."""

    def __attrs_post_init__(self) -> None:
        for name in ("agent_id", "session_key", "channel"):
            _check_text(f"scope.{name}", getattr(self.scope, name))


@attrs.frozen(kw_only=True)
class Candidate:
    """One inferred follow-up, its window resolved to milliseconds since the Unix epoch.

    A blank `reason` or `suggested_text` keeps the text of the record that the candidate is merged into; where
    there is none, the upsert is refused. Raises CandidateRefused for a value that a store could not read
    back, or that the file format does not know.
    """

    kind: Kind
    """`event_check_in`, `deadline_check`, `care_check_in` or `open_loop`."""
    sensitivity: Sensitivity = "routine"
    """`routine`, `personal` or `care`."""
    source: Source = "inferred_user_context"
    """`inferred_user_context` or `agent_promise`."""
    reason: str
    suggested_text: str
    dedupe_key: str
    """Stable within a session, for example `interview:2026-04-29`."""
    confidence: Number
    """0 to 1 in practice; not negative."""
    earliest_ms: Number
    """Not due before this."""
    latest_ms: Number
    """End of the window; not before `earliest_ms`."""
    timezone: str
    """IANA name."""

    def __attrs_post_init__(self) -> None:
        _check_choice("kind", self.kind, KINDS)
        _check_choice("sensitivity", self.sensitivity, SENSITIVITIES)
        _check_choice("source", self.source, SOURCES)
        _check_text("dedupe_key", self.dedupe_key)
        _check_text("timezone", self.timezone)
        _check_number("confidence", self.confidence)
        _check_number("earliest_ms", self.earliest_ms)
        _check_number("latest_ms", self.latest_ms)
        if self.latest_ms < self.earliest_ms:
            raise CandidateRefused(f"latest_ms ({self.latest_ms}) is before earliest_ms ({self.earliest_ms})")


def _check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise CandidateRefused(f"{name} must be one of {', '.join(known)}, not {value!r}")


def _check_text(name: str, value: str) -> None:
    if is_blank(value):
        raise CandidateRefused(f"{name} must not be blank")


def _check_number(name: str, value: Number) -> None:
    if isinstance(value, bool) or not value >= 0 or value == math.inf:  # `not >=` refuses NaN too
        raise CandidateRefused(f"{name} must be a finite number, not below 0, got {value!r}")
