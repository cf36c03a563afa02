r"""How a JSON document is laid out: found out from one, and given to another.

Promise    `in_layout` does not change a document's meaning. Whether a document is in a layout throughout is proven by
           the caller: its state, written in that layout, gives the same bytes.
How        The engine writes compact documents and those of two spaces. The others are made of the latter by a few
           replacements at the speed of a search: the engine writes one value or bracket a line, and no raw line break,
           NUL or slash occurs anywhere but where it is looked for.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

import attrs
import orjson

__all__ = ["COMPACT", "TWO_SPACES", "Layout", "detected", "in_layout", "unended"]

_ENGINE: Final = (
    orjson.OPT_APPEND_NEWLINE
    | orjson.OPT_PASSTHROUGH_SUBCLASS
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
)
_DEEP: Final = 24
"""So many levels that a pass over the document for each takes longer than a look at each line."""
_RUN_OF_SPACES: Final = re.compile(rb"\n( +)")
_NOT_ASCII: Final = re.compile("[^\x00-\x7f]+")
_ASTRAL: Final = re.compile("[\U00010000-\U0010ffff]+")

_COLON: Final = re.compile(rb'[^\\]"(?P<before>[ \t]*):(?P<after>[ \t]*)')
_FIRST_LINE: Final = re.compile(rb"\s*+[\[{](?P<inside>[^\n]*+)\n(?P<indent>[ \t]*)")
_AN_INDENT: Final = re.compile(rb"\n([ \t]+)")
_ESCAPED_NOT_ASCII: Final = re.compile(rb"\\u(?!00[0-7])")


def _option(layout: Layout) -> int:
    return _ENGINE if layout.unit is None and not layout.is_spaced else _ENGINE | orjson.OPT_INDENT_2


def _is_engines(layout: Layout) -> bool:
    is_odd = layout.is_spaced or layout.escapes or layout.escapes_slash or layout.has_mark
    has_newlines = layout.newline == b"\n" and layout.ends_with_newline
    return layout.unit in (None, b"  ") and has_newlines and not is_odd


@attrs.frozen
class Layout:
    """A layout that is the same from the first line of a document to the last."""

    unit: bytes | None = None
    """The indentation of one level, which may be none; None: everything on one line."""
    is_spaced: bool = False
    """On one line, `, ` and `: `, as Python's `json.dumps` writes them, and not `,` and `:`."""
    newline: bytes = b"\n"
    escapes: bool = False
    r"""Whether characters that are not ASCII are written as `\u...`."""
    escapes_slash: bool = False
    r"""Whether `/` is written as `\/`, as PHP does."""
    has_mark: bool = False
    """A byte order mark at the start."""
    ends_with_newline: bool = True
    option: int = attrs.field(init=False, eq=False, repr=False, default=attrs.Factory(_option, takes_self=True))
    """What the engine is to write, to begin with."""
    is_engines: bool = attrs.field(
        init=False, eq=False, repr=False, default=attrs.Factory(_is_engines, takes_self=True)
    )
    """Whether the engine's document is in this layout as it is."""


COMPACT: Final = Layout()
TWO_SPACES: Final = Layout(unit=b"  ")
_UNENDED: Final = Layout(ends_with_newline=False)
_UNENDED_TWO_SPACES: Final = Layout(unit=b"  ", ends_with_newline=False)


def unended(layout: Layout) -> Layout:
    """One of the two above without a final newline, as JavaScript's `JSON.stringify` writes."""
    return _UNENDED if layout is COMPACT else _UNENDED_TWO_SPACES


def detected(data: bytes) -> Layout:
    """The layout that a document seems to have: a guess from its first lines and characters."""
    body = data.removeprefix(codecs.BOM_UTF8)
    text = body.strip()
    is_multiline = b"\n" in text
    return Layout(
        unit=_unit(body) if is_multiline else None,
        is_spaced=not is_multiline and _is_spaced(text),
        newline=b"\r\n" if body.count(b"\r\n") * 2 > body.count(b"\n") else b"\n",
        escapes=b"\\u" in body and body.isascii() and _ESCAPED_NOT_ASCII.search(body) is not None,
        escapes_slash=b"\\/" in body,
        has_mark=len(body) != len(data),
        ends_with_newline=body.endswith(b"\n"),
    )


def _unit(body: bytes) -> bytes:
    first = _FIRST_LINE.match(body)
    if first is not None and not first["inside"].strip():
        return first["indent"]
    indent = _AN_INDENT.search(body)
    return b"  " if indent is None else indent[1]


def _is_spaced(text: bytes) -> bool:
    colon = _COLON.search(text)
    return b", " in text if colon is None else bool(colon["after"])


def in_layout(data: bytes, layout: Layout) -> bytes:
    """The engine's document (`layout.option`) in another layout."""
    if layout.is_engines:
        return data
    data = data[:-1]
    if layout.is_spaced:
        data = _with_indents(data, b"").replace(b",\n", b", ").translate(None, b"\n")
    elif layout.unit not in (None, b"  "):
        data = _with_indents(data, layout.unit or b"")
    if layout.escapes_slash:
        data = data.replace(b"/", b"\\/")
    if layout.escapes and not data.isascii():
        data = _in_ascii(data)
    if layout.newline != b"\n":
        data = data.replace(b"\n", layout.newline)
    mark = codecs.BOM_UTF8 if layout.has_mark else b""
    return b"".join((mark, data, layout.newline if layout.ends_with_newline else b""))


def _with_indents(data: bytes, unit: bytes) -> bytes:
    """Each line of a document of two spaces with another indentation."""
    depth = 0
    while depth < _DEEP and b"\n" + b"  " * (depth + 1) in data:
        depth += 1
    if depth == _DEEP:
        return _RUN_OF_SPACES.sub(lambda run: b"\n" + unit * (len(run[1]) // 2), data)
    # The deepest lines first, so that each is found once. A NUL, which JSON has as an escape only, stands for a
    # character of the new indentation, so that no line is found again.
    for level in range(depth, 0, -1):
        data = data.replace(b"\n" + b"  " * level, b"\n" + b"\0" * (len(unit) * level))
    kinds = set(unit)
    if len(kinds) == 1:
        return data.translate(bytes.maketrans(b"\0", unit[:1]))
    if not kinds:
        return data
    # Spaces and tabs together
    return data.replace(b"\0" * len(unit), unit)


def _in_ascii(data: bytes) -> bytes:
    text = data.decode("utf-8")
    if b"\\x" in data or b"\\U" in data:  # an escaped backslash before one of the letters that are looked for below
        return _NOT_ASCII.sub(_escaped, text).encode("ascii")
    made = text.encode("ascii", "backslashreplace")
    if b"\\U" in made:
        made = _ASTRAL.sub(_escaped, text).encode("ascii", "backslashreplace")
    return made.replace(b"\\x", b"\\u00")


def _escaped(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be").hex()
    return "\\u" + "\\u".join(units[at : at + 4] for at in range(0, len(units), 4))
