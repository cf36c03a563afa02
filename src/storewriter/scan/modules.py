"""The scanned source: modules with their functions, classes and imports, and how a name leads to a function."""

from __future__ import annotations

import ast
import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

__all__ = ["ClassSource", "FunctionSource", "ModuleSource", "Project", "dotted"]

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@attrs.define(eq=False)
class FunctionSource:
    """A function, a method, or the body of a module."""

    name: str
    """As it is read: `function`, `Class.method`, or `<module>`."""
    node: FunctionNode | ast.Module
    module: ModuleSource
    owner: ClassSource | None = None

    @property
    def line(self) -> int:
        """The line of its `def`; 0 for the body of a module."""
        return 0 if isinstance(self.node, ast.Module) else self.node.lineno

    @property
    def decorators(self) -> list[ast.expr]:
        """Its decorators."""
        return [] if isinstance(self.node, ast.Module) else self.node.decorator_list

    def is_decorated(self, *names: str) -> bool:
        """Whether one of its decorators has this last name."""
        return any(dotted(_called(node)).rpartition(".")[2] in names for node in self.decorators)


@attrs.define(eq=False)
class ClassSource:
    """A class with its methods."""

    name: str
    node: ast.ClassDef
    module: ModuleSource
    methods: dict[str, FunctionSource] = attrs.field(factory=dict[str, FunctionSource])


@attrs.define(eq=False)
class ModuleSource:
    """One file."""

    path: str
    """As it was given, or found in a folder that was given."""
    name: str
    """Its dotted name, as far as its folders are packages."""
    tree: ast.Module
    lines: list[str]
    body: FunctionSource = attrs.field(init=False)
    functions: dict[str, FunctionSource] = attrs.field(factory=dict[str, FunctionSource])
    """The functions at the top, by name."""
    classes: dict[str, ClassSource] = attrs.field(factory=dict[str, ClassSource])
    imports: dict[str, str] = attrs.field(factory=dict[str, str])
    """What a name stands for: `np` for `numpy`, `load` for `json.load`."""
    everything: list[FunctionSource] = attrs.field(factory=list[FunctionSource])
    """All functions and methods, nested ones included."""
    nested: dict[int, FunctionSource] = attrs.field(factory=dict[int, FunctionSource])
    """Functions by the identity of their node."""

    def __attrs_post_init__(self) -> None:
        self.body = FunctionSource("<module>", self.tree, self)
        self._collect(self.tree, "", None, top=True)

    def _collect(self, node: ast.AST, prefix: str, owner: ClassSource | None, *, top: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, FunctionNode):
                self._add_function(child, prefix, owner, top=top)
            elif isinstance(child, ast.ClassDef):
                made = ClassSource(child.name, child, self)
                if top:
                    self.classes.setdefault(child.name, made)
                self._collect(child, f"{prefix}{child.name}.", made, top=False)
            elif isinstance(child, ast.Import | ast.ImportFrom):
                self.imports.update(_imported(child, self))
            elif not isinstance(child, ast.expr):
                self._collect(child, prefix, owner, top=top)

    def _add_function(self, node: FunctionNode, prefix: str, owner: ClassSource | None, *, top: bool) -> None:
        function = FunctionSource(prefix + node.name, node, self, owner)
        self.everything.append(function)
        self.nested[id(node)] = function
        if top:
            self.functions[node.name] = function
        elif owner is not None and not function.is_decorated("setter", "deleter"):
            # The setter of a property has the property's name, and is no helper that is called.
            owner.methods[node.name] = function
        self._collect(node, f"{prefix}{node.name}.", None, top=False)

    def full_name(self, node: ast.expr) -> str:
        """Return the dotted name of an expression with imports spelled out, or an empty text."""
        name = dotted(node)
        first, dot, rest = name.partition(".")
        return self.imports.get(first, first) + dot + rest


