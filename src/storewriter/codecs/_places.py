"""Where things are in a JSON text: line and column of a path, of a key given twice, of a number out of range.

Only for error messages: a text is walked here after a decoder has refused it, or a typed state its content. The
walk trusts the syntax up to the place that it looks for, which the decoder has read without a complaint.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from typing import Any, Final

import attrs

from storewriter.codecs import _numbers
from storewriter.codecs._protocol import DecodeError, Path

__all__ = ["error_at", "first_fault", "locate", "path_at", "spelled"]

_TOKEN: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+', re.DOTALL)
# Only the beginning of a token counts, as for the decoder: what follows in `1e400x` it has not read.
_CONSTANT: Final = re.compile(r"NaN|-?Infinity")
_NUMBER: Final = re.compile(r"-?[0-9]+(?P<rest>(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)")
_FAR: Final = 1 << 20
_PLAIN_NAME: Final = re.compile(r"[^\W\d]\w*")


@attrs.frozen
class _Place:
    """A key or a scalar, or the beginning of an object or array."""

    path: Path
    position: int
    text: str
    is_key: bool = False
    is_repeated: bool = False
    """A key that its object has already."""


@attrs.define
class _Level:
    """An object or array that is open."""

    keys: set[str] | None
    """None: an array."""
    step: str | int = 0
    wants_key: bool = False


def error_at(
    reason: str,
    text: str,
    position: int,
    path: Path | None = None,
    kind: type[DecodeError] = DecodeError,
    *,
    may_be_intact: bool | None = None,
) -> DecodeError:
    """The error with everything that follows from its place in the text."""
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    return kind(reason, position=position, line=line, column=column, path=path, may_be_intact=may_be_intact)


def path_at(text: str, position: int) -> Path:
    """Keys and indices of the value at which a decoder stopped, which has read the text before it.

    The way to the object in whose key, or in front of whose key, it stopped. Empty where that is far into a text: it is
    not worth the seconds that the walk takes.
    """
    if position > _FAR:
        return ()
    stack: list[_Level] = []
    end = 0
    for match in _TOKEN.finditer(text, 0, position):
        if '"' in text[end : match.start()]:
            break  # it stopped inside this string
        end = match.end()
        token = match[0]
        if token in ":,]}":
            _punctuate(token, stack)
        elif stack and stack[-1].wants_key:
            _key(stack[-1], token, match.start(), stack)
        elif token in "[{":
            stack.append(_Level(set() if token == "{" else None, wants_key=token == "{"))
    return _path(stack[:-1] if stack and stack[-1].wants_key else stack)


def locate(text: str, path: Path, *, key: bool = False) -> int:
    """Position of the value at `path`, or of its key; of the deepest part of the path that is there."""
    best, depth = 0, 0
    for place in _places(text):
        if place.path == path and place.is_key == (key and isinstance(path[-1], str)):
            return place.position
        shared = len(place.path)
        if not place.is_key and depth < shared <= len(path) and place.path == path[:shared]:
            best, depth = place.position, shared
    return best


def first_fault(text: str) -> DecodeError | None:
    """The first thing that is JSON's syntax, or nearly, and that no document may hold (see `json.py`)."""
    for place in _places(text):
        reason = _fault(place)
        if reason is not None:
            return error_at(reason, text, place.position, place.path, may_be_intact=True)
    return None


def spelled(path: Path) -> str:
    """A path for people: `items[2].due`."""
    parts: list[str] = []
    for step in path:
        if isinstance(step, int):
            parts.append(f"[{step}]")
        elif _PLAIN_NAME.fullmatch(step):
            parts.append(f".{step}" if parts else step)
        else:
            parts.append(f"[{json.dumps(step, ensure_ascii=False)}]")
    return "".join(parts) or "the top level"


def _fault(place: _Place) -> str | None:
    if place.is_key:
        if place.is_repeated:
            return f"the key {place.path[-1]!r} is given twice in one object; keeping one value would lose the other"
        return None
    constant = _CONSTANT.match(place.text)
    if constant is not None:
        return (
            f"{constant[0]} is not JSON (RFC 8259, section 6); Python's `json.dump` writes it unless "
            f"`allow_nan=False`. Use null or a text, or a codec of your own"
        )
    number = _NUMBER.match(place.text)
    if number is None:
        return None
    return _numbers.objection(number[0]) if number["rest"] else _too_many_digits(number[0])


def _too_many_digits(whole: str) -> str | None:
    digits, most = len(whole.lstrip("-")), sys.get_int_max_str_digits()
    return f"a whole number of {digits} digits; Python reads at most {most}" if most and digits > most else None


def _places(text: str) -> Iterator[_Place]:
    stack: list[_Level] = []
    for match in _TOKEN.finditer(text):
        token, start = match.group(), match.start()
        level = stack[-1] if stack else None
        if token in ":,]}":
            _punctuate(token, stack)
        elif level is not None and level.wants_key:
            yield _key(level, token, start, stack)
        else:
            yield _Place(_path(stack), start, token)
            if token in "[{":
                stack.append(_Level(set() if token == "{" else None, wants_key=token == "{"))


def _punctuate(token: str, stack: list[_Level]) -> None:
    if token in "]}":
        stack.pop()
    elif token == "," and stack[-1].keys is not None:
        stack[-1].wants_key = True
    elif token == "," and isinstance(stack[-1].step, int):
        stack[-1].step += 1


def _key(level: _Level, token: str, start: int, stack: list[_Level]) -> _Place:
    key: Any = json.loads(token, strict=False)
    keys = level.keys or set()
    is_repeated = key in keys
    keys.add(key)
    level.keys, level.step, level.wants_key = keys, key, False
    return _Place(_path(stack), start, token, is_key=True, is_repeated=is_repeated)


def _path(stack: list[_Level]) -> Path:
    return tuple([level.step for level in stack])
