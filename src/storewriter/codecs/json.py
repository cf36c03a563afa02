"""bytes <-> state: JSON, deterministic, and the same whatever extras are installed.

Promise    A document that decodes is encoded again without losing anything JSON can hold: whole numbers of any size
           that Python converts (`sys.get_int_max_str_digits()`, 4300 digits), the order of keys, every character, lone
           surrogates too. What cannot be kept is refused, never changed.
How        A compiled engine (orjson) does the work, and is trusted only where its work can be proven: a decoded
           document is encoded again at once, and both texts must mean the same (`_says_the_same`), in whatever layout.
           Otherwise the careful decoder of the standard library reads it: a number that is spelled otherwise (1.50) or
           beyond 64 bits, a lone surrogate, and every document that is refused. What the engine has written needs no
           proof: `encode` marks it by its type.
Decided    NaN and Infinity are not JSON (RFC 8259, section 6): refused both ways. A number that a double cannot hold
           (1e999, 1e-400, 0.10000000000000000001) is refused on reading: it could not be written back (`_numbers.py`).
           Duplicate keys are refused on reading: keeping one would lose the other at the next save. Keys must be text.
           A byte order mark at the start is accepted. The text of a number may change (1.0e2 is written as 100.0,
           0.10000000000000001 as 0.1), its value as a double does not; -0 is the double -0.0. Objects and arrays may be
           nested 254 levels deep, both ways and for every caller (`_depth.py`).
           Tuples, enum members and UUIDs are written as the arrays, values and text that they stand for, and come back
           as those: use a typed codec where the difference matters.
"""

from __future__ import annotations

import codecs
import enum
import json
import re
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Literal, NoReturn, cast

import attrs
import orjson

from storewriter.codecs import _depth, _diagnosis, _finite, _layouts, _merge, _numbers, _unwritable
from storewriter.codecs._layouts import COMPACT, TWO_SPACES, Layout
from storewriter.codecs._places import error_at, first_fault
from storewriter.codecs._protocol import DecodeError, EncodeError, TooDeep

__all__ = ["Indent", "JsonCodec", "text_of"]

Indent = int | str | None | Literal["keep"]
"""How documents are indented: see `JsonCodec.indent`."""

_MOST_SPACES: Final = 1000


def _require_indent(indent: Any) -> None:
    if indent is None or indent == "keep":
        return
    if isinstance(indent, str) and not indent.strip(" \t"):
        return
    if isinstance(indent, int) and not isinstance(indent, bool) and 0 <= indent <= _MOST_SPACES:
        return
    msg = (
        f'indent must be "keep" (the layout that the document has), None (one line), a number of spaces from 0 to '
        f"{_MOST_SPACES}, or a text of spaces or tabs, got {indent!r}"
    )
    raise ValueError(msg)


def _own_layout(codec: JsonCodec) -> Layout:
    _require_indent(codec.indent)
    if codec.indent is None or codec.indent == "keep":
        return COMPACT
    unit = codec.indent if isinstance(codec.indent, str) else " " * codec.indent
    return Layout(unit=unit.encode())


