"""Was this history possible if every operation had happened at one instant between its call and its return?

Wing and Gong's search, with the memory of Lowe ("Testing for linearizability", 2017): states seen with the same
operations done are not searched again. Enough for histories of a few dozen operations.

An operation whose process died has no return. It may have happened at any time after its call, or never.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import attrs


@attrs.frozen
class Operation:
    """One call, as seen from outside."""

    name: str
    argument: Any
    result: Any
    called: float
    returned: float | None
    """None: its process died before it could return. Its result is not known then."""


Model = Callable[[Hashable, Operation], "Hashable | None"]
"""(state, operation) -> the state after it, or None if it could not have given this result in this state."""


def is_linearizable(history: Sequence[Operation], initial: Hashable, step: Model) -> bool:
    """Whether some order explains the history."""
    operations = sorted(history, key=lambda operation: operation.called)
    everything = frozenset(range(len(operations)))
    seen: set[tuple[frozenset[int], Hashable]] = set()
    stack: list[tuple[frozenset[int], Hashable]] = [(everything, initial)]
    while stack:
        left, state = stack.pop()
        ends = [returned for place in left if (returned := operations[place].returned) is not None]
        if not ends:
            return True
        if (left, state) in seen:
            continue
        seen.add((left, state))
        first_return = min(ends)
        for place in left:
            operation = operations[place]
            if operation.called > first_return:
                continue  # something else had already returned when this one was called
            following = step(state, operation)
            if following is not None:
                stack.append((left - {place}, following))
    return False
