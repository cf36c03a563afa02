r"""A JSON text that is laid out by hand, changed where the state has changed, and nowhere else.

Promise    A value that is the same keeps its text, character by character, with the white space around it; so does a
           key. A new one is laid out like the text beside it. Each value and each comma that the text does not need any
           more goes, with the white space in front of it.
How        The old text and the new state are walked together, from the top. What is equal is copied. Of an object or an
           array that differs, the members are cut apart; each new member takes the text of the old one with its key,
           or, in arrays, of the old one that is equal or stands in the same gap between equal ones. A member without
           one is written into the text of its neighbour, as if that had changed into it.
Only       for texts that were read before, and states of plain JSON values. Raises RecursionError (see `_depth.py`).
"""

from __future__ import annotations

import bisect
import json
import re
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple, TypeGuard

import attrs
import orjson

from storewriter.codecs import _numbers
from storewriter.codecs._layouts import Layout

__all__ = ["is_array", "is_object", "merged", "origins"]

_BLANK: Final = re.compile(r"[ \t\r\n\ufeff]*")
_KEY: Final = re.compile(r'("[^"\\]*(?:\\.[^"\\]*)*")[ \t\r\n]*:[ \t\r\n]*', re.DOTALL)
_SHORT_ARRAY: Final = re.compile(r"\[[ \t]*[^\s\[\]{}][^\n\[\]{}]*\]")
_LONG_ARRAY: Final = re.compile(r"\[[ \t\r]*\n\s*[^\s\[\]{}]")
_OPENING: Final = re.compile(r"[{\[]( *)[^\s\]}]")
_COMMA: Final = re.compile(r'[\w"\]}],([ \t]*)[^\s]')
_COLON: Final = re.compile(r'"([ \t]*:[ \t]*)')
_UPPER_HEX: Final = re.compile(r"\\u[0-9A-F]*[A-F]")
_MINUS_ZERO: Final = re.compile(r"-0(?![.\deE])")
_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_ALSO_ESCAPED: Final = "<>&'\x7f"
"""What some programs write as an escape, though nothing demands it."""

_MOST_COMPARED: Final = 10_000
"""So many pairs of unequal values of an array are compared to see which has become which."""


def merged(text: str, state: Any, layout: Layout) -> str:
    """The text, changed to hold `state`; `layout` is the layout that most of it has."""
    merge = _Merge(text, _Style.of(text, layout))
    at = merge.skip(0)
    old, end = merge.value(at)
    return text[:at] + merge.changed(_Part("", at, at, end, old), state) + text[end:]


def is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    """Whether a JSON value is an object."""
    return isinstance(value, dict)


def is_array(value: Any) -> TypeGuard[list[Any]]:
    """Whether a JSON value is an array."""
    return isinstance(value, list)


class _Part(NamedTuple):
    """A member of an object or an array in the old text: `lead`, key and colon from `start`, a value, `trail`."""

    lead: str
    """White space in front."""
    start: int
    at: int
    """Where its value begins; `start`, in an array."""
    end: int
    value: Any
    trail: str = ""
    """White space before the comma; that before the closing bracket is not the member's."""