@attrs.frozen
class JsonCodec:
    """JSON, UTF-8, non-ASCII characters as they are. A value: it may be shared by stores and threads.

    Example:
        Store("settings.json", codec=JsonCodec(indent=2))

    A setting out of range is a ValueError.

    Costs: processor time of one thread, the least of many runs on a busy machine (two cores of an Intel Xeon with
    AVX-512, CPython 3.11.7, orjson 3.13.0; documents of records of 9 fields), beside the bare function:

    ===========================================  ===========  ===========  ==========
    bare -> here; decode beside `json.loads`     1 KB, us     50 KB, us    5 MB, ms
    ===========================================  ===========  ===========  ==========
    compact                                      9.8 -> 5.2   393 -> 228   49 -> 46
    two spaces                                   9.3 -> 5.5   401 -> 232   59 -> 52
    two spaces, byte order mark                  11 -> 5.4    430 -> 248   56 -> 54
    `json.dumps`                                 8.7 -> 6.2   393 -> 302   56 -> 64
    four spaces                                  10.5 -> 7.5  447 -> 361   66 -> 74
    tabs                                         10.0 -> 7.6  416 -> 341   58 -> 70
    two spaces, CRLF                             10.5 -> 8.0  429 -> 360   59 -> 69
    `json.dumps`, a quarter of a text escaped    11.6 -> 12   445 -> 466   64 -> 92
    what `encode` returned, b. `orjson.loads`    3.7 -> 3.8   169 -> 169   45 -> 50
    encode, beside `orjson.dumps`                0.6 -> 1.5   42 -> 55     5.1 -> 8.3
    the same where the document holds `null`     1.0 -> 4.8   45 -> 170    5.7 -> 21
    ===========================================  ===========  ===========  ==========

    With one number in another spelling (1e-05), decoding 50 KB takes 1.6 times as long as `json.loads`; with one whole
    number beyond 64 bits, 3.3 times.
    """

    shape: type | tuple[type, ...] | None = attrs.field(default=None, kw_only=True)
    """Type of the top level: `dict` refuses anything but an object. None: any; a store then takes its default's."""
    indent: Indent = attrs.field(default="keep", kw_only=True)
    r"""`"keep"`: an update writes a document in the layout in which it found it: indentation, white space, line ends,
    escapes (`\u00e9`, `\/`), byte order mark, final newline. Values that have not changed keep their text. A new
    document is written on one line.
    None: on one line, without spaces; a number: so many spaces a level; a text of spaces or tabs: this a level. Then a
    document is written in this layout, if an update changes anything."""
    _own: Layout = attrs.field(init=False, eq=False, repr=False, default=attrs.Factory(_own_layout, takes_self=True))

    def encode(self, state: Any) -> bytes:
        """Return `state` as a JSON document.

        Raises:
            EncodeError: It holds what JSON cannot (NaN, a key that is no text, an unknown type), is nested more than
                254 levels deep, or is not of the `shape`. The message says where in the state.
        """
        return self._encode_in(self._own, state)

    def decode(self, data: bytes) -> Any:
        """Return the state in `data`, new objects at each call.

        Raises:
            DecodeError: It is no JSON, or not of the `shape`; with line and column.
            TooDeep: It is nested more than 254 levels deep.
        """
        state = _read_own(data)
        if self.shape is not None and not isinstance(state, self.shape):
            raise self._other_shape(state)
        return state

    def decode_for_update(self, data: bytes) -> tuple[Any, Callable[[Any], bytes]]:
        """Return the state in `data`, and a function that encodes what an update makes of it in the same layout.

        Raises what `decode` raises.
        """
        again: bytes | None
        if isinstance(data, _Written) and (self.indent == "keep" or data.layout == self._own):
            layout = data.layout
            state = _read_written(data)
            again = data
        else:
            state, layout, again = _read_with_layout(data, None if self.indent == "keep" else self._own)
        if self.shape is not None and not isinstance(state, self.shape):
            raise self._other_shape(state)
        if again is data:
            return state, partial(self._encode_in, layout)
        return state, _Original(self, bytes(data), layout, again).encode

    def _other_shape(self, state: Any) -> DecodeError:
        assert self.shape is not None
        msg = f"expected {_shape_name(self.shape)} at the top level, found {_name_of(state)}"
        return DecodeError(msg, position=0, line=1, column=1, path=(), may_be_intact=True)

    def _encode_in(self, layout: Layout, state: Any) -> bytes:
        if self.shape is not None and not isinstance(state, self.shape):
            msg = f"the state must be {_shape_name(self.shape)}, got {type(state).__name__}"
            raise EncodeError(msg)
        try:
            data = orjson.dumps(state, None, layout.option)
        except TypeError:
            # Integers beyond 64 bits, lone surrogates, and everything that is no JSON: the standard encoder tells
            # the first two from the rest.
            return self._encode_carefully(layout, state)
        # Backwards is the quickest search there is.
        if data.rfind(b"null") >= 0 and (found := _finite.find(state)) is not None:
            # The engine writes NaN as null, which would be a silent change.
            msg = f"the state holds {found!r}, which JSON cannot say (RFC 8259, section 6)"
            raise _unwritable.objection(state) or EncodeError(msg)
        if layout is COMPACT:
            return _Written(data)
        written = _WrittenOtherwise(_layouts.in_layout(data, layout))
        written.layout = layout
        return written

    def _encode_carefully(self, layout: Layout, state: Any) -> bytes:
        objection = _unwritable.objection(state)
        if objection is not None:
            raise objection
        is_compact = layout.option == COMPACT.option
        try:
            text = _depth.with_room(
                json.dumps,
                state,
                ensure_ascii=False,
                allow_nan=False,
                indent=None if is_compact else 2,
                separators=(",", ":") if is_compact else None,
                default=_stands_for,
            )
        except (TypeError, ValueError, RecursionError) as error:
            msg = f"the state cannot be written as JSON: {error}"
            raise _unwritable.of_text(state) or EncodeError(msg) from error
        if (pair := _SURROGATE_PAIR.search(text)) is not None:
            msg = f"two lone surrogates stand side by side ({pair[0]!a}); JSON would make one character of them"
            raise _unwritable.of_text(state) or EncodeError(msg)
        # What UTF-8 cannot encode (a lone surrogate) occurs only inside strings, where JSON has an escape for it.
        return _layouts.in_layout(text.encode("utf-8", "backslashreplace") + b"\n", layout)

    def _merged(self, data: bytes, new: bytes, layout: Layout) -> bytes:
        """The document `data`, changed to hold the state of `new`, which is written in this layout."""
        try:
            text = _depth.with_room(_merge.merged, data.decode("utf-8"), _read_own(new), layout)
        except RecursionError:
            return new
        made = text.encode("utf-8")
        # Used only if it means the same: otherwise the layout is lost, and not the state.
        try:
            says_the_same = self._encode_in(layout, _read(made)) == new
        except DecodeError:
            return new
        return made if says_the_same else new


