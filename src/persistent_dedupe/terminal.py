"""Text from the store, made harmless for a terminal without losing what it says.

A key can hold escape sequences that recolour the screen, retitle the window or write the clipboard. What a terminal
could obey, and what hides or turns text, is shown as an escape, so that two different keys still look different.
"""

from __future__ import annotations

import json
import re

__all__ = ["json_text", "safe_text"]

# Control characters, line breaks and separators, marks that turn the direction of text or take no room, halves of
# surrogate pairs, and the byte order mark.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff]")


def safe_text(text: str) -> str:
    """The text on one line, with an escape in place of each character that a terminal would obey."""
    return _UNSAFE.sub(lambda match: ascii(match[0])[1:-1], text)


def json_text(value: object) -> str:
    """The value as JSON, two spaces a level, in printable ASCII."""
    return json.dumps(value, indent=2).replace("\x7f", "\\u007f")
