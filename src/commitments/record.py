"""What an entry of the store is, a `Commitment` or an `InvalidEntry`; how it is read from the file's JSON, and changed.

Promise    A record is what its JSON says: a changed one is read back before it is used, so nothing is ever written
           that could not be read. Both kinds keep the JSON they were read from (`raw`), so what is not known, or
           cannot be used, is written back as it was. Times are milliseconds since the Unix epoch, as in the file.
Fails by   an `InvalidEntry` for what was read, ValueError for what would be written.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, cast, get_args, get_type_hints

import attrs

from commitments.json_text import Edit, edit_object, encode_value, laid_out, value_at

WHITESPACE = (
    "\t\n\v\f\r \u00a0\u1680"
    "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)


def trim(text: str) -> str:
    """Return the text without `WHITESPACE` at either end."""
    return text.strip(WHITESPACE)


def is_blank(text: str) -> bool:
    """Whether nothing is left of the text after trimming."""
    return not text.strip(WHITESPACE)


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
ScopeKey: TypeAlias = tuple[str, ...]


@attrs.frozen
class Scope:
    """Where a commitment belongs: the agent, its conversation, and the route that a message takes there.

    Two scopes are the same if their seven fields are equal after trimming; an absent field equals an empty one:
    `agent_id`, `session_key`, `channel`, `account_id`, `to`, `thread_id`, `sender_id`.
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

    `id` names it. `agent_id`, `session_key`, `channel`, `account_id`, `to`, `thread_id` and `sender_id` are its scope.
    `reason` and `suggested_text` say what to bring up and how, `dedupe_key` which later inference is the same one,
    `confidence` how sure the inference was (0 to 1), `due_window` when to check in. `source_message_id` and
    `source_run_id` say where it was inferred. `attempts` counts deliveries. Times are in milliseconds since the epoch,
    None if it has not happened: `created_at_ms`, `updated_at_ms`, `last_attempt_at_ms`, `sent_at_ms`,
    `dismissed_at_ms`, `snoozed_until_ms`, `expired_at_ms`.
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


LEGACY_TEXT = ("sourceUserText", "sourceAssistantText")
"""Fields of older versions that must not stay on disk: what was said in the conversation."""


def _fields_of(hint: object) -> dict[str, str]:
    """Return the file's spelling of each attribute of a record that has this type."""
    return {name: _in_the_file(name) for name, found in get_type_hints(Commitment).items() if found == hint}


def _in_the_file(attribute: str) -> str:
    return re.sub("_(.)", lambda match: match[1].upper(), attribute)


_TEXTS, _OPTIONAL_TEXTS = _fields_of(str), _fields_of(str | None)
_NUMBERS, _OPTIONAL_NUMBERS = _fields_of(Number), _fields_of(Number | None)
_FIELDS = _TEXTS | _OPTIONAL_TEXTS | _NUMBERS | _OPTIONAL_NUMBERS

_RECORD_INDENT = "    "
"""A record stands two levels deep in the file."""


def parse_entry(value: object, raw: bytes) -> Entry:
    """Return the entry with that JSON and that decoded value: a record if every known field has its type."""
    if not isinstance(value, dict):
        return InvalidEntry(raw, None, None, f"must be an object, is {json_type(value)}")
    entry = cast("dict[str, Any]", value)
    fields: dict[str, Any] = {attribute: entry.get(name) for attribute, name in _FIELDS.items()}
    fault = _fault(fields) or _fault_of_window(entry.get("dueWindow"))
    if fault is not None:
        return InvalidEntry(raw, fields["id"] if isinstance(fields["id"], str) else None, *fault)
    window = entry["dueWindow"]
    due_window = DueWindow(window["earliestMs"], window["latestMs"], window["timezone"])
    return Commitment(due_window=due_window, raw=raw, **fields)


