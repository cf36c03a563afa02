"""bytes <-> state: JSON by default, deterministic, and the same whatever extras are installed.

Promise    A document that decodes is encoded again without losing anything JSON can say: integers of any size, the
           order of keys, every character, lone surrogates too. What cannot be kept is refused, never changed.
How        A compiled engine (orjson) does the work, and is trusted only where its work can be proven: a decoded
           document is encoded again at once, and if the bytes are not the same, the careful decoder of the standard
           library reads it instead. So our own documents are fast, and foreign ones are exact.
Decided    NaN and Infinity are not JSON (RFC 8259, section 6): refused both ways. A number beyond the range of a
           double (1e999) is refused on reading, because it could not be written back. Duplicate keys are refused on
           reading: keeping one would lose the other at the next save. Keys must be text. A byte order mark at the
           start is accepted and dropped. The text of a number may change (1.0e2 is written as 100.0), its value not.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, Generic, NoReturn, Protocol, TypeVar

import attrs
import orjson

__all__ = ["Codec", "DecodeError", "EncodeError", "JsonCodec"]

S = TypeVar("S")


class Codec(Protocol[S]):
    """Two functions. Anything that has them can be a store's codec.

    `decode(encode(state))` must equal `state`, and equal states must give equal bytes: bytes are compared to know
    whether anything changed. A codec is shared by threads and compared with `==` to know whether two stores agree.
    """

    def encode(self, state: S) -> bytes:
        """The document. Raise any exception for a state that cannot be kept: it reaches the caller who made it."""
        ...

    def decode(self, data: bytes) -> S:
        """The state, as an object of its own at every call. Raise `DecodeError` (or any ValueError) otherwise."""
        ...


class DecodeError(ValueError):
    """The bytes are not a document of this codec. Stores turn it into `StoreCorrupt`, which names the file."""

    def __init__(
        self, reason: str, *, position: int | None = None, line: int | None = None, column: int | None = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.position = position
        """Offset from 0, if known."""
        self.line = line
        """From 1, if known."""
        self.column = column
        """From 1, if known."""


class EncodeError(ValueError):
    """The state cannot be written as a document of this codec."""


_BASE = orjson.OPT_APPEND_NEWLINE | orjson.OPT_PASSTHROUGH_SUBCLASS
_BASE |= orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME


@attrs.frozen
class JsonCodec:
    """JSON, UTF-8, non-ASCII characters as they are, one newline at the end."""

    shape: type | tuple[type, ...] | None = attrs.field(default=None, kw_only=True)
    """Type of the top level: `dict` refuses anything but an object. None: any; a store then takes its default's."""
    indent: int | None = attrs.field(
        default=None, validator=attrs.validators.in_((None, 2)), kw_only=True
    )
    """None: compact; 2: two spaces a level, for people and for `git diff`."""

    def encode(self, state: Any) -> bytes:
        """See `Codec`. Raises EncodeError for NaN, keys that are not text, unknown types, another shape."""
        if self.shape is not None and not isinstance(state, self.shape):
            msg = f"the state must be {_shape_name(self.shape)}, got {type(state).__name__}"
            raise EncodeError(msg)
        try:
            data = orjson.dumps(state, None, _BASE | orjson.OPT_INDENT_2 if self.indent else _BASE)
        except TypeError:
            # Integers beyond 64 bits, lone surrogates, and everything that is no JSON: the standard encoder tells
            # the first two from the rest.
            return self._encode_carefully(state)
        if b"null" in data:
            # The engine writes NaN as null, which would be a silent change.
            _refuse_nan(state)
        return data

    def decode(self, data: bytes) -> Any:
        """See `Codec`. Raises DecodeError with line and column."""
        try:
            state = orjson.loads(data)
            exact = orjson.dumps(state, None, _BASE | orjson.OPT_INDENT_2 if self.indent else _BASE) == data
        except (ValueError, TypeError, RecursionError):
            exact = False
        if not exact:
            state = _decode_carefully(data)
        if self.shape is not None and not isinstance(state, self.shape):
            msg = f"expected {_shape_name(self.shape)} at the top level, found {_JSON_NAMES.get(type(state), '?')}"
            raise DecodeError(msg, position=0, line=1, column=1)
        return state

    def _encode_carefully(self, state: Any) -> bytes:
        _refuse_strangers(state)
        try:
            text = json.dumps(
                state,
                ensure_ascii=False,
                allow_nan=False,
                indent=self.indent,
                separators=None if self.indent else (",", ":"),
            )
        except (TypeError, ValueError, RecursionError) as error:
            msg = f"the state cannot be written as JSON: {error}"
            raise EncodeError(msg) from error
        # What UTF-8 cannot say (a lone surrogate) stands only inside strings, where JSON can say it as an escape.
        return text.encode("utf-8", "backslashreplace") + b"\n"


