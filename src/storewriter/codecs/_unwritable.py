"""The value in a state that JSON cannot hold, and its place: only for states that the engine has refused, or may have.

Promise    The first one found, nearest to the top, with its path. A state that refers to itself ends the search, too.
How        Level by level, each container once a level: a state may hold one container in many places.
"""

from __future__ import annotations

import enum
import math
import re
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Any, Final, NamedTuple, cast

from storewriter.codecs import _depth
from storewriter.codecs._protocol import EncodeError, Path, subscripted, unwritable

__all__ = ["objection", "of_text"]

Judge = Callable[[Any], "str | None"]
"""What is wrong with a value that is no container; None if nothing is."""


class _Node(NamedTuple):
    """A dict, list or tuple, and the way to it."""

    container: Any
    parent: _Node | None
    step: Any

    def path(self, *more: Any) -> Path:
        steps: list[Any] = list(reversed(more))
        node = self
        while node.parent is not None:
            steps.append(node.step)
            node = node.parent
        return tuple(reversed(steps))


def objection(state: Any) -> EncodeError | None:
    """What JSON cannot hold: keys that are not text, other types and their subclasses, NaN, too many levels."""
    return _search(state, _of_type)


def of_text(state: Any) -> EncodeError | None:
    """Texts and whole numbers that JSON cannot hold although their types are JSON's. Slower."""
    return _search(state, _of_value)


_FINE: Final = frozenset({str, int, bool, type(None), uuid.UUID})
_CONTAINERS: Final = frozenset({dict, list, tuple})


def _search(state: Any, judge: Judge) -> EncodeError | None:
    # What holds the state is no part of it: it is a container, so that the state may be a value.
    found = _inside([_Node((state,), None, None)], judge, is_root=True)
    for _ in range(_depth.MOST):
        if isinstance(found, EncodeError):
            return found
        found = _inside(found, judge)
    if isinstance(found, EncodeError):
        return found
    return _endless(found) if found else None


def _inside(level: Iterable[_Node], judge: Judge, *, is_root: bool = False) -> list[_Node] | EncodeError:
    """The containers in those of one level, or what one of them must not hold."""
    found: dict[int, _Node] = {}
    for node in level:
        for step, value in _items(node.container):
            if step is _NO_KEY:
                return unwritable(node.path(), _of_key(value))
            while isinstance(value, enum.Enum):
                value = value.value
            kind = cast("type[object]", type(value))
            if kind in _CONTAINERS:
                found[id(value)] = _Node(value, None if is_root else node, step)
            elif (reason := judge(value)) is not None:
                return unwritable(() if is_root else node.path(step), reason)
    return list(found.values())


_NO_KEY: Final = object()


def _items(container: Any) -> Iterable[tuple[Any, Any]]:
    kind = cast("type[object]", type(container))
    if kind is dict:
        return _members(container)
    return enumerate(cast("Iterable[Any]", container))


def _members(container: dict[Any, Any]) -> Iterator[tuple[Any, Any]]:
    for key, value in container.items():
        if type(key) is not str:
            yield _NO_KEY, key
        yield key, value


def _of_type(value: Any) -> str | None:
    kind = cast("type[object]", type(value))
    if kind in _FINE:
        return None
    if kind is float:
        return None if math.isfinite(value) else _not_finite(value)
    return f"is {_named(kind)}, which JSON cannot hold; {_advice(value, kind)}"


_SURROGATE_PAIR: Final = re.compile("[\ud800-\udbff][\udc00-\udfff]")


def _of_value(value: Any) -> str | None:
    if type(value) is str and (pair := _SURROGATE_PAIR.search(value)) is not None:
        return f"holds two lone surrogates side by side ({pair[0]!a}); JSON would make one character of them"
    if type(value) is int and (most := sys.get_int_max_str_digits()) and abs(value) >= 10**most:
        return f"is a whole number of more than {most} digits (`sys.get_int_max_str_digits()`); store its hex() as text"
    return None


def _not_finite(value: float) -> str:
    return f"is {value!r}, which JSON cannot say (RFC 8259, section 6); use None or a text, or a codec of your own"


def _of_key(key: Any) -> str:
    kind = cast("type[object]", type(key))
    if isinstance(key, str):
        return f"has the key {key!r}, {_named(kind)} and not a str; use str(key)"
    return f"has the key {key!r}, which is not text ({kind.__name__}): it would come back as another key; use str(key)"


def _endless(level: Sequence[_Node]) -> EncodeError:
    """The error for a state with more levels than can be read: it may have no end."""
    for node in level:
        ways = _ways(node)
        first: dict[int, _Node] = {}
        for one in ways:
            same = first.setdefault(id(one.container), one)
            if same is not one:
                return unwritable(one.path(), f"is {subscripted(same.path())} itself: JSON cannot hold that")
    return unwritable(level[0].path(), f"is nested more than {_depth.MOST} levels deep")


def _ways(node: _Node | None) -> list[_Node]:
    """The containers that lead to one, from the outside in."""
    found: list[_Node] = []
    while node is not None:
        found.append(node)
        node = node.parent
    found.reverse()
    return found


# -- advice ------------------------------------------------------------------------------------------------------------

_PLAIN_VALUES: Final = "put dicts, lists, text, numbers, True, False and None into the state"
_BY_NAME: Final = {
    "datetime": "store its isoformat()",
    "date": "store its isoformat()",
    "time": "store its isoformat()",
    "timedelta": "store its total_seconds()",
    "Decimal": "store its str()",
    "Fraction": "store its str()",
    "bytes": "store its hex(), or base64",
    "bytearray": "store its hex(), or base64",
    "memoryview": "store its hex(), or base64",
    "complex": "store its real and imag",
    "deque": "store list(...) of it",
    "range": "store list(...) of it",
    "generator": "store list(...) of it",
    "ndarray": "store its tolist()",
}
"""By the name of its class or of a base of it."""


_BASES: Final = ((Mapping, "dict"), (str, "str"), (int, "int"), (float, "float"), (Sequence, "list"))


def _named(kind: type[object]) -> str:
    article = "an" if kind.__name__[:1].lower() in "aeiou" else "a"
    return f"{article} {kind.__name__}"


def _advice(value: Any, kind: type[object]) -> str:
    known = next((_BY_NAME[base.__name__] for base in kind.__mro__ if base.__name__ in _BY_NAME), None)
    if known is not None:
        return known
    if hasattr(kind, "__attrs_attrs__") or hasattr(kind, "__dataclass_fields__"):
        return "use a typed codec, or store its fields as a dict"
    if hasattr(kind, "__fspath__"):
        return "store its str()"
    if isinstance(value, Set):
        return "store it as a list, sorted(...)"
    if hasattr(kind, "tolist"):  # numpy's numbers: some are subclasses of float, too
        return "store its tolist()"
    for base, name in _BASES:
        if isinstance(value, base):
            return f"store {name}(...) of it"
    return _PLAIN_VALUES
