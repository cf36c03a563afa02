"""What the parts of the analysis ask of each other: the value of an expression, the run of a block, a save."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Protocol

from storewriter.scan.modules import FunctionSource, Project
from storewriter.scan.state import Frame, State
from storewriter.scan.values import Load, Value

__all__ = ["Walk"]


class Walk(Protocol):
    """One walk along the flow of a function."""

    @property
    def project(self) -> Project:
        """The modules that are scanned."""
        ...

    def fresh(self) -> int:
        """Return a number that was not there before."""
        ...

    def value(self, node: ast.expr, state: State, frame: Frame) -> Value:
        """Return what is known of the value of an expression; the state changes as the expression says."""
        ...

    def block(self, body: Sequence[ast.stmt], state: State, frame: Frame) -> State | None:
        """Run statements. Returns what holds after them; None if their end is not reached."""
        ...

    def inlined(self, function: FunctionSource, values: Values, state: State, frame: Frame, line: int) -> Value | None:
        """Run a function that is called; None if it is not followed."""
        ...

    def add_call(self, called: FunctionSource | str, state: State, frame: Frame) -> None:
        """Note that a function, or some method of this name, is called or passed on here."""
        ...

    def add_save(
        self, path: str, loads: frozenset[Load], state: State, frame: Frame, node: ast.AST, opened_line: int
    ) -> None:
        """Note that content which comes from these loads is saved to a file."""
        ...


class Values(Protocol):
    """The arguments of a call."""

    @property
    def positional(self) -> Sequence[Value]:
        """The positional ones, with the object of a method first."""
        ...

    @property
    def keywords(self) -> dict[str, Value]:
        """The others, by name."""
        ...
