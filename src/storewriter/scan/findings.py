"""From the flows of all functions to findings: one for a function and a file, unless all callers hold a lock."""

from __future__ import annotations

import ast
import functools
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import attrs

from storewriter.scan.flow import CallSite, Flow, Save, is_lock_decorated
from storewriter.scan.modules import ClassSource, FunctionSource, ModuleSource, Project
from storewriter.scan.reach import Reach
from storewriter.scan.state import Key, State
from storewriter.scan.values import Load, Site, Value, inner

__all__ = ["Finding", "findings"]

_IGNORE = re.compile(r"#\s*storewriter:\s*ignore\[\s*[^\s\]][^\]]*\]")
_SHOWN: Final = 60
_CALLERS_LOCK = ("_locked", "_unlocked", "_nolock", "_no_lock", "_without_lock", "_under_lock")
"""Names of functions whose callers hold the lock, by a habit of many programs."""


@attrs.frozen
class Finding:
    """A file that is loaded, changed and saved without a lock around it."""

    path: str
    """The source file, as it was given or found."""
    line: int
    """The line of the save, or of the call that leads to it."""
    function: str
    """The function in which the load and the save meet; `<module>` for the code at the top of a module."""
    file: str
    """The file that is changed, as far as the source names it."""
    load_line: int
    """The line of the load, or of the call that leads to it."""
    at_creation: bool
    """Whether the file is loaded when the object is made, or the module is imported, and saved in a later call."""
    form: str
    """The same with storewriter."""

    @property
    def why(self) -> str:
        """What is wrong, in one sentence."""
        if self.at_creation:
            loaded = f"what was loaded when the object was made (line {self.load_line})"
            return f"{self.file} is saved from {loaded}: what others have saved since then is lost"
        return (
            f"{self.file} is loaded (line {self.load_line}), changed and saved, and no lock is held from load to save"
        )


def findings(project: Project) -> tuple[list[Finding], list[FunctionSource]]:
    """Return the findings of all modules of a project, in the order of files and lines.

    The functions that are returned as well are nested too deeply to be walked.
    """
    scan = _Scan(project)
    # Who calls a function is known when all were walked. The flow that says most plainly what is wrong comes first.
    saves = sorted(scan.run(), key=lambda save: (save.load.at_creation, len(save.calls), save.calls[0].line))
    found: list[Finding] = []
    seen: set[tuple[object, object]] = set()
    for save in saves:
        function, finding = _finding(save)
        if scan.is_covered(function) or _is_ignored(save, function):
            continue
        owner: object = function.owner if function.owner is not None else function
        held_by: object = owner if save.load.at_creation else function
        known: set[tuple[object, object]] = {(held_by, finding.file), (function, finding.line)}
        if not known & seen:
            found.append(finding)
        seen |= known | {(owner, finding.file)}
    return sorted(found, key=lambda each: (each.path, each.line)), scan.too_deep