@attrs.frozen(eq=False)
class _Original:
    """A document as it was read, which does not come out as it is if its state is written in one layout."""

    _codec: JsonCodec
    _data: bytes
    _layout: Layout
    """The codec's own, or what the document is mostly laid out in."""
    _again: bytes | None
    """Its state, written in this layout; None: not known yet."""

    def encode(self, state: Any) -> bytes:
        codec, layout = self._codec, self._layout
        new = codec._encode_in(layout, state)
        again = codec._encode_in(layout, _read(self._data)) if self._again is None else self._again
        if new == again:
            return self._data
        if codec.indent != "keep" or again == self._data:  # the same layout throughout, read by the standard library
            return new
        return codec._merged(self._data, new, layout)


class _Written(bytes):
    """A document that the engine wrote, of a state without a NaN: the engine reads it back without a loss.

    It refuses what it could not read back exactly: whole numbers beyond 64 bits and lone surrogates.
    """

    __slots__ = ()
    layout: Layout = COMPACT


class _WrittenOtherwise(_Written):
    """One in another layout. A class of its own, because a `bytes` object that has attributes costs more."""

    layout: Layout


def _read_own(data: bytes) -> Any:
    return _read_written(data) if isinstance(data, _Written) else _read(data)


def _read_written(data: _Written) -> Any:
    view = memoryview(data)  # the engine takes no subclass of bytes, but a view of one
    return orjson.loads(view[_MARK_SIZE:] if data.layout.has_mark else view)


_MARK_SIZE: Final = len(codecs.BOM_UTF8)


def _read(data: bytes) -> Any:
    data = data.removeprefix(codecs.BOM_UTF8)
    is_flat = False
    has_two_spaces = data[1:4] == b"\n  " and data[4:5] != b" "
    try:
        state = orjson.loads(data)
        again = orjson.dumps(state, None, (TWO_SPACES if has_two_spaces else COMPACT).option)
        is_flat = True  # or the engine would not have written it
        if _says_the_same(data, again):
            return state
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        pass
    return _decode_or_say_why(data, is_flat)


