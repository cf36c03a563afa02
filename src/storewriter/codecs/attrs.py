"""attrs classes as JSON documents, through cattrs (extra `cattrs`).

Promise    See `storewriter.codecs._typed`: nothing is dropped or converted on the way in, and nothing is written that
           would not come back as it was.
Decided    Fields are written under their names, in the order of the class, defaults too. Classes, lists, tuples, sets,
           dicts, Optional and unions that cattrs can tell apart may be nested. Enum members: their values. Sets: arrays
           in a fixed order. Keys of dicts: text, or what is written as text. datetime, date and time: ISO 8601; an
           aware datetime keeps its instant and its offset (the name of its zone is lost), a naive one stays naive.
           timedelta: seconds, as a number; refused where that is not exact (microseconds beyond 272 years). UUID,
           Decimal and Path: their text. bytes: base64.
"""

from __future__ import annotations

import base64
import pathlib
import uuid
from collections.abc import Callable, Set
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from typing import Any, Generic, TypeVar, cast

import attrs

from storewriter.codecs import _typed
from storewriter.codecs._protocol import EncodeError, Path
from storewriter.codecs._typed import FieldError, Shape
from storewriter.codecs.json import Indent, JsonCodec

try:
    import cattrs
    from cattrs.strategies import configure_union_passthrough
except ImportError as error:
    msg = "AttrsCodec needs cattrs: pip install 'storewriter[cattrs]'"
    raise ImportError(msg) from error

__all__ = ["AttrsCodec", "converter"]

S = TypeVar("S")


def converter() -> cattrs.Converter:
    """Return a new converter with the decisions of this module, for hooks of your own (see the cattrs manual).

    Example:
        mine = converter()
        mine.register_unstructure_hook(Colour, str)
        codec = AttrsCodec(Settings, converter=mine)
    """
    made = cattrs.Converter(unstruct_collection_overrides={Set: _typed.in_order})
    for kind, (write, read) in _TEXTS.items():
        made.register_unstructure_hook(kind, write)
        made.register_structure_hook(kind, _from_text(kind, read))
    for kind in (str, bool):
        made.register_structure_hook(kind, _not_null)
    made.register_unstructure_hook(timedelta, _seconds)
    made.register_structure_hook(timedelta, lambda value, _: timedelta(seconds=value))
    made.register_unstructure_hook_func(lambda kind: _is_a(kind, pathlib.PurePath), str)
    made.register_structure_hook_func(lambda kind: _is_a(kind, pathlib.PurePath), lambda value, kind: kind(value))
    configure_union_passthrough(str | bool | int | float | None, made, accept_ints_as_floats=False)
    return made


_TEXTS: dict[type, tuple[Callable[[Any], str], Callable[[str], Any]]] = {
    datetime: (datetime.isoformat, datetime.fromisoformat),
    date: (date.isoformat, date.fromisoformat),
    time: (time.isoformat, time.fromisoformat),
    uuid.UUID: (str, uuid.UUID),
    Decimal: (str, Decimal),
    bytes: (lambda value: base64.b64encode(value).decode("ascii"), lambda text: base64.b64decode(text, validate=True)),
}


def _from_text(kind: type, read: Callable[[str], Any]) -> Callable[[Any, Any], Any]:
    def hook(value: Any, _: Any) -> Any:
        if not isinstance(value, str):
            msg = f"expected the text of a {kind.__name__}, found {value!r}"
            raise TypeError(msg)
        return read(value)

    return hook


def _not_null(value: Any, kind: Any) -> Any:
    """For types that make something of everything: `str(None)` is a text."""
    if type(value) is kind:
        return value
    if value is None:
        msg = f"expected a {kind.__name__}, found null"
        raise TypeError(msg)
    return kind(value)


def _seconds(value: timedelta) -> float:
    seconds = value.total_seconds()
    if timedelta(seconds=seconds) != value:
        msg = f"{value!r} is not exact as a number of seconds"
        raise EncodeError(msg)
    return seconds


def _is_a(kind: Any, base: type) -> bool:
    return isinstance(kind, type) and issubclass(kind, base)


@cache
def _default() -> cattrs.Converter:
    """The one of all codecs that were given none: so they are equal, if their types are."""
    return converter()


