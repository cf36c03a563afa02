"""Docstrings of public names say what the code has: every parameter, every field, and only errors that exist.

A method of an async class may refer to its twin (`See Store.read`): it is the same but for `await`. One of an engine may
refer to the protocol that it keeps (`See Backend`).
"""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

import storewriter
from helpers.public_modules import PUBLIC_MODULES
from storewriter import errors
from storewriter._backends.protocol import Backend

REFERENCE = re.compile(r"See `(?P<kind>\w+)\.(?P<method>\w+)`")
ERROR = re.compile(r"\b[A-Z][A-Za-z]+(?:Error|Interrupt)\b")
RAISES = re.compile(r"^ *Raises:\n(?P<lines>(?:(?: {4,}.*)?\n)+)", re.MULTILINE)


def _private_bases(thing: type) -> list[type]:
    return [base for base in thing.__mro__ if base is thing or "._" in f"{base.__module__}.{base.__name__}"]


def _public(thing: Any) -> Iterator[tuple[str, Any]]:
    """The methods of a class, its private bases' included."""
    members = {name: member for base in reversed(_private_bases(thing)) for name, member in vars(base).items()}
    for name, member in members.items():
        if name.startswith("_"):
            continue
        if isinstance(member, (staticmethod, classmethod)):
            yield name, member.__func__
        elif inspect.isfunction(member) or isinstance(member, property):
            yield name, member


def _named_things() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for module in map(importlib.import_module, PUBLIC_MODULES):
        for name in module.__all__:
            found.setdefault(name, getattr(module, name))
    return found


NAMES = {name: thing for name, thing in _named_things().items() if inspect.isclass(thing) or inspect.isfunction(thing)}
CALLS: dict[str, Any] = {}
for _name, _thing in NAMES.items():
    if inspect.isfunction(_thing):
        CALLS[_name] = _thing
    else:
        CALLS |= {f"{_name}.{method}": member for method, member in _public(_thing) if inspect.isfunction(member)}


def _doc(name: str, thing: Any) -> str:
    """The docstring; behind a reference to the twin, the twin's as well."""
    doc = inspect.getdoc(thing) or ""
    twin = REFERENCE.search(doc)
    if twin is None:
        return doc
    assert name == f"Async{twin['kind']}.{twin['method']}", f"{name} refers to {twin[0]}, which is not its twin"
    return f"{doc}\n{inspect.getdoc(getattr(NAMES[twin['kind']], twin['method']))}"


def _parameters(call: Any) -> list[str]:
    return [name for name in inspect.signature(call).parameters if name not in {"self", "cls"}]


def _listed(doc: str, section: str) -> list[str]:
    """The names that a section lists, in order."""
    found = re.search(rf"^{section}:\n((?:(?: .*)?\n?)+)", doc, re.MULTILINE)
    return [] if found is None else re.findall(r"^    \*?(\w+): ", found[1], re.MULTILINE)


@pytest.mark.parametrize("name", sorted(CALLS))
def test_every_parameter_is_in_the_docstring(name: str) -> None:
    doc = _doc(name, CALLS[name])
    if doc.startswith("See `Backend`"):
        assert name.partition(".")[2] in {*vars(Backend), "status"}  # `status` is a part of engines that have URLs
        return
    listed = _listed(doc, "Args")
    for parameter in _parameters(CALLS[name]):
        assert parameter in listed or f"`{parameter}" in doc, f"{name}: {parameter} is not described"
    assert set(listed) <= set(_parameters(CALLS[name]))


@pytest.mark.parametrize("kind", ["Store"])
def test_a_store_describes_all_its_settings_in_their_order(kind: str) -> None:
    assert _listed(inspect.getdoc(NAMES[kind]) or "", "Args") == _parameters(NAMES[kind].__init__)


def _described_fields(kind: type) -> set[str]:
    """Attributes with a docstring behind them, in the class or a base of it."""
    found: set[str] = set()
    for base in kind.__mro__[:-1]:
        try:
            body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        except (OSError, TypeError, IndexError):
            continue
        assert isinstance(body, ast.ClassDef)
        for field, text in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
                found.add(field.target.id)
    return found


def _fields(kind: type) -> set[str]:
    if attrs.has(kind):
        return {field.name for field in attrs.fields(kind) if not field.name.startswith("_")}
    return {name for name in inspect.get_annotations(kind) if not name.startswith("_")}


@pytest.mark.parametrize("name", sorted(name for name, thing in NAMES.items() if inspect.isclass(thing)))
def test_every_field_is_described(name: str) -> None:
    doc = inspect.getdoc(NAMES[name]) or ""
    missing = {field for field in _fields(NAMES[name]) - _described_fields(NAMES[name]) if f"`{field}`" not in doc}  # type: ignore[arg-type]
    assert missing == set()


def _docs() -> Iterator[tuple[str, str]]:
    for name, thing in NAMES.items():
        yield name, inspect.getdoc(thing) or ""
        if inspect.isclass(thing):
            for method, member in _public(thing):
                yield f"{name}.{method}", inspect.getdoc(member) or ""


DOCS = dict(_docs())


@pytest.mark.parametrize("name", sorted(DOCS))
def test_every_error_that_a_docstring_names_exists(name: str) -> None:
    doc = DOCS[name]
    wanted = set(ERROR.findall(doc))
    for section in RAISES.finditer(f"{doc}\n"):
        wanted |= set(re.findall(r"^ {4}(\w+)(?:, \w+)*: ", section["lines"], re.MULTILINE))
    for kind in wanted:
        known = getattr(errors, kind, None) or getattr(builtins, kind, None) or NAMES.get(kind)
        assert inspect.isclass(known), f"{name}: there is no {kind}"
        assert issubclass(known, BaseException), f"{name}: {kind} is no error"


@pytest.mark.parametrize("name", sorted(DOCS))
def test_a_docstring_begins_with_a_sentence_of_one_line(name: str) -> None:
    first, _, rest = DOCS[name].partition("\n")
    assert first.endswith((".", ":", "`.")), f"{name}: {first}"
    assert not rest or rest.startswith("\n"), name


def test_the_errors_of_an_update_are_those_that_it_lists() -> None:
    """`Store.update` is the reference of the others: what this package raises is there, or belongs to other calls."""
    listed = set(_listed(inspect.getdoc(storewriter.Store.update) or "", "Raises"))
    elsewhere = {
        "DecodeError", "UnknownVersion", "TooDeep",  # of codecs: StoreCorrupt in a store
        "RecoveryRefused",  # recover()
        "DocumentChanged",  # a kind of VersionConflict
        "StoreWriterError",
    }  # fmt: skip
    kinds_of_oserror = {name for name in errors.__all__ if issubclass(getattr(errors, name, object), OSError)}
    assert set(errors.__all__) - elsewhere - kinds_of_oserror <= listed | {"ReservedName"}
