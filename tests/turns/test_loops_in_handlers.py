"""An interrupt at the end of a round of a loop must still find the `with` or `try` that the loop stands in.

CPython looks for signals where a loop jumps back. From 3.12 on, its compiler forgets to enter some of these jumps in the
exception table: those of a loop that ends with a condition, `while ready(): ...` for example. An interrupt that arrives
there leaves the function as if it had no `with` and no `try`, and a lock that it took is never released. Safe are
`while True:` with a `break`, and the same loop in a function of its own that is called inside the `with` or `try`.

Until 3.12 the interpreter looks for the handler after it has jumped, at the instruction before the head of the loop. That
instruction may stand outside the `try`, although the jump and the loop stand in it: a `continue` that jumps back to the
condition of a loop with which a `try` begins.
"""

from __future__ import annotations

import ast
import dis
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

import storewriter

SOURCE = Path(storewriter.__file__).parent
ONCE = {"cli"}
"""Commands: an interrupt ends the process."""


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _jumps(tree: ast.AST) -> set[int]:
    """The lines of loops, and of `continue`: a jump back from elsewhere leads out of an `except`, and not to a loop."""
    return {node.lineno for node in ast.walk(tree) if isinstance(node, (ast.While, ast.For, ast.Continue))}


def _forgotten(source: str, name: str) -> list[str]:
    """The loops whose jump back finds no handler, although the head of the loop, or the jump, has one."""
    found = []
    lines = _jumps(ast.parse(source))
    for code in _codes(compile(source, name, "exec")):
        table = dis.Bytecode(code).exception_entries  # type: ignore[attr-defined]
        steps = {step.offset: step for step in dis.get_instructions(code)}

        def handler(offset: int) -> dis.Instruction | None:
            return next((steps[entry.target] for entry in table if entry.start <= offset < entry.end), None)

        for step in steps.values():
            place = step.positions
            if "JUMP_BACKWARD" not in step.opname or place is None or place.lineno not in lines:
                continue  # the way back into an `await`, for example
            before = step.argval - 2
            # Others than these put variables right after a comprehension, or turn a StopIteration into an error.
            wanted = [
                it for it in map(handler, (step.offset, step.argval, before)) if it and it.opname == "PUSH_EXC_INFO"
            ]
            if wanted and handler(step.offset if LOOKS_AT_THE_JUMP else before) is None:
                found.append(f"{name}:{place.lineno} {code.co_qualname}")
    return found


LOOKS_AT_THE_JUMP = sys.version_info >= (3, 13)

SPECIMEN = """
def drain(lock, queue):
    with lock:
        while queue:
            queue.pop()
"""


REPEATING = """
def drain(step, queue):
    problem = None
    try:
        while queue:
            try:
                step()
            except KeyboardInterrupt as error:
                problem = error
                continue
            queue.pop()
    finally:
        problem = None
"""


def test_every_python_has_loops_that_it_forgets() -> None:
    assert _forgotten(SPECIMEN, "specimen") or _forgotten(REPEATING, "specimen")


def test_no_loop_in_a_handler_ends_with_a_jump_that_has_none() -> None:
    found: list[str] = []
    for file in sorted(SOURCE.rglob("*.py")):
        name = file.relative_to(SOURCE)
        if not ONCE & set(name.parts):
            found += _forgotten(file.read_text(), str(name))
    assert not found, "\n".join(found)