@attrs.frozen
class AttrsCodec(Generic[S]):
    """Codec of one attrs class, and of whatever its fields hold. A value: it may be shared by stores and threads.

    Example:
        Store("settings.json", default=Settings, codec=AttrsCodec(Settings))

    Raises TypeError at once for a class that cattrs cannot handle. Measured like `JsonCodec` (1 KB, 50 KB, 5 MB):
    encoding 40 us, 1.8 ms, 540 ms, of which proving that it comes back is three quarters; decoding 30 us, 1.5 ms,
    440 ms.
    """

    type: type[S] = attrs.field()
    """The attrs class of the whole document."""
    indent: Indent = attrs.field(default="keep", kw_only=True)
    """Layout of the document, as `JsonCodec.indent`: `"keep"` is the one that it has, None one line, a number so many
    spaces a level."""
    exact: bool = attrs.field(default=True, kw_only=True)
    """Refuse documents that would not mean the same when written again: with unknown fields, or values that the
    class converts. False: take them; what is lost is lost at the next save."""
    verify: bool = attrs.field(default=True, kw_only=True)
    """Prove before writing that the state comes back as it is. False: quicker, and a wrong value makes the document
    unreadable for every process, or is dropped."""
    converter: cattrs.Converter = attrs.field(factory=_default, kw_only=True, repr=False)
    """One with hooks of your own, made by `converter()` of this module."""
    _json: JsonCodec = attrs.field(init=False, eq=False, repr=False)
    _shape: Shape[S] = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if not attrs.has(self.type):
            msg = f"AttrsCodec needs an attrs class, got {self.type!r}"
            raise TypeError(msg)
        object.__setattr__(self, "_json", JsonCodec(shape=dict, indent=self.indent))
        object.__setattr__(self, "_shape", self._make_shape())

    def _make_shape(self) -> Shape[S]:
        kind = self.type
        try:
            read = self.converter.get_structure_hook(kind)
            write = self.converter.get_unstructure_hook(kind)
        except Exception as error:
            msg = f"cattrs cannot handle {kind.__name__}: {error}"
            raise TypeError(msg) from error

        def to_plain(state: S) -> Any:
            if not isinstance(state, kind):
                msg = f"the state must be a {kind.__name__}, got {type(state).__name__}"
                raise EncodeError(msg)
            return write(state)

        def from_plain(plain: Any) -> S:
            try:
                return cast("S", read(plain, kind))
            except RecursionError:
                raise
            except Exception as error:
                raise _field_error(error, plain) from error

        return Shape(kind.__name__, to_plain, from_plain, part_to_plain=self.converter.unstructure)

    def encode(self, state: S) -> bytes:
        """Return `state` as a JSON document.

        Raises:
            EncodeError: It is of another type, or (with `verify`) would not come back as it is.
        """
        return _typed.encode(self._shape, self._json, state, verify=self.verify)

    def decode(self, data: bytes) -> S:
        """Return the state in `data`, a new object at each call.

        Raises:
            DecodeError: It cannot be read as the type; with path, line and column where they are known.
        """
        return _typed.decode(self._shape, self._json, data, exact=self.exact)

    def decode_for_update(self, data: bytes) -> tuple[S, Callable[[S], bytes]]:
        """Return the state in `data`, and a function that encodes what an update makes of it in the same layout.

        Raises:
            DecodeError: It cannot be read as the type; with path, line and column where they are known.
        """
        return _typed.decode_for_update(self._shape, self._json, data, exact=self.exact, verify=self.verify)


def _field_error(error: BaseException, plain: Any) -> FieldError:
    """The first fault in what cattrs found, and the way to it."""
    path: Path = ()
    while isinstance(error, cattrs.BaseValidationError):
        error = error.exceptions[0]
        path += _steps(error)
    if isinstance(error, RecursionError):
        raise error
    value = plain
    for depth, step in enumerate(path):
        expected = dict if isinstance(step, str) else list
        if not isinstance(value, expected):
            # cattrs reads on as far as Python lets it: text is a sequence of characters, too.
            wanted = "an object" if expected is dict else "an array"
            return FieldError(f"expected {wanted}, found {value!r}", path[:depth])
        if step not in value and expected is dict:
            return FieldError(f"the field {step!r} is missing", path[:depth])
        value = cast("Any", value)[step]
    return FieldError(f"{value!r} does not fit: {error}", path)


def _steps(error: BaseException) -> Path:
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, cattrs.AttributeValidationNote):
            return (note.name,)
        if isinstance(note, cattrs.IterableValidationNote):
            return (note.index,)
    return ()
