"""The ids of new records: `cm_`, the creation time in base 36, `_`, ten hexadecimal digits."""

from __future__ import annotations

import secrets
from collections.abc import Callable

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_RANDOM_BYTES = 5


def new_id(now_ms: int, entropy: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """Return a fresh record id for something created at `now_ms`, for example `cm_o8ivbnk0_0270da4daa`.

    `entropy` returns as many random bytes as it is asked for. Raises ValueError if the time is negative.
    """
    return f"cm_{_base36(now_ms)}_{entropy(_RANDOM_BYTES).hex()}"


def _base36(number: int) -> str:
    if number < 0:
        raise ValueError(f"a creation time cannot be negative, got {number} ms")
    digits = ""
    while True:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
        if number == 0:
            return digits
