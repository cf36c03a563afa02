"""Proof by type that objects of attrs classes come back from JSON as they were, without reading them back.

Promise    `proof_of` returns a function only for a type all of whose values come back equal if only their types are the
           ones that the fields name; it says True only if they are. In doubt there is no proof, or it says False: then
           the state is read back and compared.
How        Column by column, in C: all values of a field are collected from all objects at once, and their types are
           compared with the field's. A class has a proof if it is no more than its fields: nothing that converts,
           checks or computes. Measured: a tenth of what reading back costs.
Only       for the hooks of `storewriter.codecs.attrs.converter()`, and for what JSON has taken (no NaN).
"""

from __future__ import annotations

import datetime as dt
import pathlib
import types
import uuid
from collections.abc import Callable, Iterable
from decimal import Decimal
from enum import Enum, Flag
from itertools import chain
from operator import attrgetter, methodcaller
from typing import Any, Final, Union, cast, get_args, get_origin

import attrs

__all__ = ["Proof", "proof_of"]

Proof = Callable[[list[Any]], bool]
"""Whether all of these values are of the type, exactly, with everything in them."""

_SCALARS: Final = frozenset({str, int, bool, type(None)})
"""JSON's own; a float field may hold whole numbers, too."""
_TEXTS: Final = frozenset({dt.datetime, dt.date, dt.time, dt.timedelta, uuid.UUID, Decimal, bytes})
"""Their hooks write and read every value of theirs."""
_EXACT_AS_FLOAT: Final = 2**53
_values_of: Final = methodcaller("values")


class _NoProof(Exception):
    pass


def proof_of(kind: type) -> Proof | None:
    """A proof for an attrs class; None if there is none."""
    try:
        return _of_class(kind, {})
    except (_NoProof, TypeError):  # types that cannot be hashed, in annotations
        return None


def _of(kind: Any, known: dict[Any, Proof]) -> Proof:
    if kind in _SCALARS or kind in _TEXTS:
        return _of_types(frozenset({kind}))
    if kind is float:
        return _are_floats
    if kind is Any:
        return _are_plain
    if kind is None:
        return _of_types(frozenset({type(None)}))
    origin, inside = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _of_union(inside, known)
    if origin in (list, set, frozenset) and len(inside) == 1:
        return _of_collection(origin, _of(inside[0], known))
    if origin is dict and len(inside) == 2 and inside[0] is str:
        return _of_dict(_of(inside[1], known))
    if origin is tuple and inside:
        return _of_tuple(inside, known)
    if isinstance(kind, type):
        return _of_named(kind, known)
    raise _NoProof


def _of_named(kind: type, known: dict[Any, Proof]) -> Proof:
    if attrs.has(kind):
        return _of_class(kind, known)
    if issubclass(kind, Enum):
        return _of_enum(kind)
    if issubclass(kind, pathlib.PurePath) and kind.__module__ == pathlib.PurePath.__module__:
        return _of_types(frozenset({type(kind())}))
    raise _NoProof


def _of_class(kind: type, known: dict[Any, Proof]) -> Proof:
    """A class of fields and nothing else. It may refer to itself: its own proof is looked up when it is needed."""
    if kind in known:
        return lambda values: known[kind](values)
    fields = attrs.fields(kind)
    if not _is_plain_class(kind) or any(map(_does_something, fields)):
        raise _NoProof
    known[kind] = _never
    columns = [(attrgetter(field.name), _of(field.type, known)) for field in fields]
    of_the_class = _of_types(frozenset({kind}))

    def proof(values: list[Any]) -> bool:
        if not values:
            return True
        return of_the_class(values) and all(holds(list(map(column, values))) for column, holds in columns)

    known[kind] = proof
    return proof


def _is_plain_class(kind: Any) -> bool:
    """Whether its objects are made by attrs from its fields, and nobody has a say in it."""
    made_by = getattr(kind.__init__, "__code__", None)
    return (
        made_by is not None
        and made_by.co_filename.startswith("<attrs generated")
        and kind.__init__.__qualname__ == f"{kind.__qualname__}.__init__"
        and not any(hasattr(kind, name) for name in ("__attrs_pre_init__", "__attrs_post_init__"))
        and kind.__new__ is object.__new__
        and kind.__getattribute__ is object.__getattribute__
    )


def _does_something(field: Any) -> bool:
    return not field.init or field.converter is not None or field.validator is not None


def _never(values: list[Any]) -> bool:
    return False


def _of_types(allowed: frozenset[Any]) -> Proof:
    return lambda values: allowed.issuperset(map(type, values))


def _are_floats(values: list[Any]) -> bool:
    found = set(map(type, values))
    if found <= {float}:
        return True
    whole = (value for value in values if type(value) is int)
    return found <= {float, int} and all(-_EXACT_AS_FLOAT <= value <= _EXACT_AS_FLOAT for value in whole)


def _are_plain(values: list[Any]) -> bool:
    """JSON values without a class: what a field of type Any comes back as."""
    level = values
    while level:
        if not _PLAIN.issuperset(map(type, level)):
            return False
        level = list(chain.from_iterable(map(_inside, level)))
    return True


def _inside(value: Any) -> Iterable[Any]:
    kind = cast("type[object]", type(value))
    if kind is dict:
        return value.values()  # type: ignore[no-any-return]
    return value if kind is list else ()


_PLAIN: Final = _SCALARS | {float, list, dict}


def _of_union(inside: tuple[Any, ...], known: dict[Any, Proof]) -> Proof:
    others = [kind for kind in inside if kind is not type(None)]
    if len(others) == 1 and len(inside) == 2:
        holds = _of(others[0], known)
        return lambda values: holds([value for value in values if value is not None])
    if set(inside) <= _SCALARS | {float}:
        return _of_types(frozenset(inside))
    raise _NoProof


def _of_collection(kind: Any, holds: Proof) -> Proof:
    of_the_kind = _of_types(frozenset({kind}))
    return lambda values: of_the_kind(values) and _all_inside(values, holds)


def _of_dict(holds: Proof) -> Proof:
    of_the_kind = _of_types(frozenset({dict}))
    # That keys are text is JSON's business, and has been seen to.
    return lambda values: of_the_kind(values) and _all_inside(map(_values_of, values), holds)


def _all_inside(collections: Iterable[Iterable[Any]], holds: Proof) -> bool:
    inside = list(chain.from_iterable(collections))
    return not inside or holds(inside)


def _of_tuple(inside: tuple[Any, ...], known: dict[Any, Proof]) -> Proof:
    if len(inside) == 2 and inside[1] is Ellipsis:
        return _of_collection(tuple, _of(inside[0], known))
    of_the_kind = _of_types(frozenset({tuple}))
    columns = [_of(kind, known) for kind in inside]

    def proof(values: list[Any]) -> bool:
        if not of_the_kind(values) or not {len(columns)}.issuperset(map(len, values)):
            return False
        return all(holds(list(column)) for column, holds in zip(zip(*values, strict=True), columns, strict=False))

    return proof


def _of_enum(kind: type[Enum]) -> Proof:
    """Members that are found by their value, which JSON keeps as it is."""
    for member in kind:
        if issubclass(kind, Flag) or type(member.value) not in (str, int) or kind(member.value) is not member:
            raise _NoProof
    return _of_types(frozenset({kind}))
