"""Places in a document: JSON pointers (RFC 6901) and dotted keys, and what is read, put and deleted there."""

from __future__ import annotations

from typing import Any, TypeGuard

import click
from jsonpointer import JsonPointer, JsonPointerException

__all__ = ["at", "delete_at", "is_array", "is_object", "parts_of", "put_at"]


def parts_of(place: str) -> tuple[str, ...]:
    """The steps to a place: `/a/b~1c` is a JSON pointer, `a.b` means `/a/b`, and an empty text the whole document.

    Raises click.BadParameter.
    """
    if place and not place.startswith("/"):
        if "" in place.split("."):
            raise click.BadParameter(f"{place!r} has an empty key; write such a place as a JSON pointer: /a//b.")
        return tuple(place.split("."))
    try:
        return tuple(str(part) for part in JsonPointer(place).parts)
    except JsonPointerException as error:
        raise click.BadParameter(f"{place!r} is no JSON pointer (RFC 6901): {error}.") from None


def at(state: Any, place: str) -> Any:
    """What is at a place. Raises click.ClickException if nothing is."""
    for number, part in enumerate(parts_of(place)):
        state = _child(state, part, place, number)
    return state


def put_at(state: Any, place: str, value: Any) -> Any:
    """The state with a value at a place; objects on the way are made. `-` appends to an array.

    Raises click.ClickException where neither an object nor an array is on the way.
    """
    *way, last = parts_of(place) or ("",)
    if not place:
        return value
    here = state
    for number, part in enumerate(way):
        here = here.setdefault(part, {}) if is_object(here) else _child(here, part, place, number)
    if is_object(here):
        here[last] = value
    elif is_array(here) and last == "-":
        here.append(value)
    else:
        _child(here, last, place, len(way))
        here[int(last)] = value
    return state


def delete_at(state: Any, place: str) -> Any:
    """The state without what is at a place. Raises click.ClickException if nothing is there."""
    parts = parts_of(place)
    if not parts:
        raise click.BadParameter("the whole document cannot be deleted; delete keys of it.")
    parent = here = state
    for number, part in enumerate(parts):
        parent, here = here, _child(here, part, place, number)
    if is_array(parent):
        del parent[int(parts[-1])]
    else:
        del parent[parts[-1]]
    return state


def _child(here: Any, part: str, place: str, number: int) -> Any:
    if is_object(here):
        if part in here:
            return here[part]
        raise _nothing(place, number, f"there is no key {part!r}")
    if is_array(here):
        found = here
        if not _is_index(part):
            raise _nothing(place, number, f"{part!r} is no index of an array")
        if int(part) >= len(found):
            raise _nothing(place, number, f"the array has {len(found)} elements, and no index {part}")
        return found[int(part)]
    raise _nothing(place, number, f"{_kind(here)} has no {part!r}")


def is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    """Whether it is an object of JSON."""
    return isinstance(value, dict)


def is_array(value: Any) -> TypeGuard[list[Any]]:
    """Whether it is an array of JSON."""
    return isinstance(value, list)


def _is_index(part: str) -> bool:
    return part == "0" or (part.isascii() and part.isdigit() and not part.startswith("0") and len(part) < 19)


def _nothing(place: str, number: int, why: str) -> click.ClickException:
    way = "".join(f"/{part.replace('~', '~0').replace('/', '~1')}" for part in parts_of(place)[:number])
    return click.ClickException(f"nothing is at {place}: {f'at {way} ' if way else ''}{why}.")


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    return "a text" if isinstance(value, str) else "a number" if isinstance(value, (int, float)) else "the value"
