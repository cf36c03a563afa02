"""bytes <-> state: JSON, deterministic, and the same whatever extras are installed.

Promise    A document that decodes is encoded again without losing anything JSON can say: whole numbers of any size
           that Python converts (`sys.get_int_max_str_digits()`, 4300 digits), the order of keys, every character, lone
           surrogates too. What cannot be kept is refused, never changed.
How        A compiled engine (orjson) does the work, and is trusted only where its work can be proven: a decoded
           document is encoded again at once, and both texts must say the same (`_same_text.py`), in whatever layout.
           Otherwise the careful decoder of the standard library reads it: a number that is spelled otherwise (1.50) or
           beyond 64 bits, a lone surrogate, and every document that is refused. What the engine has written needs no
           proof: `encode` marks it by its type.
Decided    NaN and Infinity are not JSON (RFC 8259, section 6): refused both ways. A number that no double says (1e999,
           1e-400, 0.10000000000000000001) is refused on reading, because it could not be written back (`_numbers.py`).
           Duplicate keys are refused on reading: keeping one would lose the other at the next save. Keys must be text.
           A byte order mark at the start is accepted and dropped. The text of a number may change (1.0e2 is written as
           100.0, 0.10000000000000001 as 0.1), the double that it says not. Objects and arrays may be nested 254 levels
           deep, both ways and for every caller (`_depth.py`).
           Tuples, enum members and UUIDs are written as the arrays, values and text that they stand for, and come back
           as those: use a typed codec where the difference matters.
"""

from __future__ import annotations

import codecs
import enum
import json
import re
import sys
from typing import Any, Final, NoReturn, cast

import attrs
import orjson

from storewriter.codecs import _depth, _diagnosis, _finite, _numbers, _same_text, _unwritable
from storewriter.codecs._places import error_at, first_fault
from storewriter.codecs._protocol import DecodeError, EncodeError, TooDeep

__all__ = ["JsonCodec", "text_of"]

_COMPACT: Final = (
    orjson.OPT_APPEND_NEWLINE
    | orjson.OPT_PASSTHROUGH_SUBCLASS
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
)
_INDENTED: Final = _COMPACT | orjson.OPT_INDENT_2


@attrs.frozen
class JsonCodec:
    """JSON, UTF-8, non-ASCII characters as they are, one newline at the end.

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
    indent: int | None = attrs.field(default=None, validator=attrs.validators.in_((None, 2)), kw_only=True)
    """None: compact; 2: two spaces a level, for people and for `git diff`."""

    def encode(self, state: Any) -> bytes:
        """See `Codec`. Raises EncodeError for NaN, keys that are not text, unknown types, another shape, deep nests."""
        if self.shape is not None and not isinstance(state, self.shape):
            msg = f"the state must be {_shape_name(self.shape)}, got {type(state).__name__}"
            raise EncodeError(msg)
        try:
            data = orjson.dumps(state, None, _INDENTED if self.indent else _COMPACT)
        except TypeError:
            # Integers beyond 64 bits, lone surrogates, and everything that is no JSON: the standard encoder tells
            # the first two from the rest.
            return self._encode_carefully(state)
        # Backwards is the quickest search there is.
        if data.rfind(b"null") >= 0 and (found := _finite.find(state)) is not None:
            # The engine writes NaN as null, which would be a silent change.
            msg = f"the state holds {found!r}, which JSON cannot say (RFC 8259, section 6)"
            raise _unwritable.objection(state) or EncodeError(msg)
        return _Written(data)

    def decode(self, data: bytes) -> Any:
        """See `Codec`. Raises DecodeError with line and column."""
        # The engine takes no subclass of bytes, but a view of one.
        state = orjson.loads(memoryview(data)) if type(data) is _Written else _read(data)
        if self.shape is not None and not isinstance(state, self.shape):
            msg = f"expected {_shape_name(self.shape)} at the top level, found {_name_of(state)}"
            raise DecodeError(msg, position=0, line=1, column=1, path=(), may_be_intact=True)
        return state

    def _encode_carefully(self, state: Any) -> bytes:
        objection = _unwritable.objection(state)
        if objection is not None:
            raise objection
        try:
            text = _depth.with_room(
                json.dumps,
                state,
                ensure_ascii=False,
                allow_nan=False,
                indent=self.indent,
                separators=None if self.indent else (",", ":"),
                default=_stands_for,
            )
        except (TypeError, ValueError, RecursionError) as error:
            msg = f"the state cannot be written as JSON: {error}"
            raise _unwritable.of_text(state) or EncodeError(msg) from error
        if (pair := _SURROGATE_PAIR.search(text)) is not None:
            msg = f"two lone surrogates stand side by side ({pair[0]!a}); JSON would make one character of them"
            raise _unwritable.of_text(state) or EncodeError(msg)
        # What UTF-8 cannot say (a lone surrogate) stands only inside strings, where JSON can say it as an escape.
        return text.encode("utf-8", "backslashreplace") + b"\n"


class _Written(bytes):
    """A document that the engine wrote, of a state without a NaN: the engine reads it back without a loss.

    It refuses what it could not read back exactly: whole numbers beyond 64 bits and lone surrogates.
    """

    __slots__ = ()


def _read(data: bytes) -> Any:
    data = data.removeprefix(codecs.BOM_UTF8)
    is_flat = False
    try:
        state = orjson.loads(data)
        again = orjson.dumps(state, None, _INDENTED if _same_text.has_two_spaces(data) else _COMPACT)
        is_flat = True  # or the engine would not have written it
        if _same_text.says_the_same(data, again):
            return state
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        pass
    try:
        return _decode_carefully(data, is_flat)
    except DecodeError as error:
        raise _diagnosis.named(data, _text_if_utf8(data), error) from error.__cause__


def _text_if_utf8(data: bytes) -> str | None:
    try:
        return text_of(data)
    except DecodeError:
        return None


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
        return data.decode("utf-8")  # not "utf-8-sig", which Python imports when it is asked for
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


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_numbers.kept, parse_constant=_no_constant)
