"""JSON as text: read it piece by piece, and change a member without touching any other character.

Promise    What is not changed stays as it was written: unknown fields, the spelling of numbers, repeated
           keys, layout.
How        Values are located with the standard library's scanner; an edit replaces the characters of one
           value.
Does not   judge what the values mean (`record` does) or know where the text came from (`codec` does).
Fails by   MalformedJson, with the offset of the first fault.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple, TypeAlias, cast

Edit: TypeAlias = "str | Mapping[str, Edit] | None"
"""What to do with a member: give it this JSON text as its value, edit the object it holds, or remove it."""

_SPACES = (" ", "\t", "\n", "\r")
_SPACE = re.compile(r"[ \t\n\r]*")
_STRING_OR_CONSTANT = re.compile(r'"(?:[^"\\]|\\.)*"|NaN|-?Infinity')
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{},:]|[^\s\[\]{},:"]+')


class MalformedJson(Exception):
    """The text is not JSON. `position` is the offset of the character where it stops being so."""

    def __init__(self, reason: str, position: int) -> None:
        super().__init__(reason, position)
        self.reason = reason
        self.position = position


class _NotJsonConstant(ValueError):
    """`NaN` or `Infinity`, which Python's reader would accept and no other does."""


def _refuse_constant(name: str) -> Any:
    raise _NotJsonConstant(name)


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def skip_space(text: str, at: int) -> int:
    """Return the offset of the first character from `at` on that is not JSON white space."""
    if text[at : at + 1] not in _SPACES:  # mostly there is none
        return at
    found = _SPACE.match(text, at)
    return found.end() if found else at


def value_at(text: str, at: int) -> tuple[Any, int]:
    """Return the JSON value that begins at `at`, and the offset behind it.

    Raises MalformedJson if there is none, if it has a fault, or if it cannot be held.
    """
    try:
        return _DECODER.raw_decode(text, at)
    except json.JSONDecodeError as error:
        raise MalformedJson(error.msg, error.pos) from None
    except _NotJsonConstant as error:
        raise MalformedJson(f"{error} is not JSON", _constant_from(text, at)) from None
    except RecursionError:
        raise MalformedJson("nested too deeply", at) from None
    except ValueError as error:  # an integer with more digits than Python converts
        raise MalformedJson(str(error), at) from None


def _constant_from(text: str, at: int) -> int:
    """Where NaN or Infinity stands: the scanner does not return it."""
    found = _STRING_OR_CONSTANT.finditer(text, at)
    return next((match.start() for match in found if not match[0].startswith('"')), at)


def scan_object(text: str, at: int, member: Callable[[str, int], int]) -> int:
    """Walk the object that begins at `at`; return the offset behind it. Raises MalformedJson.

    `member(key, value_at)` is called for each member in order; it reads the value and returns the offset behind it.
    """

    def item(at: int) -> int:
        if not text.startswith('"', at):
            raise MalformedJson("a property name in double quotes is expected", at)
        key, key_end = value_at(text, at)
        return member(key, skip_space(text, _expect(text, skip_space(text, key_end), ":")))

    return _scan(text, at, "{}", item)


def scan_array(text: str, at: int, item: Callable[[int], int]) -> int:
    """Walk the array that begins at `at`; return the offset behind it. Raises MalformedJson.

    `item(at)` is called for each item in order; it reads the item and returns the offset behind it.
    """
    return _scan(text, at, "[]", item)


def _scan(text: str, at: int, brackets: str, item: Callable[[int], int]) -> int:
    at = skip_space(text, _expect(text, at, brackets[0]))
    if text.startswith(brackets[1], at):
        return at + 1
    while True:
        end = skip_space(text, item(at))
        if text.startswith(brackets[1], end):
            return end + 1
        at = skip_space(text, _expect(text, end, ","))


def _expect(text: str, at: int, character: str) -> int:
    if not text.startswith(character, at):
        raise MalformedJson(f"'{character}' is expected", at)
    return at + 1


def encode_value(value: object) -> str:
    """Return JSON text on one line; non-ASCII as itself, a lone surrogate (no UTF-8 can hold it) escaped.

    Numbers are spelled as by OpenClaw's JavaScript: `1`, not `1.0`. Raises ValueError for one that is not finite.
    """
    if isinstance(value, Mapping):
        members = cast("Mapping[str, object]", value).items()
        return "{" + ", ".join(f"{encode_value(name)}: {encode_value(each)}" for name, each in members) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(encode_value, cast("list[object]", value))) + "]"
    return _number(value) if isinstance(value, float) else _escaped(json.dumps(value, ensure_ascii=False))


def laid_out(text: str, indent: str = "") -> str:
    """Return JSON text with a line for each member and item, two spaces deeper than `indent` or what it is in.

    Only white space differs: strings and numbers are spelled as they were.
    """
    pieces: list[str] = []
    line = f"\n{indent}"
    for token in _TOKEN.findall(text):
        if token in "[{":
            line += "  "
            pieces += token, line
        elif token in "]}":
            line = line[:-2]
            if pieces[-1].isspace():  # nothing is in it
                pieces.pop()
                pieces.append(token)
            else:
                pieces += line, token
        else:
            pieces += token, line if token == "," else " " if token == ":" else ""
    return "".join(pieces)


def _number(value: float) -> str:
    """The number as JavaScript's JSON.stringify spells it: in full from 1e-6 to 1e21, exponents without a zero."""
    text = json.dumps(value, allow_nan=False)
    if 1e-6 <= abs(value) < 1e21:
        return format(Decimal(text), "f").removesuffix(".0")
    return text.replace("e-0", "e-") if value else "0"


def _escaped(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


class _Member(NamedTuple):
    """One member of an object: its key, what stands in front of its value, the value, and the white space behind."""

    key: str
    before: str
    value: str
    after: str


def edit_object(text: str, edits: Mapping[str, Edit]) -> str:
    """Return the object `text`, which has a member and no white space around it, with some members changed.

    Every other character is kept. New keys are appended, laid out as the last member is. Where a key is
    repeated, the last one counts, as every JSON reader has it, and is the one changed; a removal removes
    each.
    """
    members, closing = _members_of(text)
    counting = {member.key: member for member in members}
    last = members[-1].before
    lead, colon = last[: last.index('"')], last[last.rindex('"') + 1 :]
    added = [_Member(key, lead + encode_value(key) + colon, "{}", "") for key in edits if key not in counting]
    edited: list[str] = []
    for member in members + added:
        edit = edits.get(member.key, member.value)
        if edit is not None:
            is_meant = counting.get(member.key, member) is member
            edited.append(member.before + (_edited(member.value, edit) if is_meant else member.value) + member.after)
    return "{" + ",".join(edited) + closing + "}"


def _edited(value: str, edit: str | Mapping[str, Edit]) -> str:
    return edit if isinstance(edit, str) else edit_object(value, edit)


def _members_of(text: str) -> tuple[list[_Member], str]:
    """Return the members of an object that was read before, and the white space before its closing brace."""
    members: list[_Member] = []
    begin = 1

    def note(key: str, at: int) -> int:
        nonlocal begin
        _, end = value_at(text, at)
        behind = skip_space(text, end)
        members.append(_Member(key, text[begin:at], text[at:end], text[end:behind]))
        begin = behind + 1
        return end

    scan_object(text, 0, note)
    closing = members[-1].after
    members[-1] = members[-1]._replace(after="")
    return members, closing
