"""Whether a function may have left something in the state that its caller can still change.

A state that is handed on to the next function of a batch must be out of the reach of whoever had it before: that one's
caller may keep a piece of it, and the next function would change it under his eyes. To decode the state anew makes
sure. It is spared where the function had nothing mutable within reach to leave behind, and gave nothing mutable back.

Promise    False only for a plain function whose result, closure, defaults and globals hold no mutable object.
Does not   follow the functions that it calls, nor see that one object was put in two places: what is still so at the
           end of the batch is found there (`_census.py`).
"""

from __future__ import annotations

from types import BuiltinFunctionType, CodeType, FunctionType
from typing import Any, cast

_ATOMS = (str, int, float, bool, bytes, complex, type(None), type(Ellipsis))
_CODE = (FunctionType, BuiltinFunctionType)
"""Classes and modules are not among them: their attributes are where mutable defaults are kept."""


def may_share(fn: Any, result: Any) -> bool:
    """Whether `fn`, having returned `result`, may share a mutable object with the state that it was given."""
    if not (result is None or _is_atom(result)) or type(fn) is not FunctionType:
        return True
    # Each is None for most functions; asked of every function of every batch.
    if fn.__defaults__ is not None and not all(map(_is_atom, fn.__defaults__)):
        return True
    if fn.__kwdefaults__ is not None and not all(map(_is_atom, fn.__kwdefaults__.values())):
        return True
    if fn.__closure__ is not None and not _closes_over_atoms(fn):
        return True
    known = fn.__globals__
    for name in _names_of(fn.__code__):
        if name in known and not (_is_atom(known[name]) or isinstance(known[name], _CODE)):
            return True
    return False


def _closes_over_atoms(fn: FunctionType) -> bool:
    try:
        cells = [cell.cell_contents for cell in fn.__closure__ or ()]
    except ValueError:  # a cell that is still empty
        return False
    return all(_is_atom(value) or isinstance(value, _CODE) for value in cells)


def _is_atom(value: Any) -> bool:
    return isinstance(value, _ATOMS) or (type(value) is tuple and all(map(_is_atom, cast("Any", value))))


_names_known: dict[CodeType, frozenset[str]] = {}


def _names_of(code: CodeType) -> frozenset[str]:
    names = _names_known.get(code)
    if names is None:
        if len(_names_known) >= 256:
            _names_known.clear()
        names = _names_known[code] = frozenset(_names(code))
    return names


def _names(code: CodeType) -> set[str]:
    """Every global name that the code, or code inside it, mentions."""
    names = set(code.co_names)
    for const in code.co_consts:
        if isinstance(const, CodeType):
            names |= _names(const)
    return names