@attrs.define(eq=False)
class Project:
    """All modules of one scan."""

    modules: list[ModuleSource] = attrs.field(factory=list[ModuleSource])
    """In the order in which they were added."""
    _named: dict[str, list[ModuleSource]] = attrs.field(factory=lambda: defaultdict[str, list[ModuleSource]](list))
    """By dotted name; scripts in different folders may have the same one."""

    def add(self, path: str, text: str) -> ModuleSource:
        """Parse a file.

        Raises:
            SyntaxError: it is not Python.
            ValueError: it holds NUL bytes.
            RecursionError: it is nested too deeply for Python's parser; MemoryError is raised for that, too.

        """
        module = ModuleSource(path, module_name(Path(path)), ast.parse(text), text.splitlines())
        self.modules.append(module)
        self._named[module.name].append(module)
        return module

    def function(self, module: ModuleSource, name: str) -> FunctionSource | None:
        """Return the function that a name without `self` stands for in a module."""
        found = self._find(module, name)
        return found if isinstance(found, FunctionSource) else None

    def class_(self, module: ModuleSource, name: str) -> ClassSource | None:
        """Return the class that a name stands for in a module."""
        found = self._find(module, name)
        return found if isinstance(found, ClassSource) else None

    def method(self, owner: ClassSource, name: str, _depth: int = 0) -> FunctionSource | None:
        """Return a method of a class, or of the classes that it is derived from."""
        if name in owner.methods:
            return owner.methods[name]
        for base in owner.node.bases if _depth < 10 else ():
            known = self.class_(owner.module, dotted(base))
            found = self.method(known, name, _depth + 1) if known is not None else None
            if found is not None:
                return found
        return None

    def _find(self, module: ModuleSource, name: str, _depth: int = 0) -> FunctionSource | ClassSource | None:
        first, _, rest = name.partition(".")
        if first in module.functions and not rest:
            return module.functions[first]
        if first in module.classes:
            owner = module.classes[first]
            return self.method(owner, rest) if rest else owner
        if first in module.imports and _depth < 5:
            return self._find_imported(module, module.imports[first] + (f".{rest}" if rest else ""), _depth)
        return None

    def _find_imported(self, importer: ModuleSource, full: str, depth: int) -> FunctionSource | ClassSource | None:
        parts = full.split(".")
        for cut in range(len(parts) - 1, 0, -1):
            named = self._named.get(".".join(parts[:cut]))
            if named:
                module = named[0] if len(named) == 1 else _nearest(named, importer)
                return self._find(module, ".".join(parts[cut:]), depth + 1)
        return None


def _nearest(modules: Sequence[ModuleSource], importer: ModuleSource) -> ModuleSource:
    """The module that shares most folders with another one."""
    here = Path(importer.path).absolute().parts

    def shared(module: ModuleSource) -> int:
        pairs = zip(Path(module.path).absolute().parts, here, strict=False)
        return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))

    return max(modules, key=shared)


def dotted(node: ast.expr) -> str:
    """Return `a.b.c` of such an expression, and an empty text of any other."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([node.id, *reversed(names)])


def module_name(path: Path) -> str:
    """Return the dotted name of a file: with the folders above it that are packages."""
    parts = [] if path.name == "__init__.py" else [path.stem]
    folder = path.absolute().parent
    while (folder / "__init__.py").is_file():
        parts.append(folder.name)
        folder = folder.parent
    return ".".join(reversed(parts)) or path.stem


def _imported(node: ast.Import | ast.ImportFrom, module: ModuleSource) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            first = alias.name.partition(".")[0]
            yield (alias.asname, alias.name) if alias.asname else (first, first)
        return
    source = node.module or ""
    if node.level:
        package = module.name.split(".")
        cut = node.level - (1 if Path(module.path).name == "__init__.py" else 0)
        source = ".".join([*package[: len(package) - cut], *([source] if source else [])])
    for alias in node.names:
        yield alias.asname or alias.name, f"{source}.{alias.name}"


def _called(node: ast.expr) -> ast.expr:
    return node.func if isinstance(node, ast.Call) else node
