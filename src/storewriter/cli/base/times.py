"""Times and durations as text, in UTC and in seconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

__all__ = ["age_text", "parse_duration", "parse_wait", "utc_text"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_NUMBER = r"\d{1,9}(?:\.\d{1,9})?"
_PART = re.compile(rf"({_NUMBER})(ms|s|m|h|d|w)", re.ASCII)
_PLAIN = re.compile(_NUMBER, re.ASCII)


def parse_duration(text: str) -> float:
    """Return the seconds of `24h`, `1d12h`, `0.5s` or `500ms`. Raises ValueError for anything else.

    A number without a unit is refused: it could mean seconds or milliseconds.
    """
    wanted = text.strip().lower()
    parts = _PART.findall(wanted)
    if not parts or "".join(number + unit for number, unit in parts) != wanted:
        raise ValueError(f"{text!r} is not a duration; write for example 90s, 45m, 24h or 1d12h")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def parse_wait(text: str) -> float:
    """Return the seconds of a duration, or of a plain number: waits are in seconds in every command and in the API.

    Raises ValueError for anything else.
    """
    plain = text.strip()
    return float(plain) if _PLAIN.fullmatch(plain) else parse_duration(text)


def utc_text(milliseconds: float) -> str:
    """Return a time since the Unix epoch as `2030-03-10T12:00:00.000Z`, or `n/a` if it is out of the calendar."""
    try:
        when = _EPOCH + timedelta(milliseconds=milliseconds)
    except (OverflowError, ValueError):
        return "n/a"
    # strftime does not fill years below 1000 with zeros on every system.
    return f"{when.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def age_text(seconds: float) -> str:
    """Return a length of time in its two largest units: `3d 4h`, `12m 5s`, `0s`."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for unit in ("d", "h", "m", "s"):
        count, left = divmod(left, int(_UNITS[unit]))
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"
