"""What the typed codecs share: JSON values on one side, objects of a type on the other, and a proof between them.

Promise    A document is taken only if the objects made of it would be written as a document that means the same: no
           field is dropped because the type does not have it, no text becomes a number, no fraction is cut off. A state
           is written only if it comes back as it was: what would be dropped or changed, or could not be read at all,
           fails the update that put it there, and not the next load of every process.
How        What was read is turned into JSON values again, and compared with the document. A library that has a quick
           way from bytes to objects and back may take it: if the bytes are the same, there is nothing to compare. What
           is to be written is decoded as every reader will, and compared with the state (`_same.py`). An update
           keeps the layout that it found, as `JsonCodec` does, and also the order of fields and of a set's values,
           where the type would put them into one of its own.
May differ defaults that are added, texts that a type writes in its own way (a date with Z or +00:00), null for which a
           field has a value, the order of a list that was made a set.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar, cast

import attrs
import orjson

from storewriter.codecs import _depth, _merge, _same
from storewriter.codecs._places import error_at, locate, spelled
from storewriter.codecs._protocol import DecodeError, EncodeError, Path, TooDeep
from storewriter.codecs.json import JsonCodec, text_of

__all__ = ["FieldError", "Shape", "decode", "decode_for_update", "encode"]

S = TypeVar("S")


class FieldError(Exception):
    """A value that a type cannot take, and its place."""

    def __init__(self, reason: str, path: Path = (), *, at_key: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = path
        self.at_key = at_key
        """Whether the key itself is the fault, and not its value."""

    def __str__(self) -> str:
        return f"{spelled(self.path)}: {self.reason}"


@attrs.frozen
class Shape(Generic[S]):
    """How objects of one type are made of JSON values, and the other way."""

    name: str
    """The type, for people."""
    to_plain: Callable[[S], Any]
    """Objects to JSON values (dicts, lists, text, numbers, booleans, None). May raise anything."""
    from_plain: Callable[[Any], S]
    """JSON values to objects. Raises FieldError."""
    from_bytes: Callable[[bytes], S] | None = None
    """A document to objects, more quickly. Raises any exception, to have it tried the other way."""
    to_bytes: Callable[[S], bytes] | None = None
    """What `from_bytes` took, if nothing was lost."""
    part_to_plain: Callable[[Any], Any] | None = None
    """Any part of a state to JSON values, to find out which one the library does not take."""

    def quickly(self, data: bytes) -> tuple[S] | None:
        """The objects of a document that is proven to be written as the very same bytes."""
        if self.from_bytes is None or self.to_bytes is None:
            return None
        try:
            state = self.from_bytes(data)
            again = self.to_bytes(state)
        except Exception:  # the slow way finds the error again, and reports its place
            return None
        # The library leaves out the newline at the end.
        return (state,) if len(data) == len(again) + 1 and data.startswith(again) else None


def encode(
    shape: Shape[S], document: JsonCodec, state: S, *, verify: bool, write: Callable[[Any], bytes] | None = None
) -> bytes:
    """The state as a document. Raises EncodeError for one that cannot be written, or would not come back as it was.

    `write` makes a document of JSON values: otherwise `document.encode` does.
    """
    try:
        return _depth.with_room(_encode, shape, document, state, verify, write or document.encode)
    except RecursionError as error:
        msg = f"the state is nested too deeply for a recursion limit of {sys.getrecursionlimit()}"
        raise EncodeError(msg) from error


def decode(shape: Shape[S], document: JsonCodec, data: bytes, *, exact: bool) -> S:
    """The objects that a document describes. Raises DecodeError with path, line and column."""
    try:
        return _depth.with_room(_decode, shape, document, data, exact)
    except RecursionError as error:
        raise _too_deep(shape) from error


def decode_for_update(
    shape: Shape[S], document: JsonCodec, data: bytes, *, exact: bool, verify: bool
) -> tuple[S, Callable[[S], bytes]]:
    """What `decode` returns, and a function that encodes what becomes of it (see `UpdateCodec`)."""
    try:
        state, write = _depth.with_room(_decode_for_update, shape, document, data, exact)
    except RecursionError as error:
        raise _too_deep(shape) from error

    def encode_it(state: S) -> bytes:
        return encode(shape, document, state, verify=verify, write=write)

    return state, encode_it


def _too_deep(shape: Shape[Any]) -> TooDeep:
    reason = f"nested too deeply for a {shape.name} and a recursion limit of {sys.getrecursionlimit()}"
    return TooDeep(reason, position=0, line=1, column=1)


def _encode(shape: Shape[S], document: JsonCodec, state: S, verify: bool, write: Callable[[Any], bytes]) -> bytes:
    data = _written(shape, write, _plain(shape, state))
    if verify:
        _require_that_it_comes_back(shape, document, state, data)
    return data


def _written(shape: Shape[S], write: Callable[[Any], bytes], plain: Any) -> bytes:
    try:
        return write(plain)
    except EncodeError as error:
        if error.path is None:
            raise
        msg = f"the state cannot be written as {shape.name}: {spelled(error.path)} {error.objection}"
        raise EncodeError(msg, path=error.path, objection=error.objection) from error


def _require_that_it_comes_back(shape: Shape[S], document: JsonCodec, state: S, data: bytes) -> None:
    try:
        again = _read(shape, document, data, exact=True)
    except (FieldError, DecodeError) as error:
        msg = f"the state would not be read back as {shape.name}: {error}"
        raise EncodeError(msg, path=error.path) from error
    found = _same.difference(state, again)
    if found is not None:
        msg = f"the state would not come back as it is: {spelled(found.path)}: {found}"
        raise EncodeError(msg, path=found.path)


def _decode(shape: Shape[S], document: JsonCodec, data: bytes, exact: bool) -> S:
    try:
        return _read(shape, document, data, exact)
    except FieldError as error:
        raise _misfit(shape, data, error) from error


def _misfit(shape: Shape[Any], data: bytes, error: FieldError) -> DecodeError:
    text = text_of(data)
    position = locate(text, error.path, key=error.at_key)
    # The document is whole JSON: what does not fit is another program's, a newer one's, or a person's.
    return error_at(f"not a {shape.name}: {error}", text, position, error.path, may_be_intact=True)


def _decode_for_update(
    shape: Shape[S], document: JsonCodec, data: bytes, exact: bool
) -> tuple[S, Callable[[Any], bytes]]:
    found = shape.quickly(data) if exact and data.endswith(b"\n") else None
    if found is not None:
        return found[0], partial(_write_compactly, document, data)
    plain, write = document.decode_for_update(data)
    try:
        state, is_alike = _objects(shape, plain, exact=exact)
    except FieldError as error:
        raise _misfit(shape, data, error) from error
    return state, write if is_alike else _Rewritten(shape, document, data, write).write


def _write_compactly(document: JsonCodec, data: bytes, plain: Any) -> bytes:
    """Over a document that is written in the same way, but perhaps for its numbers (1e16 and 1e+16)."""
    new = document.encode(plain)
    if b"e+" in new and new.replace(b"e+", b"e") == data and document.encode(document.decode(data)) == new:
        return data
    return new


@attrs.frozen(eq=False)
class _Rewritten(Generic[S]):
    """A document that its type writes otherwise: with more fields, or fewer, or in another order."""

    shape: Shape[S]
    document: JsonCodec
    data: bytes
    write_in_layout: Callable[[Any], bytes]

    def write(self, plain: Any) -> bytes:
        found = self.document.decode(self.data)
        before = _plain(self.shape, self.shape.from_plain(found))
        if _is_written_alike(before, plain):
            return self.data
        return self.write_in_layout(_in_order_of(found, before, plain))


def _read(shape: Shape[S], document: JsonCodec, data: bytes, exact: bool) -> S:
    found = shape.quickly(data) if exact else None
    if found is not None:
        return found[0]
    return _objects(shape, document.decode(data), exact=exact)[0]


def _plain(shape: Shape[S], state: S) -> Any:
    try:
        return shape.to_plain(state)
    except (EncodeError, RecursionError):
        raise
    except Exception as error:
        path = () if shape.part_to_plain is None else _way_to_what_fails(state, shape.part_to_plain)
        msg = f"the state cannot be written as {shape.name}: {f'{spelled(path)}: ' if path else ''}{error}"
        raise EncodeError(msg, path=path or None) from error


def _way_to_what_fails(state: Any, to_plain: Callable[[Any], Any]) -> Path:
    """The way to the innermost part of a state that the library does not take."""
    path: Path = ()
    part = state
    while (found := _part_that_fails(part, to_plain)) is not None:
        step, part = found
        path = (*path, step)
    return path


def _part_that_fails(value: Any, to_plain: Callable[[Any], Any]) -> tuple[str | int, Any] | None:
    for step, part in _same.parts(value).items():
        try:
            to_plain(part)
        except RecursionError:
            raise
        except Exception:
            return step if isinstance(step, int) else str(step), part
    return None


def _objects(shape: Shape[S], plain: Any, *, exact: bool) -> tuple[S, bool]:
    """The objects that JSON values describe, and whether they are known to be written as these very values."""
    state = shape.from_plain(plain)
    if not exact:
        return state, False
    try:
        again = _plain(shape, state)
    except EncodeError as error:
        raise FieldError(str(error)) from error
    if _is_written_alike(plain, again):
        return state, True
    _require_same(plain, again, ())
    return state, False


def _is_written_alike(plain: Any, again: Any) -> bool:
    """Settles nearly every document at the engine's speed; `==` would not do, for True equals 1."""
    try:
        return orjson.dumps(plain) == orjson.dumps(again)
    except TypeError:  # what only the careful encoder can write
        return False


