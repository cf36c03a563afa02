"""What the analysis knows of a value: which file it names, which file it was loaded from, which open file it is.

A path is known by its text in a normal form: constants as they are, everything else in braces. These three are all
`{folder}/a.json`: `Path(folder) / "a.json"`, `os.path.join(folder, "a.json")`, `f"{folder}/a.json"`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import attrs

from storewriter.scan.modules import ClassSource, FunctionSource

__all__ = ["NONE", "UNKNOWN", "Handle", "Load", "Site", "Value", "atom", "join_paths", "merged"]

_LONGEST: Final = 400
"""Longer texts of paths are given up: they come from expressions that name no file."""


@attrs.frozen
class Site:
    """A place in a function: one step of the calls that lead to a load or a save."""

    function: FunctionSource
    line: int


@attrs.frozen
class Load:
    """One load of a file."""

    path: str
    """The normal form of the file's path."""
    shown: str
    """The path as the source says it."""
    calls: tuple[Site, ...]
    """Where it was loaded: the outermost function first."""
    locks: frozenset[int]
    """The acquisitions of locks that were held."""
    at_creation: bool = False
    """Whether the file was loaded when the object was made, not in the same flow."""


@attrs.frozen
class Handle:
    """An open file."""

    path: str
    shown: str
    reads: bool
    writes: bool
    line: int = 0
    """Where it was opened."""


@attrs.frozen
class Value:
    """What is known of the value of an expression."""

    path: str = ""
    """Which file it names, or which object it is, in normal form; empty if nothing is known."""
    loads: frozenset[Load] = frozenset()
    """Where its content comes from."""
    handle: Handle | None = None
    items: tuple[Value, ...] = ()
    """The parts of a tuple, each with what is known of it."""
    function: FunctionSource | None = None
    instance: ClassSource | None = None
    library: str = ""
    """For an object of a library whose methods take paths: the name of its class."""
    is_lock: bool = False
    bound: str = ""
    """For a method: the normal form of its object."""


UNKNOWN: Final = Value()
NONE: Final = Value(path="None")


def atom(text: str) -> str:
    """Return the normal form of an expression that is no constant."""
    return f"{{{text}}}" if len(text) <= _LONGEST else ""


def inner(path: str) -> str:
    """Return a normal form without its outer braces, to stand within another one."""
    alone = path.startswith("{") and path.endswith("}") and "{" not in path[1:] and "}" not in path[:-1]
    return path[1:-1] if alone else path


def join_paths(parts: Iterable[str]) -> str:
    """Return the normal form of a path in folders. It is empty if a part is not known."""
    known = list(parts)
    if not known or not all(known):
        return ""
    joined = known[0].rstrip("/") if known[0] != "/" else ""
    for part in known[1:]:
        joined = part if part.startswith("/") else f"{joined}/{part.removeprefix('./').strip('/')}"
    return joined if len(joined) <= _LONGEST else ""


def merged(first: Value, second: Value) -> Value:
    """Return what is known where two branches meet."""
    if first == second or second == NONE:
        return first
    if first == NONE:
        return second
    paths = sorted({first.path, second.path})
    text = "|".join(inner(path) for path in paths)
    return Value(
        path=first.path if len(paths) == 1 else atom(text) if all(paths) else "".join(paths),
        loads=first.loads | second.loads,
        handle=first.handle or second.handle,
        items=_merged_items(first.items, second.items),
        function=first.function or second.function,
        instance=first.instance or second.instance,
        library=first.library or second.library,
        is_lock=first.is_lock or second.is_lock,
        bound=first.bound or second.bound,
    )


def _merged_items(first: tuple[Value, ...], second: tuple[Value, ...]) -> tuple[Value, ...]:
    if len(first) != len(second):
        return first or second
    return tuple(merged(one, other) for one, other in zip(first, second, strict=True))