def _decode_or_say_why(data: bytes, is_flat: bool) -> Any:
    try:
        return _decode_carefully(data, is_flat)
    except DecodeError as error:
        raise _diagnosis.named(data, _text_if_utf8(data), error) from error.__cause__


def _text_if_utf8(data: bytes) -> str | None:
    try:
        return text_of(data)
    except DecodeError:
        return None


def _read_with_layout(data: bytes, own: Layout | None) -> tuple[Any, Layout, bytes | None]:
    """The state of a document, its layout (`own`, if that is given), and the state, written in that.

    This is `data` itself if the document is in that layout throughout; None if the engine cannot be trusted with it.
    """
    is_flat = False
    try:
        state = orjson.loads(data)
        layout = own or (TWO_SPACES if data[1:4] == b"\n  " and data[4:5] != b" " else COMPACT)
        written = orjson.dumps(state, None, layout.option)
        if written == data and layout.is_engines:
            return state, layout, data
        is_flat = True
        if own is None and len(written) == len(data) + 1 and written.startswith(data):
            return state, _layouts.unended(layout), data
        layout = own or _layouts.detected(data)
        again = _in_layout_or_itself(state, layout, data)
        if again is data or _says_the_same(data, written):
            return state, layout, again
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        if data.startswith(codecs.BOM_UTF8) or type(data) is not bytes:  # neither of which the engine takes
            return _read_with_mark(bytes(data), own)
    return _decode_or_say_why(data.removeprefix(codecs.BOM_UTF8), is_flat), own or _layouts.detected(data), None


def _read_with_mark(data: bytes, own: Layout | None) -> tuple[Any, Layout, bytes | None]:
    state = _read(data)
    layout = own if own is not None else _layouts.detected(data)
    try:
        return state, layout, _in_layout_or_itself(state, layout, data)
    except orjson.JSONEncodeError:  # what only the careful encoder can write
        return state, layout, None


def _in_layout_or_itself(state: Any, layout: Layout, data: bytes) -> bytes:
    again = _layouts.in_layout(orjson.dumps(state, None, layout.option), layout)
    return data if again == data else again


# -- two texts that mean the same --------------------------------------------------------------------------------------
#
# One that the engine has read, and one that it has written of what it read. They are called the same only if the engine
# has lost nothing: no member of an object that has its key twice, no digit of a number. Strings it reads as they are,
# or refuses. Both texts are stripped of white space and, if they still differ, of every character that has several
# spellings and occurs in strings only; then they are compared. What is left holds all brackets, commas, colons and
# numbers, and the quotation marks around each string (those inside are escapes, and gone or alike in both). So equal
# texts have the same values in the same places, and every number as it was spelled. Where only numbers differ, they
# must be the same double: digits hold no quotation mark, so that what follows is inside or outside of a string in both
# texts alike.

_WHITE: Final = b" \t\r\n"
_SPELLED_IN_SEVERAL_WAYS: Final = _WHITE + b"&'/<>" + bytes(range(0x7F, 0x100))
"""White space, and what some programs write as it is and others as escapes: Python, Go, PHP."""
_ESCAPED: Final = re.compile(rb"\\(?:u....(?:\\u....)*|.)", re.DOTALL)

_DOUBLE: Final = re.compile(rb"(.*[:\[]|)(-?[0-9]+[.eE][-+.eE0-9]+)([\]}]*)", re.DOTALL)


def _says_the_same(data: bytes, again: bytes) -> bool:
    """Whether a document holds no more than `again`, which the engine has written of what it has read in it."""
    if 0 <= len(again) - len(data) <= 1 and again.startswith(data):
        return True  # in the engine's own layout, final newline or not
    if data.isascii() == again.isascii():  # or one has escapes for what the other has as it is
        if _are_alike(data.translate(None, _WHITE), again.translate(None, _WHITE)):
            return True
        if b"\\" not in data:
            return False
    return _are_alike(_stripped(data), _stripped(again))


def _stripped(text: bytes) -> bytes:
    if b"\\" in text:
        text = _ESCAPED.sub(b"", text)
    return text.translate(None, _SPELLED_IN_SEVERAL_WAYS)


