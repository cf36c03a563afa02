"""Times on the command line, in milliseconds since the Unix epoch as in the file."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from commitments.record import Number

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECONDS = re.compile(r"\d{11,15}")
_UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def utc_text(when_ms: Number) -> str:
    """Return a time as `2030-03-10T12:00:00.000Z`, or `n/a` if it is out of the calendar's range."""
    try:
        when = _EPOCH + timedelta(milliseconds=when_ms)
    except OverflowError:
        return "n/a"
    # strftime does not fill years below 1000 with zeros on every system.
    return f"{when.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def parse_duration(text: str) -> int:
    """Return the milliseconds of `90s`, `45m`, `6h` or `2d`. Raises ValueError for anything else."""
    match = re.fullmatch(r"(\d{1,9})([smhd])", text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a duration; write for example 90s, 45m, 6h or 2d")
    return int(match[1]) * _UNITS_MS[match[2]]


def parse_time(text: str, now_ms: int, timezone: str) -> int:
    """Return a time in milliseconds since the Unix epoch. Raises ValueError for another text.

    Accepted: ISO 8601 (`2030-03-10T09:00`, in `timezone` unless it has an offset), a duration from now
    (`+6h`), or the milliseconds themselves.
    """
    text = text.strip()
    if text.startswith("+"):
        return now_ms + parse_duration(text[1:])
    if _MILLISECONDS.fullmatch(text):
        return int(text)
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a time; write for example 2030-03-10T09:00+01:00 or +6h") from None
    if when.tzinfo is None:
        when = when.replace(tzinfo=zone(timezone))
    return milliseconds_of(when)


def milliseconds_of(when: datetime) -> int:
    """Return a time that knows its offset in milliseconds since the Unix epoch."""
    return (when - _EPOCH) // timedelta(milliseconds=1)


def zone(name: str) -> ZoneInfo:
    """Return the time zone with that IANA name. Raises ValueError if there is none."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{name!r} is not an IANA time zone; write for example Europe/Lisbon") from None
