"""The name of a fault that another reader of JSON has found: a comment, UTF-16, NUL bytes, a second document."""

from __future__ import annotations

import json
from typing import Final

from storewriter.codecs.json import JsonCodec
from storewriter.errors import DecodeError, TooDeep

__all__ = ["explained"]

_JSON: Final = JsonCodec()


def explained(data: bytes, fault: DecodeError, *, prefix: str = "") -> DecodeError:
    """Return the fault that a codec has found in a JSON document, by the name that `JsonCodec` has for it.

    For codecs that read JSON with a reader of their own: their errors then name what people meet (a comment, a gzip
    file, merge conflict marks), and `recover()` knows whether the document may be intact.

    Args:
        data: the document.
        fault: what the codec has found. Its reason and place stay where `JsonCodec` knows nothing better. `JsonCodec`
            refuses more than some codecs do (a key given twice): what it finds before the fault's position is ignored.
        prefix: text before the name, such as `not JSON:` and a space; the fault's own reason has it already.

    Returns:
        An error to raise. It may be intact (`DecodeError.may_be_intact`) if `JsonCodec` says so, or reads the document.

    """
    try:
        _JSON.decode(data)
    except DecodeError as error:
        cause = error.__cause__
        is_syntax = isinstance(cause, json.JSONDecodeError | UnicodeDecodeError)
        is_later = (error.position or 0) >= (fault.position or 0)
        if not (is_syntax or is_later or isinstance(error, TooDeep)):
            return fault
        is_named = isinstance(cause, ValueError) and error.reason != getattr(cause, "msg", None)
        reason = prefix + error.reason if is_named else fault.reason
        place = error if is_named or error.position == fault.position else fault
        return _at(place, reason, error.may_be_intact)
    return _at(fault, fault.reason, may_be_intact=True)


def _at(place: DecodeError, reason: str, may_be_intact: bool) -> DecodeError:
    return DecodeError(
        reason,
        position=place.position,
        line=place.line,
        column=place.column,
        path=place.path,
        may_be_intact=may_be_intact,
    )
