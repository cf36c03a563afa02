"""What counts as blank: one explicit set of characters, the one that the file format's first writer uses.

Python's own `str.strip()` removes U+0085 and U+001C to U+001F and keeps U+FEFF; JavaScript's `trim()` does
the reverse. Two programs that trim differently disagree about which scope a record belongs to, so the set is
written down.
"""

from __future__ import annotations

WHITESPACE = (
    "\t\n\v\f\r \u00a0\u1680"
    "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)


def trim(text: str) -> str:
    """Return the text without `WHITESPACE` at either end."""
    return text.strip(WHITESPACE)


def is_blank(text: str) -> bool:
    """Whether nothing is left of the text after trimming."""
    return not text.strip(WHITESPACE)
