"""Times and durations as text."""

from __future__ import annotations

import re
from datetime import UTC, datetime

__all__ = ["age_text", "parse_duration", "parse_ttl", "utc_text"]

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_PART = re.compile(r"(\d{1,9})(ms|s|m|h|d|w)")


def parse_duration(text: str) -> float:
    """The seconds of `24h`, `1d12h`, `90s` or `500ms`. Raises ValueError for anything else.

    A number without a unit is refused: it could mean seconds or milliseconds.
    """
    text = text.strip().lower()
    parts = _PART.findall(text)
    if "".join(number + unit for number, unit in parts) != text or not parts:
        msg = f"{text!r} is not a duration; write for example 90s, 45m, 24h or 1d12h"
        raise ValueError(msg)
    return sum(int(number) * _UNITS[unit] for number, unit in parts)


def parse_ttl(text: str) -> float:
    """How long a key counts, in seconds; 0 for `forever`, and for nothing else. Raises ValueError."""
    if text.strip().lower() == "forever":
        return 0.0
    seconds = parse_duration(text)
    if seconds == 0:
        msg = f"{text!r} is no length of time; for keys that never expire, write forever"
        raise ValueError(msg)
    return seconds


def utc_text(seconds: float) -> str:
    """A time as `2030-03-10T12:00:00.000Z`, or `n/a` if it is out of the calendar's range."""
    try:
        when = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return "n/a"
    return f"{when.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def age_text(seconds: float) -> str:
    """A length of time in its two largest units: `3d 4h`, `12m 5s`, `0s`."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for unit in ("d", "h", "m", "s"):
        count, left = divmod(left, int(_UNITS[unit]))
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"
