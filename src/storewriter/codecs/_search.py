"""Is there a `null` in a JSON text? Asked at every encoding, so it has to be quick.

How        `bytes.rfind` is five times as quick as `in` on such texts (1.5 against 7.9 ms for 5 MB, CPython 3.11), and
           the C library's strstr(3) forty times (0.2 ms). It may be used because a JSON text holds no NUL byte:
           control characters are escaped.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

_WORTH_A_CALL: Final = 1 << 14
"""Bytes from which the call through ctypes costs less than it saves."""

_strstr: Callable[[bytes, bytes], Any] | None = None


def mentions_null(data: bytes) -> bool:
    """Whether the letters `null` occur in `data`, inside a string or not."""
    if len(data) < _WORTH_A_CALL or sys.platform == "win32":
        return data.rfind(b"null") >= 0
    return (_strstr or _load())(data, b"null") is not None


def _load() -> Callable[[bytes, bytes], Any]:
    global _strstr
    import ctypes

    function: Any = ctypes.CDLL(None).strstr
    function.restype = ctypes.c_void_p
    function.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
    _strstr = function
    return function  # type: ignore[no-any-return]