def _require_same(plain: Any, again: Any, path: Path) -> None:
    """Raise FieldError at the first place where `again` differs from `plain`."""
    if isinstance(plain, dict):
        _require_same_object(cast("dict[str, Any]", plain), again, path)
    elif isinstance(plain, (list, tuple)):
        _require_same_array(cast("list[Any]", plain), again, path)
    elif plain is None or (isinstance(plain, str) and isinstance(again, str)):
        return
    elif isinstance(plain, bool) is not isinstance(again, bool) or plain != again:
        raise FieldError(f"{plain!r} would be written back as {again!r}", path)


def _require_same_object(plain: dict[str, Any], again: Any, path: Path) -> None:
    if not isinstance(again, dict):
        raise FieldError(f"an object would be written back as {again!r}", path)
    for key, value in plain.items():
        inner = (*path, key)
        if key not in again:
            raise FieldError("unknown field; it would be lost at the next save", inner, at_key=True)
        _require_same(value, again[key], inner)


def _require_same_array(plain: list[Any], again: Any, path: Path) -> None:
    if not isinstance(again, (list, tuple)):
        raise FieldError(f"an array would be written back as {again!r}", path)
    others = cast("list[Any]", again)
    if len(others) < len(plain):
        raise FieldError(f"of {len(plain)} values only {len(others)} would be written back", path)
    try:
        for index, (value, other) in enumerate(zip(plain, others, strict=False)):
            _require_same(value, other, (*path, index))
    except FieldError:
        if not _are_same_in_any_order(plain, others):
            raise


