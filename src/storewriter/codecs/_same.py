"""Whether a state that was written and read again is the one that it was, and if not, where it differs.

Decided    What the types' own `==` says, with three additions. Types that have none (it would ask for one and the same
           object) are compared part by part. What differs from itself, a NaN, is the same as another one. Of aware
           datetimes the clock and the offset count: `==` denies that a moment in the hour that a zone repeats is the
           same moment with a fixed offset (PEP 495).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final, cast

import attrs

from storewriter.codecs._protocol import Path

__all__ = ["Difference", "difference", "parts"]

_MISSING: Final = object()


@attrs.frozen
class Difference:
    """A place where two states are not the same."""

    path: Path
    before: Any
    after: Any

    def __str__(self) -> str:
        before, after = _brief(self.before), _brief(self.after)
        if type(self.before) is not type(self.after):
            kinds = _kind(self.before), _kind(self.after)
            other = kinds[1] if kinds[0] != kinds[1] else f"another class named {kinds[1]}"
            return f"{before} ({kinds[0]}) would come back as {after} ({other})"
        if before == after:
            return f"{before} would come back as another {_kind(self.before)} that looks the same"
        return f"{before} would come back as {after}"


def difference(before: Any, after: Any, path: Path = ()) -> Difference | None:
    """The first place where `after` is not the same as `before`; None if there is none."""
    if before is after or _are_equal(before, after):
        return None
    if type(before) is not type(after):
        return Difference(path, before, after)
    parts = _parts(before)
    if parts is None:
        return None if _is_same_leaf(before, after) else Difference(path, before, after)
    others = _parts(after) or {}
    if parts.keys() != others.keys():
        return Difference(path, before, after)
    found = (difference(part, others[step], (*path, _step(step))) for step, part in parts.items())
    return next(filter(None, found), None)


def _are_equal(before: Any, after: Any) -> bool:
    try:
        return bool(before == after)
    except RecursionError:
        raise
    except Exception:  # a type that will not be compared: looked at part by part
        return False


def _is_same_leaf(before: Any, after: Any) -> bool:
    if isinstance(before, datetime):
        offsets = before.utcoffset(), after.utcoffset()
        return bool(offsets[0] == offsets[1] and before.replace(tzinfo=None) == after.replace(tzinfo=None))
    if not _has_equality(before):
        return True  # nothing to be seen from outside; that it is written alike has been proven
    return repr(before) == repr(after) and not _are_equal(before, before)


def _has_equality(value: Any) -> bool:
    return getattr(cast("type[object]", type(value)), "__eq__", None) is not _IDENTITY


_IDENTITY: Final[Any] = object.__eq__


def parts(value: Any) -> dict[Any, Any]:
    """What a value is made of, by key, index or name."""
    return _parts(value) or {}


def _parts(value: Any) -> dict[Any, Any] | None:
    """What a value is made of, by key, index or name; None if it is not made of anything."""
    kind: Any = cast("type[object]", type(value))
    if issubclass(kind, dict):
        return dict(value)
    if issubclass(kind, (list, tuple)):
        return dict(zip(range(len(value)), value, strict=True))
    if attrs.has(kind):
        return _named(value, (field.name for field in attrs.fields(kind) if field.eq))
    if dataclasses.is_dataclass(kind):
        return _named(value, (field.name for field in dataclasses.fields(kind) if field.compare))
    if hasattr(kind, "__struct_fields__"):  # msgspec
        return _named(value, kind.__struct_fields__)
    if hasattr(kind, "__pydantic_private__"):
        more = _named(value, ("__pydantic_extra__", "__pydantic_private__"))
        return {**value.__dict__, **more}
    if not _has_equality(value) and hasattr(value, "__dict__"):
        return dict(value.__dict__)
    return None


def _named(value: Any, names: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(value, name, _MISSING) for name in names}


def _step(step: Any) -> str | int:
    return step if isinstance(step, (str, int)) else str(step)


def _kind(value: Any) -> str:
    return type(value).__name__


_SHOWN: Final = 80


def _brief(value: Any) -> str:
    text = "nothing" if value is _MISSING else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