def _are_alike(text: bytes, other: bytes) -> bool:
    if text == other:
        return True
    parts, others = text.split(b","), other.split(b",")
    if len(parts) != len(others):
        return False
    return all(_end_in_same_double(*pair) for pair in zip(parts, others, strict=True) if pair[0] != pair[1])


def _end_in_same_double(part: bytes, other: bytes) -> bool:
    found, again = _DOUBLE.fullmatch(part), _DOUBLE.fullmatch(other)
    if found is None or again is None or found[1] != again[1] or found[3] != again[3]:
        return False
    try:
        return repr(_numbers.kept(found[2].decode())) == repr(float(again[2]))
    except ValueError:
        return False


# -- names, and what cannot be written ---------------------------------------------------------------------------------

_JSON_NAMES: dict[type, str] = {
    dict: "an object",
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


def _name_of(value: Any) -> str:
    kind = cast("type[object]", type(value))
    return _JSON_NAMES[kind]


def _shape_name(shape: type | tuple[type, ...]) -> str:
    kinds = shape if isinstance(shape, tuple) else (shape,)
    return " or ".join(_JSON_NAMES.get(kind, kind.__name__) for kind in kinds)


_SURROGATE_PAIR: Final = re.compile("[\ud800-\udbff][\udc00-\udfff]")


def _stands_for(value: Any) -> Any:
    return value.value if isinstance(value, enum.Enum) else str(value)


def text_of(data: bytes) -> str:
    """The text of a document, without a byte order mark. Raises DecodeError if it is not UTF-8."""
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        return data.decode("utf-8")  # not "utf-8-sig", which Python imports at its first use
    except UnicodeDecodeError as error:
        before = data[: error.start]
        reason = f"not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}"
        line = before.count(b"\n") + 1
        column = error.start - (before.rfind(b"\n") + 1) + 1
        raise DecodeError(reason, position=error.start, line=line, column=column) from error


def _decode_carefully(data: bytes, is_flat: bool) -> Any:
    """Read with the standard library. `is_flat`: whether it is known that the nesting is within the limit."""
    text = text_of(data)
    if not text.strip():
        raise DecodeError("the file is empty", position=0, line=1, column=1)
    deep = None if is_flat else _depth.beyond(text)
    if deep is not None:
        raise _too_deep(text, deep)
    return _decode_text(text)


def _too_deep(text: str, deep: int) -> DecodeError:
    """The error for a text that is nested too deeply from `deep` on, or has a fault before that."""
    try:
        _decode_text(text[:deep])
    except DecodeError as error:
        if error.position is not None and error.position < deep:
            return error
    return error_at(f"nested more than {_depth.MOST} levels deep", text, deep, kind=TooDeep)


def _decode_text(text: str) -> Any:
    try:
        return _depth.with_room(_DECODER.decode, text)
    except json.JSONDecodeError as error:
        raise _syntax_error(error, text) from error
    except RecursionError as error:
        reason = f"nested too deeply for a recursion limit of {sys.getrecursionlimit()}"
        raise TooDeep(reason, position=0, line=1, column=1) from error
    except ValueError as error:  # from the functions below, or a whole number with more digits than Python converts
        raise first_fault(text) or DecodeError(str(error), may_be_intact=True) from error


def _syntax_error(error: json.JSONDecodeError, text: str) -> DecodeError:
    """In the same words on every Python: from 3.13 on it has some of its own for a comma after the last value."""
    at = _BLANK.match(text, error.pos + error.msg.startswith("Illegal trailing comma")).end()  # type: ignore[union-attr]
    closing = text[at : at + 1]
    if closing and closing in "]}" and text[:at].rstrip().endswith(","):
        return error_at(f"a comma before `{closing}`; JSON allows none there", text, at)
    return error_at(error.msg, text, error.pos)


_BLANK: Final = re.compile(r"[ \t\r\n]*")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found


def _no_constant(text: str) -> NoReturn:
    msg = f"{text} is not JSON"
    raise ValueError(msg)


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_numbers.kept, parse_int=_numbers.whole, parse_constant=_no_constant
)
