"""What the exception of a codec means for a document, whatever its class.

Promise    Every `Exception` that a codec raises for a document, again and again, is a `Fault`. One that came from
           outside while it was decoding (a signal handler's time limit) is raised as it is.
How        `decode` depends on nothing but its bytes. So what is raised once more for the same bytes is the codec's, and
           what is not came from outside. `DecodeError` is a codec's in any case.
Cannot     tell apart what comes from outside at both attempts and is of the same class.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from storewriter.codecs._protocol import DecodeError, Path
from storewriter.codecs._tombstone import moved_to

__all__ = ["Fault", "fault_in", "judged"]

Decode = Callable[[bytes], Any]


@attrs.frozen(kw_only=True)
class Fault:
    """Why a document cannot be read."""

    error: Exception
    """What the codec has raised."""
    reason: str
    line: int | None = None
    column: int | None = None
    position: int | None = None
    path: Path | None = None
    may_be_intact: bool = False
    """See `DecodeError`. An error that is no DecodeError, of which nothing is known, means damage."""


def fault_in(decode: Decode, data: bytes) -> Fault | None:
    """Why a document cannot be read; None if it can be."""
    try:
        decode(data)
    except Exception as error:
        return judged(decode, data, error)
    return None


def judged(decode: Decode, data: bytes, error: Exception) -> Fault:
    """The fault in a document for which `decode` has raised this. Raises what came from outside."""
    moved = moved_to(data)
    if moved is not None:
        reason = f"this store has moved to {moved}; open it there"
        return Fault(error=error, reason=reason, may_be_intact=True)
    if isinstance(error, DecodeError):
        return _of_decode_error(error)
    again = _raised_by(decode, data)
    if again is None:
        raise error
    if type(again) is not type(error):
        # One of the two is the codec's: the one that it raises once more.
        third = _raised_by(decode, data)
        raise again if type(third) is type(error) else error
    return _of_any(error)


def _raised_by(decode: Decode, data: bytes) -> Exception | None:
    try:
        decode(data)
    except Exception as error:
        return error
    return None


def _of_decode_error(error: DecodeError) -> Fault:
    return Fault(
        error=error,
        reason=error.reason,
        line=error.line,
        column=error.column,
        position=error.position,
        path=error.path,
        may_be_intact=error.may_be_intact,
    )


def _of_any(error: Exception) -> Fault:
    line, column = _whole(error, "lineno", "line"), _whole(error, "colno", "column", "col")
    position = _whole(error, "pos", "position", "start")
    mark = getattr(error, "problem_mark", None)  # YAML's, which counts from 0
    if mark is not None:
        line, column, position = _from_1(mark, "line"), _from_1(mark, "column"), _whole(mark, "index")
    return Fault(
        error=error,
        reason=_reason(error),
        line=line,
        column=column if line is not None else None,
        position=position,
        may_be_intact=_says_nothing_of_the_document(error),
    )


def _says_nothing_of_the_document(error: Exception) -> bool:
    """Whether it may lie at the machine, or the program, and not at the document."""
    if isinstance(error, OSError):
        return error.errno is not None  # a file that the codec needs, say; gzip's own errors have no number
    if isinstance(error, (MemoryError, RecursionError, ImportError)):
        return True
    return getattr(error, "may_be_intact", False) is True


def _whole(source: object, *names: str) -> int | None:
    found = (getattr(source, name, None) for name in names)
    return next((value for value in found if type(value) is int), None)


def _from_1(mark: object, name: str) -> int | None:
    value = _whole(mark, name)
    return None if value is None else value + 1


def _reason(error: Exception) -> str:
    """In one line."""
    try:
        text = " ".join(str(error).split())
    except Exception as problem:
        text = f"its text cannot be had: {type(problem).__name__}"
    if isinstance(error, ValueError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
