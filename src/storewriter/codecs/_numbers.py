"""Which numbers of a JSON text can be kept as doubles: those whose text spells a double, and nothing more than it.

Decided    A double has three spellings that programs use: the shortest that reads back as it (JavaScript, Python, and
           what is written here), 17 digits (C's `%.17g`: 0.10000000000000001), and all of its digits. A text that has
           the value of one of them is kept as that double. Any other one has a value that no double
           holds (0.10000000000000000001, 1e-400, 12345678901234567890.5): it would come back as another number.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Final

__all__ = ["kept", "objection", "whole"]

_SHOWN: Final = 40
"""Characters of a number that an error repeats."""


def kept(text: str) -> float:
    """The double that a number with a fraction or an exponent spells. Raises ValueError if it spells none."""
    value = float(text)
    if repr(value) != text:  # otherwise as written here, by far the most common
        reason = objection(text)
        if reason is not None:
            raise ValueError(reason)
    return value


def whole(text: str) -> int | float:
    """A number without a fraction and an exponent. `-0` is a double: no whole number has its sign."""
    return int(text) if text != "-0" else -0.0


def objection(text: str) -> str | None:
    """Why a number with a fraction or an exponent cannot be kept; None if it can be."""
    value = float(text)
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    if math.isinf(value):
        return f"the number {shown} is beyond the range of a double, and could not be written back"
    if not value:
        is_zero = not text.lower().partition("e")[0].strip("-0.")
        return None if is_zero else f"the number {shown} is too small for a double; it would be written back as 0.0"
    if Decimal(text) in (Decimal(repr(value)), Decimal(f"{value:.16e}"), Decimal.from_float(value)):
        return None
    return f"the number {shown} has more digits than a double holds; it would be written back as {value!r}"
