"""Every state that a small model can reach, looked at one by one.

A model is a set of actors that take atomic steps in any order. The search is breadth first, so that the trace of a
violation is one of the shortest. (The method is that of explicit-state model checkers: Holzmann, "The model checker
SPIN", IEEE Transactions on Software Engineering 23(5), 1997.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable
from typing import Protocol, TypeVar

import attrs

State = TypeVar("State", bound=Hashable)


class Model(Protocol[State]):
    """What `explore` needs to know."""

    def initial(self) -> State:
        """Where it begins."""
        ...

    def steps(self, state: State) -> Iterable[tuple[str, State]]:
        """Every step that some actor can take now: its name, and the state after it."""
        ...

    def violation(self, state: State) -> str | None:
        """What is wrong with a state; None if nothing is."""
        ...

    def may_end(self, state: State) -> bool:
        """Whether it is right that no actor can take a step here. If not, it is a deadlock."""
        ...


@attrs.frozen
class Explored:
    """What a search has seen."""

    states: int
    steps: frozenset[str]
    """Names of the steps that were taken."""
    violation: str | None
    trace: tuple[str, ...]
    """The steps to the violation."""


def explore(model: Model[State], most: int = 3_000_000) -> Explored:
    """Look at every state. Ends at the first violation. Raises OverflowError beyond `most` states."""
    start = model.initial()
    came_from: dict[State, tuple[State, str] | None] = {start: None}
    waiting = deque([start])
    names: set[str] = set()
    while waiting:
        state = waiting.popleft()
        wrong = model.violation(state)
        is_stuck = True
        if wrong is None:
            for name, after in model.steps(state):
                is_stuck = False
                names.add(name)
                if after not in came_from:
                    came_from[after] = (state, name)
                    waiting.append(after)
            if is_stuck and not model.may_end(state):
                wrong = "deadlock"
        if wrong is not None:
            return Explored(len(came_from), frozenset(names), wrong, _trace(came_from, state))
        if len(came_from) > most:
            raise OverflowError(f"more than {most} states")
    return Explored(len(came_from), frozenset(names), None, ())


def _trace(came_from: dict[State, tuple[State, str] | None], state: State) -> tuple[str, ...]:
    steps: list[str] = []
    while (before := came_from[state]) is not None:
        state, name = before
        steps.append(name)
    return tuple(reversed(steps))
