"""After fork() the child holds nothing: a module that keeps process-wide state registers how to drop it.

How        One `os.register_at_fork` hook, installed when the first turn is requested and not on import.
"""

from __future__ import annotations

import os
from collections.abc import Callable

generation: int = 0
"""How many forks lie between this process and the one that imported the package. A turn remembers the number it was
taken under; in a child it no longer matches, and the turn is its parent's."""

_resets: list[Callable[[], None]] = []
installed = False


def in_child(reset: Callable[[], None]) -> None:
    """Call `reset()` in every child, before any other code of ours runs there. Register once, at import."""
    _resets.append(reset)


def install() -> None:
    """Install the hook; cheap to call again."""
    global installed
    if not installed:
        installed = True
        os.register_at_fork(after_in_child=_after_fork)


def _after_fork() -> None:
    global generation
    generation += 1
    for reset in _resets:
        reset()
