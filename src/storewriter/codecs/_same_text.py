"""Do two JSON texts say the same: one that the engine has read, and one that it has written of what it read?

Promise    True only if the engine has lost nothing: no member of an object that has its key twice, no digit of a number.
How        Both texts are stripped of what the engine does not lose, and compared: white space, and in strings (whose
           characters the engine reads as they are, or refuses) everything that may be spelled in several ways.
           What is left keeps every bracket, comma, colon and number, and the quotation marks around every string, so
           that equal texts have equal numbers of values in equal places, and every number is written as it was.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["has_two_spaces", "says_the_same"]

_BLANK: Final = b" \t\r\n"
_ONLY_IN_STRINGS: Final = b"&'/<>" + bytes(range(0x7F, 0x100))
"""Written as they are by some programs, and as escapes by others: by Python, by Go, by PHP."""
_ESCAPE: Final = re.compile(rb"\\(?:u....(?:\\u....)*|.)", re.DOTALL)


def has_two_spaces(data: bytes) -> bool:
    """Whether a document seems to be indented by two spaces, as the engine writes them, too."""
    return data[1:4] == b"\n  " and data[4:5] != b" "


def says_the_same(data: bytes, again: bytes) -> bool:
    """Whether the document `data`, which is JSON, says no more than `again`, which the engine made of it."""
    if 0 <= len(again) - len(data) <= 1 and again.startswith(data):
        return True  # in the engine's own layout, final newline or not
    if data.isascii() == again.isascii():  # or one has escapes for what the other has as it is
        if data.translate(None, _BLANK) == again.translate(None, _BLANK):
            return True
        if b"\\" not in data:
            return False
    return _stripped(data) == _stripped(again)


def _stripped(text: bytes) -> bytes:
    return _ESCAPE.sub(b"", text).translate(None, _BLANK + _ONLY_IN_STRINGS)
