"""Text of other processes, made harmless for a terminal."""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str) -> str:
    """The text with U+FFFD for every character that a terminal could obey: owners' records and paths hold anything."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)