@attrs.frozen
class _Style:
    """How values are written that are nowhere in the old text."""

    newline: str
    unit: str | None
    """None: on one line."""
    pad: str
    """Inside of brackets on one line."""
    comma: str
    colon: str
    short_arrays: bool
    """Whether arrays without objects and arrays in them stand on one line."""
    escapes: bool
    upper: bool
    also: str
    """Further characters that are written as escapes."""
    slash: bool

    @classmethod
    def of(cls, text: str, layout: Layout) -> _Style:
        opening, comma, colon = _OPENING.search(text), _COMMA.search(text), _COLON.search(text)
        space = " " if layout.is_spaced or layout.unit is not None else ""
        is_short = layout.unit is not None and _SHORT_ARRAY.search(text) is not None
        return cls(
            newline=layout.newline.decode(),
            unit=None if layout.unit is None else layout.unit.decode(),
            pad=opening[1] if opening else "",
            comma="," + (comma[1] if comma else space),
            colon=colon[1] if colon else ":" + space,
            short_arrays=is_short and _LONG_ARRAY.search(text) is None,
            escapes=layout.escapes,
            upper=layout.escapes and _UPPER_HEX.search(text) is not None,
            also="".join(c for c in _ALSO_ESCAPED if c not in text and re.search(rf"\\u{ord(c):04x}", text, re.I)),
            slash=layout.escapes_slash,
        )

    def scalar(self, value: Any) -> str:
        text = json.dumps(value, ensure_ascii=False)
        if not isinstance(value, str):
            return text
        text = (_NOT_ASCII if self.escapes else _SURROGATE).sub(self._escape, text)
        for character in self.also:
            text = text.replace(character, self._hex(ord(character)))
        return text.replace("/", "\\/") if self.slash else text

    def _escape(self, match: re.Match[str]) -> str:
        units = match[0].encode("utf-16-be", "surrogatepass")
        return "".join(self._hex(units[at] << 8 | units[at + 1]) for at in range(0, len(units), 2))

    def _hex(self, unit: int) -> str:
        return f"\\u{unit:04X}" if self.upper else f"\\u{unit:04x}"

    def fresh(self, value: Any, indent: str | None) -> str:
        """The text of a value; `indent` is that of its line, and None: all on one line."""
        if not isinstance(value, (dict, list)):
            return self.scalar(value)
        brackets = "{}" if isinstance(value, dict) else "[]"
        if not value:
            return brackets
        if indent is None or self.unit is None or (self.short_arrays and _is_flat(value)):
            inner = self.comma.join(self._members(value, None))
            return f"{brackets[0]}{self.pad}{inner}{self.pad}{brackets[1]}"
        deeper = indent + self.unit
        inner = f",{self.newline}{deeper}".join(self._members(value, deeper))
        return f"{brackets[0]}{self.newline}{deeper}{inner}{self.newline}{indent}{brackets[1]}"

    def _members(self, value: Any, indent: str | None) -> Iterator[str]:
        if is_array(value):
            return (self.fresh(inner, indent) for inner in value)
        return (self.scalar(key) + self.colon + self.fresh(inner, indent) for key, inner in value.items())


