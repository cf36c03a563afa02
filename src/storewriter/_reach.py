"""Whether a function may have left something in the state that its caller can still change.

A state that is handed on to the next function of a batch must be out of the reach of whoever had it before: that one's
caller may keep a piece of it, and the next function would change it under his eyes. To decode the state anew makes
sure. It is spared where the function had nothing mutable within reach to leave behind, and gave nothing mutable back.

Promise    False only for a plain function that returned nothing mutable, and reaches nothing mutable through its
           closure, defaults and globals, nor through those of the functions and modules that it names there.
Does not   see that one object was put in two places: that is found at the end of the batch (`_census.py`).
"""

from __future__ import annotations

from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any, Final

import attrs

_ATOMS: Final = frozenset({str, int, float, bool, bytes, complex, type(None), type(Ellipsis)})
"""Kinds of values that have nothing inside; an object of a subclass may have."""

_ANYTHING: Final = frozenset({"__import__", "eval", "exec", "globals", "vars"})
"""Builtins that reach what is not named."""

_MOST: Final = 64
"""Functions and modules that are followed at most."""


def may_share(fn: Any, result: Any) -> bool:
    """Whether `fn`, having returned `result`, may share a mutable object with the state that it was given."""
    if type(fn) is not FunctionType or not (result is None or _is_atom(result)):
        return True
    if fn.__closure__ is None and fn.__defaults__ is None and fn.__kwdefaults__ is None:
        mentioned = _names_known.get(fn.__code__)
        if mentioned is not None and mentioned.known_to(fn.__globals__):
            return False
    return _reaches_mutables(fn)


def _is_atom(value: Any) -> bool:
    kind = type(value)  # pyright: ignore[reportUnknownVariableType]
    return kind in _ATOMS or (kind is tuple and all(map(_is_atom, value)))


@attrs.frozen
class _Names:
    """The names that a function's code mentions: of globals, builtins and attributes alike."""

    names: frozenset[str]
    is_open: bool
    """Whether it may reach what it does not name."""

    def known_to(self, scope: dict[str, Any]) -> bool:
        """Whether those of them that are globals stand for what cannot change, which is the most common case."""
        for name in self.names:
            if name in scope and not _is_atom(scope[name]):
                return False
        return not self.is_open


def _reaches_mutables(fn: FunctionType) -> bool:
    """Follow the function to all that it names, and what those name."""
    pending: list[tuple[Any, frozenset[str]]] = [(fn, frozenset())]
    seen: set[int] = set()
    while pending:
        value, names = pending.pop()
        if _is_atom(value) or id(value) in seen:
            continue
        seen.add(id(value))
        inside = _inside(value, names)
        if inside is None or len(seen) > _MOST:
            return True
        pending += inside
    return False


def _inside(value: Any, names: frozenset[str]) -> list[tuple[Any, frozenset[str]]] | None:
    """What code that mentions `names` may reach in a value; None if that is something mutable, or cannot be told."""
    if type(value) is FunctionType:
        return _inside_function(value)
    if type(value) is ModuleType:
        found = vars(value)
        return [(found[name], names) for name in names if name in found]
    if type(value) is BuiltinFunctionType:
        owner = value.__self__  # what a bound method of a list is bound to
        return [] if owner is None or type(owner) is ModuleType else None
    if isinstance(value, type) and not value.__flags__ & _IS_HEAP_TYPE:
        return []
    return None


_IS_HEAP_TYPE: Final = 1 << 9
"""Py_TPFLAGS_HEAPTYPE: a class of Python code, whose attributes are where mutable defaults are kept."""


def _inside_function(fn: FunctionType) -> list[tuple[Any, frozenset[str]]] | None:
    mentioned = _names_of(fn.__code__)
    if mentioned.is_open or fn.__dict__:
        return None
    names, scope = mentioned.names, fn.__globals__
    found = [scope[name] for name in names if name in scope]
    found += fn.__defaults__ or ()
    found += (fn.__kwdefaults__ or {}).values()
    try:
        found += [cell.cell_contents for cell in fn.__closure__ or ()]
    except ValueError:  # a cell that is still empty
        return None
    return [(each, names) for each in found]


_names_known: dict[CodeType, _Names] = {}


def _names_of(code: CodeType) -> _Names:
    names = _names_known.get(code)
    if names is None:
        if len(_names_known) >= 256:
            _names_known.clear()
        found = _names(code)
        names = _names_known[code] = _Names(frozenset(found), not found.isdisjoint(_ANYTHING) or _imports(code))
    return names


def _names(code: CodeType) -> set[str]:
    """Every name that the code, or code inside it, mentions."""
    names = set(code.co_names)
    for const in code.co_consts:
        if isinstance(const, CodeType):
            names |= _names(const)
    return names


def _imports(code: CodeType) -> bool:
    """Whether the code, or code inside it, imports something, which need not be a name of its module."""
    from opcode import opmap

    return opmap["IMPORT_NAME"] in code.co_code[::2] or any(
        _imports(const) for const in code.co_consts if isinstance(const, CodeType)
    )