_JSON_NAMES: dict[type, str] = {
    dict: "an object",
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


def _shape_name(shape: type | tuple[type, ...]) -> str:
    kinds = shape if isinstance(shape, tuple) else (shape,)
    return " or ".join(_JSON_NAMES.get(kind, kind.__name__) for kind in kinds)


def _refuse_nan(state: Any) -> None:
    """Look for NaN and Infinity; only called when the output has a null, which they would have become."""
    pending = [state]
    while pending:
        value = pending.pop()
        kind = type(value)
        if kind is dict:
            pending.extend(value.values())
        elif kind is list or kind is tuple:
            pending.extend(value)
        elif kind is float and not math.isfinite(value):
            msg = f"the state holds {value!r}, which JSON cannot say (RFC 8259, section 6)"
            raise EncodeError(msg)


_PLAIN = (str, int, float, bool, type(None))


def _refuse_strangers(state: Any) -> None:
    """Refuse what the standard encoder would quietly turn into something else: keys that are not text, subclasses."""
    pending = [state]
    seen = 0
    while pending:
        value = pending.pop()
        kind = type(value)
        if kind is dict:
            for key in value:
                if type(key) is not str:
                    msg = f"the key {key!r} is not text; as JSON it would come back as another key"
                    raise EncodeError(msg)
            pending.extend(value.values())
        elif kind is list or kind is tuple:
            pending.extend(value)
        elif kind not in _PLAIN:
            msg = f"{kind.__name__} cannot be written as JSON; put plain values into the state"
            raise EncodeError(msg)
        seen += 1
        if seen > _MOST_VALUES:
            msg = "the state refers to itself, or is too large for JSON"
            raise EncodeError(msg)


_MOST_VALUES = 50_000_000


def _decode_carefully(data: bytes) -> Any:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        reason = f"not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}"
        line = before.count(b"\n") + 1
        column = error.start - (before.rfind(b"\n") + 1) + 1
        raise DecodeError(reason, position=error.start, line=line, column=column) from error
    if not text.strip():
        raise DecodeError("the file is empty", position=0, line=1, column=1)
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise DecodeError(error.msg, position=error.pos, line=error.lineno, column=error.colno) from error
    except RecursionError as error:
        raise DecodeError("nested too deeply") from error
    except DecodeError:
        raise
    except ValueError as error:  # an integer with more digits than Python converts
        raise DecodeError(str(error)) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys: set[str] = set()
        for key, _ in pairs:
            if key in keys:
                msg = f"the key {key!r} is given twice in one object; keeping one value would lose the other"
                raise DecodeError(msg)
            keys.add(key)
    return found


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        msg = f"the number {text} is beyond the range of a double, and could not be written back"
        raise DecodeError(msg)
    return value


def _no_constant(text: str) -> NoReturn:
    msg = f"{text} is not JSON (RFC 8259, section 6)"
    raise DecodeError(msg)


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_no_constant)


@attrs.frozen
class FunctionCodec(Generic[S]):
    """A codec from two functions."""

    encode: Callable[[S], bytes]
    """State to bytes."""
    decode: Callable[[bytes], S]
    """Bytes to state."""
