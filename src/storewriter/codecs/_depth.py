"""How deep a document may be nested, for every reader: a fixed number of levels, and room on the stack for them.

Promise    What is written can be read, by every caller. The limit does not depend on how deep in calls a caller is, nor
           on `sys.setrecursionlimit`, as long as that leaves room for it in a thread of its own.
How        The limit is that of the compiled engine's encoder, so that whatever it has written is within. What is
           recursive and not the engine's is tried where the caller is, and if the stack ends there, once more in a
           thread, whose stack is empty.
"""

from __future__ import annotations

import contextvars
import re
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

from storewriter._platform import threads

__all__ = ["MOST", "beyond", "with_room"]

P = ParamSpec("P")
T = TypeVar("T")

MOST: Final = 254
"""Objects and arrays around each other. A value of orjson's encoder (its decoder takes 1024)."""

# A string to its end, or to the end of the text: brackets inside it are none.
_BRACKETS: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*+"?|[\[{]|[\]}]', re.DOTALL)


def beyond(text: str) -> int | None:
    """Position of the first bracket in a JSON text that opens one level too many; None if there is none."""
    if text.count("[") + text.count("{") <= MOST:
        return None
    depth = 0
    for match in _BRACKETS.finditer(text):
        token = match[0]
        if token in "[{":
            depth += 1
            if depth > MOST:
                return match.start()
        elif token in "]}":
            depth -= 1
    return None


def with_room(fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `fn` returns or raises; RecursionError if it does not get by with a stack of its own, or there is none."""
    try:
        return fn(*args, **kwargs)
    except RecursionError:
        return _in_a_thread(lambda: fn(*args, **kwargs))


def _in_a_thread(call: Callable[[], T]) -> T:
    answer: list[T] = []
    context = contextvars.copy_context()
    error = threads.Apart(lambda: answer.append(context.run(call))).finish()
    if error is not None:
        raise error
    return answer[0]