def _fault(fields: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the first field of the wrong type, in the file's spelling, and what is wrong with it."""
    # `type(...) is`: a decoded value is of no subclass, except that a bool, no number in JSON, is an int in
    # Python.
    for attribute, name in _TEXTS.items():
        if type(text := fields[attribute]) is not str or is_blank(text):
            return name, _no_text(text)
    for attribute, name in _OPTIONAL_TEXTS.items():
        if (text := fields[attribute]) is not None and type(text) is not str:
            return name, _no_text(text)
    for attribute, name in _NUMBERS.items():
        if not _is_number(number := fields[attribute]):
            return name, _no_number(number)
    for attribute, name in _OPTIONAL_NUMBERS.items():
        if (number := fields[attribute]) is not None and not _is_number(number):
            return name, _no_number(number)
    return None


def _fault_of_window(value: object) -> tuple[str, str] | None:
    if not isinstance(value, dict):
        return "dueWindow", _wrong_type(value, "an object")
    window = cast("dict[str, object]", value)
    for name in ("earliestMs", "latestMs"):
        if not _is_number(number := window.get(name)):
            return f"dueWindow.{name}", _no_number(number)
    timezone = window.get("timezone")
    return None if isinstance(timezone, str) else ("dueWindow.timezone", _no_text(timezone))


def _is_number(value: object) -> bool:
    # 1e999 is valid JSON, and infinite here.
    return type(value) is int or (type(value) is float and math.isfinite(value))


def _no_text(value: object) -> str:
    return "must not be blank" if isinstance(value, str) else _wrong_type(value, "a string")


def _no_number(value: object) -> str:
    return "must be a finite number" if isinstance(value, float) else _wrong_type(value, "a number")


def _wrong_type(value: object, wanted: str) -> str:
    return "is missing" if value is None else f"must be {wanted}, is {json_type(value)}"


_JSON_TYPES: dict[type, str] = {bool: "a boolean", str: "a string", list: "an array", dict: "an object"}


def json_type(value: object) -> str:
    """Return what JSON calls a decoded value, with its article."""
    if value is None:
        return "null"
    return _JSON_TYPES.get(type(value), "a number")


def new_record(**attributes: object) -> Commitment:
    """Return a record that is not in the file yet, its attributes in the order in which they will be written.

    None is left out. Raises ValueError if it would not be read back as a record.
    """
    members = {name: value for name, value in attributes.items() if value is not None}
    return _record_of(laid_out(encode_value(_members(members)), _RECORD_INDENT))


def changed(record: Commitment, **attributes: object) -> Commitment:
    """Return the record with new values for some attributes; every other character of its JSON is kept.

    Fields that are not there yet are appended. Raises ValueError if it would not be read back as a record.
    """
    edits = {field: _edit(value) for field, value in _members(attributes).items()}
    return _record_of(edit_object(record.raw.decode(), edits))


def has_legacy_text(value: object) -> bool:
    """Say whether a decoded entry, valid or not, has a field of `LEGACY_TEXT`."""
    return isinstance(value, dict) and any(field in value for field in LEGACY_TEXT)


def without_legacy_text(text: str) -> str:
    """Return the JSON text of an object without the fields of `LEGACY_TEXT`."""
    return edit_object(text, dict.fromkeys(LEGACY_TEXT))


def _members(attributes: Mapping[str, object]) -> dict[str, object]:
    return {
        _in_the_file(name): _members(attrs.asdict(value)) if isinstance(value, DueWindow) else value
        for name, value in attributes.items()
    }


def _edit(value: object) -> Edit:
    if isinstance(value, Mapping):
        return {key: _edit(inner) for key, inner in cast("Mapping[str, object]", value).items()}
    return encode_value(value)


def _record_of(text: str) -> Commitment:
    value, _ = value_at(text, 0)
    entry = parse_entry(value, text.encode())
    if isinstance(entry, InvalidEntry):
        raise ValueError(f"this would be no usable record: {entry}")  # noqa: TRY004  # its value is at fault
    return entry