class _Merge:
    def __init__(self, text: str, style: _Style) -> None:
        self._text = text
        self._style = style
        # A decoder in C, unless it would take the sign of a zero away.
        has_minus_zero = _MINUS_ZERO.search(text) is not None
        self._decoder = json.JSONDecoder(parse_int=_numbers.whole) if has_minus_zero else json.JSONDecoder()

    def skip(self, at: int) -> int:
        return _BLANK.match(self._text, at).end()  # type: ignore[union-attr]

    def value(self, at: int) -> tuple[Any, int]:
        return self._decoder.raw_decode(self._text, at)

    def changed(self, part: _Part, new: Any) -> str:
        """The text of an old value, changed to hold the new one."""
        old: Any = part.value
        if _are_same(old, new):
            return self._text[part.at : part.end]
        if old and new and is_object(old) and is_object(new):
            return self._object(part, new)
        if old and new and is_array(old) and is_array(new):
            return self._array(part, new)
        return self._style.fresh(new, self._indent_at(part))

    def _indent_at(self, part: _Part) -> str | None:
        """The indentation of a value's line, if it is the first thing there, or its key is; None: it shares a line."""
        start = self._text.rfind("\n", 0, part.start) + 1
        before = self._text[start : part.start].strip(", \ufeff")
        if before and not before.isspace():
            return None
        return self._text[start : part.start].replace(",", " ").strip("\ufeff")

    # -- objects -------------------------------------------------------------------------------------------------------

    def _object(self, part: _Part, new: dict[str, Any]) -> str:
        old, closing = self._cut(part.at, has_keys=True)
        by_key = {self._key_of(member): member for member in old}
        pieces: list[tuple[_Part | None, str]] = []
        neighbour = old[-1] if next(iter(new)) not in by_key else old[0]
        for key, value in new.items():
            member = by_key.get(key)
            if member is not None:
                neighbour = member
                head = self._text[member.start : member.at]
                pieces.append((member, head + self._become(old, member, value)))
            else:
                head = self._style.scalar(key) + self._colon_of(neighbour)
                pieces.append((None, head + self._like(old, neighbour, value)))
        return "{" + self._joined(old, pieces) + closing + "}"

    def _key_of(self, member: _Part) -> str:
        quoted = self._text[member.start : self._key_end(member)]
        return str(json.loads(quoted, strict=False)) if "\\" in quoted else quoted[1:-1]

    def _key_end(self, member: _Part) -> int:
        return _KEY.match(self._text, member.start).end(1)  # type: ignore[union-attr]

    def _colon_of(self, member: _Part) -> str:
        return self._text[self._key_end(member) : member.at]

    def _become(self, old: Sequence[_Part], part: _Part, new: Any) -> str:
        is_filled = bool(part.value) and type(part.value) is type(new)
        if new and (is_object(new) or is_array(new)) and not is_filled:
            return self._like(old, part, new)
        return self.changed(part, new)

    def _like(self, old: Sequence[_Part], neighbour: _Part, new: Any) -> str:
        """The text of a new value, in the layout of an old value beside it."""
        if new and (is_object(new) or is_array(new)):
            for other in (neighbour, *reversed(old)):
                if other.value and type(other.value) is type(new) and _is_flat(other.value) is _is_flat(new):
                    return self.changed(other, new)
        return self._style.fresh(new, self._indent_at(neighbour))

    # -- arrays --------------------------------------------------------------------------------------------------------

    def _array(self, part: _Part, new: list[Any]) -> str:
        old, closing = self._cut(part.at, has_keys=False)
        pieces: list[tuple[_Part | None, str]] = []
        neighbour = old[0]
        for value, (index, keeps_place) in zip(new, origins([item.value for item in old], new), strict=True):
            if index is None:
                pieces.append((None, self._like(old, neighbour, value)))
                continue
            item = old[index]
            if keeps_place:
                neighbour = item
            pieces.append((item if keeps_place else None, self._become(old, item, value)))
        return "[" + self._joined(old, pieces) + closing + "]"

    # -- both ----------------------------------------------------------------------------------------------------------

    def _cut(self, at: int, *, has_keys: bool) -> tuple[list[_Part], str]:
        """The members of an object or array that has some, and the white space before its closing bracket."""
        text, parts = self._text, list[_Part]()
        end = at
        while True:
            start = self.skip(end + 1)
            lead = text[end + 1 : start]
            value_at = _KEY.match(text, start).end() if has_keys else start  # type: ignore[union-attr]
            value, value_end = self.value(value_at)
            end = self.skip(value_end)
            space = text[value_end:end]
            if text[end] != ",":
                parts.append(_Part(lead, start, value_at, value_end, value))
                return parts, space
            parts.append(_Part(lead, start, value_at, value_end, value, space))

    def _joined(self, old: Sequence[_Part], pieces: Sequence[tuple[_Part | None, str]]) -> str:
        """Members with their commas. Each old one keeps its white space, but for what belongs to the first and last."""
        first, last = old[0], old[-1]
        lead = self._lead_of_others(old)
        trail = first.trail if len(old) > 1 else ""
        found: list[str] = []
        for index, (part, body) in enumerate(pieces):
            if index == 0:
                found.append(first.lead)
            else:
                found.append(lead if part is None or part is first else part.lead)
            found.append(body)
            if index + 1 < len(pieces):
                found += (trail if part is None or part is last else part.trail, ",")
        return "".join(found)

    def _lead_of_others(self, old: Sequence[_Part]) -> str:
        """White space in front of a new member that is not the first: without an empty line, which sets apart."""
        lead = old[-1].lead
        if len(old) == 1 and "\n" not in lead:
            return self._style.comma[1:]
        line = lead.rfind("\n")
        return self._style.newline + lead[line + 1 :] if line >= 0 else lead


