"""What a check says about a store: that it is in order, something to know, or a problem and what would mend it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import attrs

__all__ = ["Finding", "Level", "Mend", "good", "note", "problem"]

Level = Literal["good", "note", "problem"]


@attrs.frozen
class Mend:
    """What would mend a problem."""

    plan: str
    """What it does, as `remove /x/.state.json.tmp`."""
    do: Callable[[], str | None]
    """Does it; returns why it could not be done, in words, or None. Raises OSError, StoreWriterError."""


@attrs.frozen
class Finding:
    """One line of a diagnosis."""

    about: str
    """`document`, `lock file`, `backups` and so on."""
    level: Level
    text: str
    mend: Mend | None = None
    """None: nothing that this program could do."""


def good(about: str, text: str) -> Finding:
    """All is well."""
    return Finding(about, "good", text)


def note(about: str, text: str, mend: Mend | None = None) -> Finding:
    """Something to know."""
    return Finding(about, "note", text, mend)


def problem(about: str, text: str, mend: Mend | None = None) -> Finding:
    """Something that keeps the store from working, or from being safe."""
    return Finding(about, "problem", text, mend)
