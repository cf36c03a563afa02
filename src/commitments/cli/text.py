r"""Text from the store, made harmless for a terminal.

Stored text can hold escape sequences that recolour the screen, retitle the window, hide a link behind another
one, or write the clipboard. They are removed whole; other control characters are removed; a line break is
shown as `\n`.
"""

from __future__ import annotations

import re
import unicodedata

_SEQUENCES = re.compile(
    r"""
      (?: \x1b\[ | \x9b ) [0-?]* [ -/]* [@-~]             # CSI: colours, cursor, modes
    | (?: \x1b[\]PX^_] | [\x90\x98\x9d-\x9f] )            # OSC (titles, links, clipboard), DCS, SOS, PM, APC
      [^\x07\x1b\x9c]* (?: \x07 | \x1b\\ | \x9c )         #   up to BEL or ST
    | \x1b [ -/]* [0-Z\\^-~]                              # two characters, or a change of the character set
    """,
    re.VERBOSE,
)
_LINE_BREAK = re.compile("\r\n|[\n\r\v\f\x85\u2028\u2029]")
# Control characters; marks that turn the direction of text, so that it reads as another; half surrogates.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def safe_text(text: str) -> str:
    """Return the text on one line and without anything that a terminal would obey."""
    text = _SEQUENCES.sub("", text)
    text = _LINE_BREAK.sub(r"\\n", text)
    return _UNSAFE.sub("", text)


def cell_width(text: str) -> int:
    """How many columns of a terminal the text takes up."""
    return len(text) if text.isascii() else sum(map(_width_of, text))


def _width_of(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def fit(text: str, width: int) -> str:
    """Return the text in exactly `width` columns: filled up with spaces, or cut with one `…`."""
    if cell_width(text) > width:
        text = _first_columns(text, width - 1) + "…"
    return text + " " * (width - cell_width(text))


def _first_columns(text: str, width: int) -> str:
    used = 0
    for position, character in enumerate(text):
        used += _width_of(character)
        if used > width:
            return text[:position]
    return text
