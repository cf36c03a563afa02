"""Which functions can load a file, save one or take a lock, themselves or in functions that they call.

It is found by names alone, so it says rather too much: it decides which functions are worth following.
"""

from __future__ import annotations

import ast
from collections import defaultdict

from storewriter.scan import file_calls
from storewriter.scan.modules import FunctionSource, ModuleSource, Project, dotted

__all__ = ["Reach"]

_LOADS = {"read_text", "read_bytes", "fdopen", "read", "read_file", "load"}
_SAVES = {"write_text", "write_bytes", "replace", "rename", "move", "fdopen", "dump", "write", *file_calls.ATOMIC}
_LOCKS = {"acquire", "release", "flock", "lockf", "locking", "lock", "unlock"}
_OPENS = {"open", "open_file", "Lock"}


class Reach:
    """For each function of a project, what it can come to."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._found: dict[FunctionSource, set[str]] = defaultdict(set)
        callers: dict[FunctionSource, set[FunctionSource]] = defaultdict(set)
        for module in project.modules:
            methods = _methods_by_name(module)
            for function in [module.body, *module.everything]:
                self._look(function, methods, callers)
        for kind in ("load", "save", "lock"):
            self._spread(kind, callers)

    def can(self, function: FunctionSource, kind: str) -> bool:
        """Whether a function can `load`, `save` or `lock`."""
        return kind in self._found[function]

    def is_worth(self, function: FunctionSource) -> bool:
        """Whether to follow a call of the function: it comes to a file or a lock, or it is short and returns a path."""
        if self._found[function]:
            return True
        node = function.node
        return not isinstance(node, ast.Module) and len(node.body) < 5 and isinstance(node.body[-1], ast.Return)

    def _look(
        self,
        function: FunctionSource,
        methods: dict[str, list[FunctionSource]],
        callers: dict[FunctionSource, set[FunctionSource]],
    ) -> None:
        for node in _own_nodes(function):
            if isinstance(node, ast.Call):
                self._found[function] |= _kinds(node)
            if not isinstance(node, ast.Name | ast.Attribute):
                continue
            name = node.attr if isinstance(node, ast.Attribute) else node.id
            for called in methods.get(name, ()):
                callers[called].add(function)
            found = self._project.function(function.module, dotted(node))
            if found is not None:
                callers[found].add(function)

    def _spread(self, kind: str, callers: dict[FunctionSource, set[FunctionSource]]) -> None:
        waiting = [function for function, kinds in self._found.items() if kind in kinds]
        while waiting:
            for caller in callers[waiting.pop()]:
                if kind not in self._found[caller]:
                    self._found[caller].add(kind)
                    waiting.append(caller)


def _own_nodes(function: FunctionSource) -> list[ast.AST]:
    """Return the nodes of a function with those of nested functions; of a module, without those of functions."""
    if not isinstance(function.node, ast.Module):
        return list(ast.walk(function.node))
    nodes: list[ast.AST] = []
    waiting: list[ast.AST] = list(function.node.body)
    while waiting:
        node = waiting.pop()
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            nodes.append(node)
            waiting.extend(ast.iter_child_nodes(node))
    return nodes


def _methods_by_name(module: ModuleSource) -> dict[str, list[FunctionSource]]:
    found: dict[str, list[FunctionSource]] = defaultdict(list)
    for function in module.everything:
        found[function.name.rpartition(".")[2]].append(function)
    return found


def _kinds(node: ast.Call) -> set[str]:
    last = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    found: set[str] = set()
    if last in _OPENS:
        found |= _open_kinds(node)
    if last in _LOADS:
        found.add("load")
    if last in _SAVES and not (last == "replace" and len(node.args) == 2 and not _is_os(node)):
        found.add("save")
    if last in _LOCKS:
        found.add("lock")
    words = set(last.lower().split("_"))
    if words & file_calls.FORMATS:
        found |= {"load"} if words & {"read", "load"} else {"save"} if words & {"write", "save", "dump"} else set()
    return found


def _is_os(node: ast.Call) -> bool:
    return isinstance(node.func, ast.Attribute) and dotted(node.func.value) == "os"


def _open_kinds(node: ast.Call) -> set[str]:
    texts = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "mode")]
    modes = [part.value for part in texts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    mode = next((mode for mode in modes if 0 < len(mode) < 4 and set(mode) <= set("rwabtx+U")), None)
    if mode is None:
        return {"load", "save"} if len(node.args) > 1 else {"load"}
    found: set[str] = {"load"} if "r" in mode or mode in ("b", "t") else set()
    return found | {"save"} if "w" in mode or "+" in mode else found
