"""Two JSON texts compared: one that the engine has read, and one that it has written of what it read.

Promise    They are called the same only if the engine has lost nothing: no member of an object that has its key twice,
           no digit of a number. Strings it reads as they are, or refuses.
How        Both texts are stripped of white space and, if they still differ, of every character that has several
           spellings and stands in strings only; then they are compared. What is left holds all brackets, commas, colons
           and numbers, and the quotation marks around each string (those inside are escapes, and gone or alike in
           both). So equal texts have the same values in the same places, and every number as it was spelled. Where
           only numbers differ, they must be the same double: digits hold no quotation mark, so that what follows is
           inside or outside of a string in both texts alike.
"""

from __future__ import annotations

import re
from typing import Final

from storewriter.codecs import _numbers

__all__ = ["has_two_spaces", "says_the_same"]

_BLANK: Final = b" \t\r\n"
_SPELLED_IN_SEVERAL_WAYS: Final = _BLANK + b"&'/<>" + bytes(range(0x7F, 0x100))
"""White space, and what some programs write as it is and others as escapes: Python, Go, PHP."""
_ESCAPE: Final = re.compile(rb"\\(?:u....(?:\\u....)*|.)", re.DOTALL)

_DOUBLE: Final = re.compile(rb"(.*[:\[]|)(-?[0-9]+[.eE][-+.eE0-9]+)([\]}]*)", re.DOTALL)


def has_two_spaces(data: bytes) -> bool:
    """Whether a document seems to be indented by two spaces, as the engine writes them, too."""
    return data[1:4] == b"\n  " and data[4:5] != b" "


def says_the_same(data: bytes, again: bytes) -> bool:
    """Whether a document says no more than `again`, which the engine has written of what it has read in it."""
    if 0 <= len(again) - len(data) <= 1 and again.startswith(data):
        return True  # in the engine's own layout, final newline or not
    if data.isascii() == again.isascii():  # or one has escapes for what the other has as it is
        if _are_alike(data.translate(None, _BLANK), again.translate(None, _BLANK)):
            return True
        if b"\\" not in data:
            return False
    return _are_alike(_stripped(data), _stripped(again))


def _stripped(text: bytes) -> bytes:
    if b"\\" in text:
        text = _ESCAPE.sub(b"", text)
    return text.translate(None, _SPELLED_IN_SEVERAL_WAYS)


def _are_alike(text: bytes, other: bytes) -> bool:
    if text == other:
        return True
    parts, others = text.split(b","), other.split(b",")
    if len(parts) != len(others):
        return False
    return all(_end_in_same_double(*pair) for pair in zip(parts, others, strict=True) if pair[0] != pair[1])


def _end_in_same_double(part: bytes, other: bytes) -> bool:
    found, again = _DOUBLE.fullmatch(part), _DOUBLE.fullmatch(other)
    if found is None or again is None or found[1] != again[1] or found[3] != again[3]:
        return False
    try:
        return repr(_numbers.kept(found[2].decode())) == repr(float(again[2]))
    except ValueError:
        return False
