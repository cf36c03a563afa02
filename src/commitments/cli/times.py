"""Times on the command line, in milliseconds since the Unix epoch as in the file."""

from __future__ import annotations

import re
from datetime import datetime
from zoneinfo import ZoneInfo

from commitments.extraction import milliseconds_of
from storewriter.cli.base.times import parse_duration

_MILLISECONDS = re.compile(r"\d{11,15}")


def parse_time(text: str, now_ms: int, timezone: str) -> int:
    """Return a time in milliseconds since the Unix epoch. Raises ValueError for another text.

    Accepted: ISO 8601 (`2030-03-10T09:00`, in `timezone` unless it has an offset), a duration from now
    (`+6h`, `+1d12h`), or the milliseconds themselves.
    """
    text = text.strip()
    if text.startswith("+"):
        return now_ms + round(parse_duration(text[1:]) * 1000)
    if _MILLISECONDS.fullmatch(text):
        return int(text)
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a time; write for example 2030-03-10T09:00+01:00 or +6h") from None
    if when.tzinfo is None:
        when = when.replace(tzinfo=zone(timezone))
    return milliseconds_of(when)


def zone(name: str) -> ZoneInfo:
    """Return the time zone with that IANA name. Raises ValueError if there is none."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{name!r} is not an IANA time zone; write for example Europe/Lisbon") from None