class _Scan:
    """The flows of all functions of a project."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._reach = Reach(project)
        self._sites: dict[FunctionSource | str, list[CallSite]] = defaultdict(list)
        self._constants: dict[Key, Value] = {}
        self._created: dict[ClassSource, State] = {}
        self.too_deep: list[FunctionSource] = []

    def run(self) -> Iterator[Save]:
        """Walk all flows. Yields saves that no lock protects within their flow."""
        modules = self._project.modules
        for module in modules:
            yield from self._unless_too_deep(module.body, functools.partial(self._module, module))
        for module in modules:
            for function in module.everything:
                yield from self._unless_too_deep(function, functools.partial(self._function, function))

    def _unless_too_deep(self, function: FunctionSource, walk: Callable[[], Iterable[Save]]) -> Iterable[Save]:
        try:
            return list(walk())
        except RecursionError:
            self.too_deep.append(function)
            return []

    def _module(self, module: ModuleSource) -> Iterator[Save]:
        flow = Flow(self._project, self._reach)
        end = flow.walk_module(module)
        self._note(flow.call_sites)
        once = _assigned_once(module)
        for (frame, name), value in end.variables.items():
            if frame == f"module {module.path}" and name in once:
                self._constants[frame, name] = _from_before(value)
        yield from flow.saves

    def _function(self, function: FunctionSource) -> Iterator[Save]:
        loads = self._reach.can(function, "load") or self._loads_at_creation(function.owner)
        if not (loads and self._reach.can(function, "save")):
            return
        state = State(constants=self._constants)
        if function.owner is not None and not function.name.endswith("__init__"):
            state.variables.update(self._creation(function.owner).variables)
        flow = Flow(self._project, self._reach)
        flow.walk_function(function, state)
        self._note(flow.call_sites)
        yield from flow.saves

    def _loads_at_creation(self, owner: ClassSource | None) -> bool:
        setup = self._project.method(owner, "__init__") if owner is not None else None
        return setup is not None and self._reach.can(setup, "load")

    def _creation(self, owner: ClassSource) -> State:
        """Return the attributes of an object that was just made."""
        if owner not in self._created:
            state = State(constants=self._constants)
            setup = self._project.method(owner, "__init__")
            if setup is not None:
                own = attrs.evolve(setup, owner=owner) if setup.owner is not owner else setup
                state = Flow(self._project, self._reach).walk_function(own, state)
            kept = {key: _from_before(value) for key, value in state.variables.items() if key[0] == "{self}"}
            self._created[owner] = State(variables=kept)
        return self._created[owner]

    def _note(self, sites: Iterable[CallSite]) -> None:
        for site in sites:
            self._sites[site.called].append(site)

    def is_covered(self, function: FunctionSource, _asked: frozenset[FunctionSource] = frozenset()) -> bool:
        """Whether every caller of a function in the scanned source holds a lock around it."""
        if function.name.endswith(_CALLERS_LOCK) or is_lock_decorated(function, self._project):
            return True
        if function in _asked or isinstance(function.node, ast.Module):
            return False
        sites = list(self._sites[function])
        if function.owner is not None:
            sites += self._sites[function.name.rpartition(".")[2]]
        asked = _asked | {function}
        return bool(sites) and all(site.in_lock or self.is_covered(site.caller, asked) for site in sites)


def _from_before(value: Value) -> Value:
    loads = frozenset(attrs.evolve(load, at_creation=True) for load in value.loads)
    return attrs.evolve(value, loads=loads, items=tuple(_from_before(item) for item in value.items))


def _assigned_once(module: ModuleSource) -> set[str]:
    """Return the variables of a module that are assigned once, and in no function."""
    counts: dict[str, int] = defaultdict(int)
    for node in module.tree.body:
        for part in ast.walk(node):
            if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                break
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                counts[part.id] += 1
    for function in module.everything:
        for part in ast.walk(function.node):
            if isinstance(part, ast.Global):
                counts.update(dict.fromkeys(part.names, 2))
    return {name for name, count in counts.items() if count == 1}


def _finding(save: Save) -> tuple[FunctionSource, Finding]:
    """Return the function in which the load and the save meet, and the finding."""
    loaded, saved = _meeting(save)
    function = saved.function
    finding = Finding(
        path=function.module.path,
        line=saved.line,
        function=function.name,
        file=_shown(save.load),
        load_line=loaded.line,
        at_creation=save.load.at_creation,
        form=_form(function),
    )
    return function, finding


def _meeting(save: Save) -> tuple[Site, Site]:
    if save.load.at_creation:
        return save.load.calls[-1], save.calls[0]
    met = save.load.calls[0], save.calls[0]
    for loaded, saved in zip(save.load.calls, save.calls, strict=False):
        if loaded.function is not saved.function:
            break
        met = loaded, saved
        if loaded.line != saved.line:
            break
    return met


def _shown(load: Load) -> str:
    text = inner(load.path).replace("__init__.", "")
    text = re.sub(r" #\d+", "", text)
    return text if len(text) <= _SHOWN else load.shown


def _form(function: FunctionSource) -> str:
    if isinstance(function.node, ast.AsyncFunctionDef):
        return "await AsyncStore(path).update(change), or: async with PerStoreWriterQueue().turn(path): load and save"
    return "Store(path).update(change), or: with PerStoreWriterQueue().turn(path): load and save"


def _is_ignored(save: Save, function: FunctionSource) -> bool:
    loaded, saved = _meeting(save)
    places = [loaded, saved, save.load.calls[-1], save.calls[-1], Site(function, function.line)]
    opened = [Site(save.calls[-1].function, save.opened_line)]
    return any(_has_ignore(place) for place in places + opened)


def _has_ignore(place: Site) -> bool:
    lines = place.function.module.lines
    return 0 < place.line <= len(lines) and _IGNORE.search(lines[place.line - 1]) is not None
