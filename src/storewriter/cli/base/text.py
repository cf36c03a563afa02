"""Text of stores, paths and other processes, made harmless for a terminal without losing what it says.

A stored text can hold escape sequences that recolour the screen, retitle the window or write the clipboard. What a
terminal could obey, and what hides or turns text, is shown as an escape, so that two different texts look different.
"""

from __future__ import annotations

import json
import re

__all__ = ["json_text", "safe_text", "shortened"]

# Control characters, line breaks and separators, marks that turn the direction of text or take no room, halves of
# surrogate pairs, and the byte order mark.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff]")


def safe_text(text: str) -> str:
    r"""Return the text on one line, with an escape (`\x1b`) in place of each character that a terminal would obey."""
    return _UNSAFE.sub(lambda match: ascii(match[0])[1:-1], text)


def json_text(value: object, *, indent: int | None = 2) -> str:
    """Return the value as JSON in printable ASCII, two spaces a level; on one line if `indent` is None."""
    return json.dumps(value, indent=indent).replace("\x7f", "\\u007f")


def shortened(text: str, *, to: int = 80) -> str:
    """Return the text, or as much of it as a message for people can quote."""
    return text if len(text) <= to else f"{text[: to - 1]}…"