def _is_flat(value: Any) -> bool:
    return is_array(value) and not any(isinstance(inner, (dict, list)) for inner in value)


def _are_same(old: Any, new: Any) -> bool:
    """Whether both are the same in every way that JSON sees: type, order of keys, sign of zero."""
    if isinstance(old, str) or isinstance(new, str):
        return bool(old == new)
    return _spelling(old) == _spelling(new)


def _spelling(value: Any) -> bytes | str:
    try:
        return orjson.dumps(value)
    except TypeError:  # whole numbers beyond 64 bits, lone surrogates
        return json.dumps(value)


# -- which member of an array has become which -------------------------------------------------------------------------


def origins(old: Sequence[Any], new: Sequence[Any]) -> list[tuple[int | None, bool]]:
    """For each new value, the old one whose text it takes, and whether it stands in that one's place.

    Equal values are matched first, as many as can be in order; what is between two of these has become one another.
    """
    before, after = list(map(_spelling, old)), list(map(_spelling, new))
    places = _equal(before, after)
    anchors = _in_order(places)
    found: list[tuple[int | None, bool]] = [(place, index in anchors) for index, place in enumerate(places)]
    taken = {place for place in places if place is not None}
    ends = [-1, *sorted(anchors), len(new)]
    for left, right in pairwise(ends):
        start = places[left] if left >= 0 else -1
        end = places[right] if right < len(new) else len(old)
        assert start is not None
        assert end is not None
        free = [index for index in range(start + 1, end) if index not in taken]
        asking = [index for index in range(left + 1, right) if places[index] is None]
        for index, origin in _pairs(old, new, free, asking):
            found[index] = (origin, True)
    return found


def _equal(before: Sequence[bytes | str], after: Sequence[bytes | str]) -> list[int | None]:
    """For each new value an old one that is equal, each once: from both ends inwards, and then the first that is."""
    places: list[int | None] = [None] * len(after)
    start, shorter = 0, min(len(before), len(after))
    while start < shorter and before[start] == after[start]:
        places[start] = start
        start += 1
    end = 0
    while end < shorter - start and before[-1 - end] == after[-1 - end]:
        places[len(after) - 1 - end] = len(before) - 1 - end
        end += 1
    known: defaultdict[bytes | str, deque[int]] = defaultdict(deque)
    for index in range(start, len(before) - end):
        known[before[index]].append(index)
    for index in range(start, len(after) - end):
        if known.get(after[index]):
            places[index] = known[after[index]].popleft()
    return places


def _in_order(places: Sequence[int | None]) -> set[int]:
    """The longest choice of matched indices whose places ascend."""
    tails: list[int] = []
    at: list[int] = []
    previous: dict[int, int] = {}
    for index, place in enumerate(places):
        if place is None:
            continue
        rank = bisect.bisect_left(tails, place)
        if rank:
            previous[index] = at[rank - 1]
        tails[rank : rank + 1], at[rank : rank + 1] = [place], [index]
    chosen: set[int] = set()
    index_or_none = at[-1] if at else None
    while index_or_none is not None:
        chosen.add(index_or_none)
        index_or_none = previous.get(index_or_none)
    return chosen


def _pairs(old: Sequence[Any], new: Sequence[Any], free: list[int], asking: list[int]) -> Iterator[tuple[int, int]]:
    """Which of the new values in a gap have become of which old ones there: (new, old), both ascending."""
    if len(free) == len(asking):
        yield from zip(asking, free, strict=True)
        return
    if len(free) * len(asking) > _MOST_COMPARED:
        yield from zip(asking, free, strict=False)
        return
    start = 0
    for index in asking:
        scores = [_likeness(old[origin], new[index]) for origin in free[start:]]
        best = max(scores, default=0)
        if best:
            start += scores.index(best)
            yield index, free[start]
            start += 1


def _likeness(old: Any, new: Any) -> int:
    """How many members two objects share; of what is no object, none."""
    if not is_object(old) or not is_object(new):
        return 0
    return sum(key in new and new[key] == value for key, value in old.items())