def _are_same_in_any_order(plain: list[Any], again: list[Any]) -> bool:
    return sorted(map(_spelling, plain)) == sorted(map(_spelling, again))


def _in_order_of(found: Any, before: Any, new: Any) -> Any:
    """New JSON values in the order of those that were found, where the type alone has put them into another one.

    `before` is what the type makes of `found`. What the update has put into another order stays in that.
    """
    if _merge.is_object(found) and _merge.is_object(before) and _merge.is_object(new):
        return _object_in_order(found, before, new)
    if _merge.is_array(found) and _merge.is_array(before) and _merge.is_array(new):
        return _array_in_order(found, before, new)
    return new


def _object_in_order(found: dict[str, Any], before: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    made = {key: _in_order_of(found.get(key), before.get(key), value) for key, value in new.items()}
    typed = [key for key in before if key in found and key in new]
    if typed == [key for key in found if key in before and key in new]:
        return made
    if typed != [key for key in new if key in before and key in found]:
        return made
    return {key: made[key] for key in found if key in made} | made


def _array_in_order(found: list[Any], before: list[Any], new: list[Any]) -> list[Any]:
    if len(found) != len(before):
        return new
    spelled = list(map(_spelling, found))
    others = list(map(_spelling, before))
    if spelled != others and sorted(spelled) == sorted(others):
        # The type has sorted them: those that stay do so where they are.
        rank = {text: index for index, text in enumerate(spelled)}
        return sorted(new, key=lambda value: rank.get(_spelling(value), len(rank)))
    places = [origin for origin, _ in _merge.origins(before, new)]
    pairs = zip(new, places, strict=True)
    return [value if at is None else _in_order_of(found[at], before[at], value) for value, at in pairs]


def _spelling(value: Any) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # whole numbers beyond 64 bits, lone surrogates
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def in_order(values: Any) -> list[Any]:
    """The values of a set, in an order that is the same in every process."""
    return sorted(values, key=_spelling)
