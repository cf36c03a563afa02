"""Whether a state is a tree that nobody else can reach: proven by counting references, not believed.

A state that is kept between two updates, or handed on from one function of a batch to the next, must be what its
document says, and nothing else. Decoding the document anew makes sure, and for a large one costs more than a save. It
can be spared where every list and dict of the state is referred to once, by the one that it stands in: then no caller,
closure or cache holds a piece of it, and nothing stands in two places, where JSON would make two of it.

Promise    `take` returns a census only for a state of nothing but plain JSON values, each list and dict of which has
           one reference. In doubt it returns None.
How        The containers are listed, level by level, and their reference counts compared with those of a structure
           made here. The list is kept, and is the next proof: if each of its members still has one reference, and the
           document has as many opening brackets as the list has members, then no container went, came or moved. (A
           bracket inside a text makes the numbers differ: then they are listed anew.) The brackets are counted only
           where the document differs from the one before.
Only       in a turn, when the functions have run and the state has been encoded as JSON.
Cost       Of 1 KB, 50 KB and 5 MB of records, CPython 3.11: listing 7 us, 130 us, 18 ms; the next proof 2 us, 15 us,
           1 ms; decoding, which it spares, 7 us, 240 us, 55 ms.
"""

from __future__ import annotations

import gc
import sys
from functools import cache
from itertools import compress
from typing import Any, Final

import attrs

__all__ = ["Box", "Census", "is_tree", "take"]

Box = list[Any]
"""A list with the state as its only member, and nobody else's: so the state is counted like everything in it."""

_VALUES: Final = frozenset({str, int, float, bool, type(None)})
_CONTAINERS: Final = frozenset({dict, list})

_PIECE: Final = 1 << 14
"""Bytes of a document that are compared with those before, and counted if they differ, at once."""

_references: Final = getattr(sys, "getrefcount", None)
"""CPython's own; where there is none, nothing is ever proven."""


@attrs.define(eq=False)
class Census:
    """Every list and dict of a state that was proven, the state included, and the document that says the same."""

    _containers: list[Any]
    _pieces: list[bytes]
    _brackets: list[int]
    """In each piece, how many brackets open."""

    def still_holds(self, document: bytes) -> bool:
        """Whether the state, which has become `document`, is proven by what was known before."""
        # Both, because each alone can be fooled: a new container has no old reference, and one that was put into a
        # second place no new bracket.
        if _counts(self._containers) != _IN_CENSUS:
            return False
        self._look_at(document)
        return sum(self._brackets) == len(self._containers)

    def forget(self) -> None:
        """Let go of the state, or this would count as somebody who holds on to it."""
        self._containers.clear()

    def _look_at(self, document: bytes) -> None:
        pieces, first, start = self._pieces, 0, 0
        for piece in pieces:
            if not document.startswith(piece, start):
                break
            start += len(piece)
            first += 1
        last, end = len(pieces), len(document)
        for piece in reversed(pieces[first:]):
            if end - len(piece) < start or not document.startswith(piece, end - len(piece)):
                break
            end -= len(piece)
            last -= 1
        changed = _cut(document, start, end)
        pieces[first:last] = changed
        self._brackets[first:last] = map(_opening, changed)


def _cut(document: bytes, start: int, end: int) -> list[bytes]:
    return [document[place : min(place + _PIECE, end)] for place in range(start, end, _PIECE)]


def _opening(piece: bytes) -> int:
    return piece.count(b"{") + piece.count(b"[")


def _counts(containers: list[Any]) -> set[int]:
    """The different numbers of references that the members of a list have."""
    return set(map(_references, containers)) if _references is not None else set()


def _counts_of_one_owner() -> tuple[set[int], set[int]]:
    """What `_counts` says of containers that stand in one place, listed in one list and in two."""
    parent: list[Any] = [[]]
    census = list(parent)
    in_one = _counts(census)
    level = list(census)
    in_two = _counts(level)
    return in_one, in_two


_IN_CENSUS, _IN_CENSUS_AND_LEVEL = _counts_of_one_owner()


def take(box: Box, document: bytes, before: Census | None, *, quick: bool = False) -> Census | None:
    """A census of the state in `box`, which has just been encoded as `document`; None if it is no tree of our own.

    `before` is the census of the state that this one was made of, or None; it is used up. `quick`: only if it needs no
    new list.
    """
    if _references is None:
        return None
    if before is not None:
        if before.still_holds(document):
            return before
        before.forget()
    containers = None if quick else _listed(box)
    if containers is None:
        return None
    pieces = _cut(document, 0, len(document))
    return Census(containers, pieces, list(map(_opening, pieces)))


def _listed(box: Box) -> list[Any] | None:
    containers: list[Any] = []
    level = _containers_in([box])
    while level:
        containers += level
        # At every level: a structure that refers to itself has no last one.
        if _counts(level) != _IN_CENSUS_AND_LEVEL:
            return None
        level = _containers_in(level)
    return None if level is None else containers


def is_tree(box: Box, *, plain: bool = True) -> bool:
    """Whether nothing stands in two places of the state in `box`, whoever else may refer to it.

    `plain`: nor is there anything but plain JSON values. Otherwise objects of all kinds are looked through, as far as
    they let themselves be.
    """
    containers_in = _containers_in if plain else _objects_in
    known: set[int] = set()
    level = containers_in([box])
    while level:
        before = len(known)
        known.update(map(id, level))
        if len(known) - before < len(level):
            return False
        level = containers_in(level)
    return level is not None


def _containers_in(level: list[Any]) -> list[Any] | None:
    """The lists and dicts in those of a level; None if something there is no plain JSON value."""
    inside = gc.get_referents(*level)
    kinds = list(map(type, inside))
    found = set(kinds)
    if not found <= _VALUES | _CONTAINERS:
        return None
    return list(compress(inside, map(_CONTAINERS.__contains__, kinds)))


def _objects_in(level: list[Any]) -> list[Any] | None:
    """The objects in those of a level that could be changed; None if one of them cannot be looked through."""
    never_changed = _never_changed()
    found: list[Any] = []
    pending = gc.get_referents(*level)
    while pending:
        frozen: list[Any] = []
        for value in pending:
            kind = type(value)  # pyright: ignore[reportUnknownVariableType]
            if kind in _VALUES or isinstance(value, never_changed):
                continue
            if kind is tuple or kind is frozenset:
                frozen.append(value)  # may well stand in two places; what is in it may not
            elif not kind.__flags__ & _IS_COLLECTED:
                return None
            else:
                found.append(value)
        pending = gc.get_referents(*frozen) if frozen else []
    return found


_IS_COLLECTED: Final = 1 << 14
"""Py_TPFLAGS_HAVE_GC: what does not have it hides from us what it refers to."""


@cache
def _never_changed() -> tuple[type, ...]:
    """Kinds of values that nobody can change; looked up at first use, for most stores hold plain JSON."""
    import datetime as dt
    from decimal import Decimal
    from enum import Enum
    from pathlib import PurePath
    from types import BuiltinFunctionType, FunctionType, ModuleType
    from uuid import UUID

    code: tuple[type, ...] = (type, FunctionType, BuiltinFunctionType, ModuleType)
    times: tuple[type, ...] = (dt.date, dt.time, dt.timedelta, dt.tzinfo)
    return (*code, *times, Enum, bytes, complex, int, float, str, Decimal, UUID, PurePath)
