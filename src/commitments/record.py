"""What an entry of the store is: a `Commitment`, or an `InvalidEntry`.

Both keep the JSON they were read from (`raw`), so what is not known, or cannot be used, is written back as it
was. Times are milliseconds since the Unix epoch, as in the file.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import attrs

from commitments.trimming import trim

Kind: TypeAlias = Literal["event_check_in", "deadline_check", "care_check_in", "open_loop"]
Sensitivity: TypeAlias = Literal["routine", "personal", "care"]
Source: TypeAlias = Literal["inferred_user_context", "agent_promise"]
Status: TypeAlias = Literal["pending", "sent", "dismissed", "snoozed", "expired"]

KINDS: tuple[str, ...] = get_args(Kind)
SENSITIVITIES: tuple[str, ...] = get_args(Sensitivity)
SOURCES: tuple[str, ...] = get_args(Source)
STATUSES: tuple[str, ...] = get_args(Status)

ACTIVE = frozenset({"pending", "snoozed"})
"""The statuses of a record that an operation may still change; all others are terminal."""

Number: TypeAlias = int | float
ScopeKey: TypeAlias = tuple[str, str, str, str, str, str, str]


@attrs.frozen
class Scope:
    """Where a commitment belongs: the agent, its conversation, and the route that a message takes there.

    Two scopes are the same if their seven fields are equal after trimming; an absent field equals an empty
    one.
    """

    agent_id: str
    session_key: str
    channel: str
    account_id: str = ""
    to: str = ""
    thread_id: str = ""
    sender_id: str = ""

    @property
    def key(self) -> ScopeKey:
        """The seven fields, trimmed, in the order of the file format."""
        return (
            trim(self.agent_id),
            trim(self.session_key),
            trim(self.channel),
            trim(self.account_id),
            trim(self.to),
            trim(self.thread_id),
            trim(self.sender_id),
        )


@attrs.frozen
class DueWindow:
    """When to check in. Once `latest_ms` is 72 hours ago it is too late."""

    earliest_ms: Number
    """Not due before this."""
    latest_ms: Number
    """End of the window."""
    timezone: str
    """IANA name."""


@attrs.frozen(kw_only=True)
class Commitment:
    """A follow-up that a user may expect, as it stands in the store. An optional field may be None.

    `kind`, `sensitivity`, `source` and `status` are plain strings because another program may have written a
    value that this one does not know; such a record is kept and listed, and a `Problem` says so.
    """

    id: str
    agent_id: str
    session_key: str
    channel: str
    account_id: str | None = None
    to: str | None = None
    thread_id: str | None = None
    sender_id: str | None = None
    kind: str
    sensitivity: str
    source: str
    status: str
    reason: str
    suggested_text: str
    dedupe_key: str
    confidence: Number
    due_window: DueWindow
    source_message_id: str | None = None
    source_run_id: str | None = None
    created_at_ms: Number
    updated_at_ms: Number
    attempts: Number
    last_attempt_at_ms: Number | None = None
    sent_at_ms: Number | None = None
    dismissed_at_ms: Number | None = None
    snoozed_until_ms: Number | None = None
    expired_at_ms: Number | None = None
    raw: bytes = attrs.field(repr=False, eq=False)
    """The record's JSON as it stands in the file, with the fields this class does not know."""

    @property
    def scope(self) -> Scope:
        """Where it belongs."""
        return Scope(
            self.agent_id,
            self.session_key,
            self.channel,
            self.account_id or "",
            self.to or "",
            self.thread_id or "",
            self.sender_id or "",
        )

    @property
    def active(self) -> bool:
        """Whether an operation may still change it (status `pending` or `snoozed`)."""
        return self.status in ACTIVE


@attrs.frozen
class InvalidEntry:
    """An entry that is no usable commitment. It stays in the file as it is, and takes part in nothing."""

    raw: bytes = attrs.field(repr=False)
    """Its JSON as it stands in the file."""
    id: str | None
    """Its id, if it has one."""
    field: str | None
    """The field at fault, in the file's spelling; None if the entry is no object."""
    reason: str
    """What is wrong."""

    def __str__(self) -> str:
        """Return what is wrong, as text."""
        return f"{self.field} {self.reason}" if self.field else self.reason


Entry: TypeAlias = Commitment | InvalidEntry
