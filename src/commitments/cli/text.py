r"""Text from the store, made harmless for a terminal, and in columns of fixed width.

Stored text can hold escape sequences that recolour the screen, retitle the window, hide a link behind another
one, or write the clipboard. They are removed whole; other control characters are removed; a line break is
shown as `\n`.
"""

from __future__ import annotations

import re

from rich.cells import cell_len, chop_cells, set_cell_size

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


def fit(text: str, width: int) -> str:
    """Return the text in exactly `width` columns, 3 or more: filled up with spaces, or cut with one `…`."""
    if cell_len(text) > width:
        text = chop_cells(text, width - 1)[0] + "…"
    return set_cell_size(text, width)
