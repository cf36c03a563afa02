"""What holds at one point of a flow: variables and attributes, locks that are held, what was written to which file."""

from __future__ import annotations

import ast
from collections.abc import Callable

import attrs

from storewriter.scan.modules import FunctionSource, ModuleSource
from storewriter.scan.values import UNKNOWN, Load, Site, Value, merged

__all__ = ["Frame", "State", "joined"]

Key = tuple[str, str]
"""A variable (the number of its frame, its name), or an attribute (the normal form of its object, its name)."""


@attrs.define(eq=False)
class State:
    """What holds at one point. Branches work on copies, which `joined` brings together."""

    variables: dict[Key, Value] = attrs.field(factory=dict[Key, Value])
    constants: dict[Key, Value] = attrs.field(factory=dict[Key, Value])
    """Variables of modules that are assigned once. All copies share them."""
    locks: frozenset[int] = frozenset()
    written: dict[str, frozenset[Load]] = attrs.field(factory=dict[str, frozenset[Load]])
    """By path: where the content comes from that was written to that file."""

    def copy(self) -> State:
        """Return a state that changes on its own."""
        return State(dict(self.variables), self.constants, self.locks, dict(self.written))

    def become(self, other: State) -> None:
        """Hold what the other one holds."""
        self.variables, self.locks, self.written = other.variables, other.locks, other.written

    def forget(self, frame: Frame) -> None:
        """Drop the variables of a call that has ended."""
        for key in [key for key in self.variables if key[0] == frame.number]:
            del self.variables[key]

    def whole(self, value: Value) -> frozenset[Load]:
        """Return where the content of a value comes from; for an object, with all its attributes."""
        found = value.loads
        for item in value.items:
            found |= self.whole(item)
        if value.instance is not None or value.path == "{self}":
            for (owner, _), held in self.variables.items():
                if owner == value.path:
                    found |= held.loads
        return found


def joined(states: list[State]) -> State | None:
    """Return what holds where branches meet; None if none of them gets there.

    A lock that one branch has taken counts: programs take a lock if they can (`if fcntl: fcntl.flock(...)`).
    """
    if not states:
        return None
    first, *others = states
    if not others:
        return first
    result = first.copy()
    for other in others:
        result.locks |= other.locks
        for key, value in other.variables.items():
            known = result.variables.get(key)
            if known is not value:
                result.variables[key] = value if known is None else merged(known, value)
        for path, loads in other.written.items():
            result.written[path] = result.written.get(path, frozenset()) | loads
    return result


@attrs.define(eq=False)
class Frame:
    """One call of a function: its variables, and where it returns."""

    number: str
    function: FunctionSource
    calls: tuple[Site, ...]
    """The calls that lead to it."""
    outer: Frame | None = None
    """The frame in which a nested function was defined."""
    returned: list[tuple[State, Value]] = attrs.field(factory=list[tuple[State, Value]])
    yielded: list[Value] = attrs.field(factory=list[Value])
    left_loop: list[State] = attrs.field(factory=list[State])
    on_yield: Callable[[State, Value], State | None] | None = None
    """For a generator that is a context manager: runs the body of the `with`."""
    global_names: set[str] = attrs.field(factory=set[str])

    @property
    def module(self) -> ModuleSource:
        """The module whose names the function sees."""
        return self.function.module

    @property
    def module_key(self) -> str:
        """The frame number of the module's variables."""
        return f"module {self.module.path}"

    def lookup(self, state: State, name: str) -> Value | None:
        """Return the value of a variable: of this call, of the functions around, or of the module."""
        frame: Frame | None = self
        while frame is not None:
            found = state.variables.get((frame.number, name))
            if found is not None:
                return found
            frame = frame.outer
        found = state.variables.get((self.module_key, name))
        return found if found is not None else state.constants.get((self.module_key, name))

    def assign(self, state: State, name: str, value: Value) -> None:
        """Set a variable."""
        if name in self.global_names:
            state.variables[self.module_key, name] = value
        else:
            state.variables[self.number, name] = value

    def load(self, path: str, shown: str, state: State, node: ast.AST) -> frozenset[Load]:
        """Return a load of a file, here."""
        site = Site(self.function, getattr(node, "lineno", 0))
        return frozenset([Load(path, shown, (*self.calls, site), state.locks)]) if path else frozenset()

    def add_loads(self, state: State, name: str, loads: frozenset[Load]) -> None:
        """Note that a variable's content comes from these loads too."""
        known = self.lookup(state, name) or UNKNOWN
        if not loads <= known.loads:
            self.assign(state, name, attrs.evolve(known, loads=known.loads | loads))
