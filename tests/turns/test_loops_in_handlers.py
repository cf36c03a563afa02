"""An interrupt at the end of a round of a loop must still find the `with` or `try` that the loop stands in.

CPython looks for signals where a loop jumps back. From 3.12 on, its compiler forgets to enter some of these jumps in the
exception table: those of a loop that ends with a condition, `while ready(): ...` for example. An interrupt that arrives
there leaves the function as if it had no `with` and no `try`, and a lock that it took is never released. Safe are
`while True:` with a `break`, and the same loop in a function of its own that is called inside the `with` or `try`.
"""

from __future__ import annotations

import dis
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

import pytest

import storewriter

SOURCE = Path(storewriter.__file__).parent
ONCE = {"cli"}
"""Commands: an interrupt ends the process."""


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _forgotten(source: str, name: str) -> list[str]:
    """The loops whose jump back has no handler, although the head of the loop has one."""
    found = []
    for code in _codes(compile(source, name, "exec")):
        table = dis.Bytecode(code).exception_entries  # type: ignore[attr-defined]
        steps = {step.offset: step for step in dis.get_instructions(code)}

        def handler(offset: int) -> dis.Instruction | None:
            return next((steps[entry.target] for entry in table if entry.start <= offset < entry.end), None)

        for step in steps.values():
            place = step.positions
            if step.opname != "JUMP_BACKWARD" or place is None or place.lineno is None:
                continue  # without a line: the way back into an `await`
            lost = handler(step.argval)
            # Others than these put variables right after a comprehension, or turn a StopIteration into an error.
            if lost is not None and lost.opname == "PUSH_EXC_INFO" and handler(step.offset) is None:
                found.append(f"{name}:{place.lineno} {code.co_qualname}")
    return found


SPECIMEN = """
def drain(lock, queue):
    with lock:
        while queue:
            queue.pop()
"""


@pytest.mark.skipif(not _forgotten(SPECIMEN, "specimen"), reason="the compiler of this Python forgets no jump")
def test_no_loop_in_a_handler_ends_with_a_jump_that_has_none() -> None:
    found: list[str] = []
    for file in sorted(SOURCE.rglob("*.py")):
        name = file.relative_to(SOURCE)
        if not ONCE & set(name.parts):
            found += _forgotten(file.read_text(), str(name))
    assert not found, "\n".join(found)
