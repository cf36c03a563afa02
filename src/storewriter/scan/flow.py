"""The flow of a function, statement by statement, into the helpers that it calls: which loads lead to which saves."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Final

import attrs

from storewriter.scan import file_calls, locks
from storewriter.scan.calls import call, callee, described
from storewriter.scan.expressions import Arguments, add_loads, assign, evaluate, iterated, truth
from storewriter.scan.modules import FunctionSource, ModuleSource, Project, dotted
from storewriter.scan.reach import Reach
from storewriter.scan.state import Frame, State, joined
from storewriter.scan.values import UNKNOWN, Load, Site, Value, atom, merged
from storewriter.scan.walk import Values

__all__ = ["CallSite", "Flow", "Save"]

_DEEPEST: Final = 6
"""So many calls are followed one within the other."""
_MOST: Final = 250
"""So many calls are followed in one flow."""


@attrs.frozen
class Save:
    """A save of a file whose content was loaded from it, without a lock around both."""

    load: Load
    calls: tuple[Site, ...]
    """Where it is saved: the outermost function first."""
    opened_line: int
    """The line on which the file was opened for that."""


@attrs.frozen
class CallSite:
    """A place where a function of the scanned source is called."""

    called: FunctionSource | str
    """The function, or the name of a method of an object that is not known."""
    caller: FunctionSource
    in_lock: bool


class Flow:
    """One walk along the flow of a function, with the helpers that it calls."""

    def __init__(self, project: Project, reach: Reach) -> None:
        self.project = project
        self.saves: list[Save] = []
        self.call_sites: list[CallSite] = []
        self._reach = reach
        self._number = 0
        self._followed = 0
        self._frames: list[Frame] = []
        self._closures: dict[FunctionSource, Frame] = {}

    # The walk, as `storewriter.scan.walk` describes it.

    def fresh(self) -> int:
        """Return a number that was not there before."""
        self._number += 1
        return self._number

    def value(self, node: ast.expr, state: State, frame: Frame) -> Value:
        """Return what is known of the value of an expression."""
        if isinstance(node, ast.Call):
            return call(node, state, frame, self)
        return evaluate(node, state, frame, self)

    def block(self, body: Sequence[ast.stmt], state: State, frame: Frame) -> State | None:
        """Run statements. Returns what holds after them; None if their end is not reached."""
        now: State | None = state
        for statement in body:
            if now is None:
                return None
            now = self._statement(statement, now, frame)
        return now

    def add_call(self, called: FunctionSource | str, state: State, frame: Frame) -> None:
        """Note that a function, or some method of this name, is called or passed on here."""
        # Each function is walked from its start on its own: its calls are noted there, and not where it is a helper.
        if not frame.calls:
            self.call_sites.append(CallSite(called, frame.function, bool(state.locks)))

    def add_save(
        self, path: str, loads: frozenset[Load], state: State, frame: Frame, node: ast.AST, opened_line: int
    ) -> None:
        """Note that content which comes from these loads is saved to a file."""
        if not path or file_calls.is_temporary(path):
            return
        same = [load for load in loads if load.path == path]
        if any(load.locks & state.locks or (load.at_creation and state.locks) for load in same):
            return
        calls = (*frame.calls, Site(frame.function, getattr(node, "lineno", 0)))
        # A call that loads once more has the finding: what was loaded before is not what it saves.
        deepest = max((_in_common(load, calls) for load in same), default=0)
        self.saves.extend(Save(load, calls, opened_line) for load in same if _in_common(load, calls) == deepest)

    def inlined(self, function: FunctionSource, values: Values, state: State, frame: Frame, line: int) -> Value | None:
        """Run a function that is called; None if it is not followed."""
        self.add_call(function, state, frame)
        if function.is_decorated("contextmanager", "asynccontextmanager") or not self._is_followed(function, frame):
            return None
        inside = self._entered(function, values, state, frame, line)
        return self._ended(inside, state, self._run_within(inside, state))

    # Calls.

    def _is_followed(self, function: FunctionSource, frame: Frame) -> bool:
        if len(self._frames) >= _DEEPEST or self._followed >= _MOST:
            return False
        return all(each.function is not function for each in self._frames) and self._reach.is_worth(function)

    def _entered(self, function: FunctionSource, values: Values, state: State, frame: Frame, line: int) -> Frame:
        self._followed += 1
        calls = (*frame.calls, Site(frame.function, line))
        inside = Frame(f"call {self.fresh()}", function, calls, self._closures.get(function))
        self._bind(inside, values, state)
        return inside

    def _run_within(self, inside: Frame, state: State) -> State | None:
        assert not isinstance(inside.function.node, ast.Module)
        self._frames.append(inside)
        lock = self.fresh() if is_lock_decorated(inside.function, self.project) else None
        if lock is not None:
            state.locks |= {lock}
        end = self.block(inside.function.node.body, state, inside)
        if lock is not None:
            for each in [state, *([end] if end else []), *(left for left, _ in inside.returned)]:
                each.locks -= {lock}
        self._frames.pop()
        return end

    def _ended(self, inside: Frame, state: State, end: State | None) -> Value:
        ends = [left for left, _ in inside.returned] + ([end] if end is not None else [])
        after = joined(ends)
        if after is not None:
            state.become(after)
        if inside not in self._closures.values():
            state.forget(inside)
        values = [value for _, value in inside.returned if value.path != "None"] or [UNKNOWN]
        result = values[0]
        for value in values[1:]:
            result = merged(result, value)
        content = frozenset(load for value in inside.yielded for load in state.whole(value))
        return attrs.evolve(result, loads=result.loads | content) if content else result

    def _bind(self, inside: Frame, values: Values, state: State) -> None:
        node = inside.function.node
        assert not isinstance(node, ast.Module)
        names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
        given = dict(zip(names, values.positional, strict=False))
        extra = list(values.positional[len(names) :])
        given.update({name: value for name, value in values.keywords.items() if name != "**"})
        for name, value in self._defaults(node, state, inside).items():
            given.setdefault(name, value)
        spread = values.keywords.get("**")
        for name in [*names, *(argument.arg for argument in node.args.kwonlyargs)]:
            found = given.get(name)
            state.variables[inside.number, name] = found or Value(
                path=atom(name), loads=spread.loads if spread else frozenset()
            )
        if node.args.vararg is not None:
            state.variables[inside.number, node.args.vararg.arg] = Value(items=tuple(extra))
        if node.args.kwarg is not None:
            rest = [value for name, value in given.items() if name not in names]
            loads = frozenset(load for value in rest for load in state.whole(value))
            state.variables[inside.number, node.args.kwarg.arg] = Value(path=atom(node.args.kwarg.arg), loads=loads)

    def _defaults(self, node: ast.FunctionDef | ast.AsyncFunctionDef, state: State, inside: Frame) -> dict[str, Value]:
        names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
        found = dict(zip(names[::-1], node.args.defaults[::-1], strict=False))
        for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
            if default is not None:
                found[argument.arg] = default
        return {name: self.value(default, state, inside) for name, default in found.items()}

    # A flow from its start.

    def walk_module(self, module: ModuleSource) -> State:
        """Walk along the body of a module. Returns what holds at its end."""
        frame = Frame(f"module {module.path}", module.body, ())
        state = State()
        self._frames.append(frame)
        return self.block(module.tree.body, state, frame) or state

    def walk_function(self, function: FunctionSource, state: State) -> State:
        """Walk along the body of a function. Its arguments are known by their names."""
        node = function.node
        assert not isinstance(node, ast.Module)
        frame = Frame("start", function, ())
        self._frames.append(frame)
        prefix = "__init__." if node.name == "__init__" else ""
        every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        every += [extra for extra in (node.args.vararg, node.args.kwarg) if extra is not None]
        for argument in every:
            state.variables[frame.number, argument.arg] = Value(path=atom(prefix + argument.arg))
        if function.owner is not None and every and not function.is_decorated("staticmethod"):
            state.variables[frame.number, every[0].arg] = Value(path="{self}", instance=function.owner)
        if is_lock_decorated(function, self.project):
            state.locks |= {self.fresh()}
        end = self.block(node.body, state, frame)
        return joined([left for left, _ in frame.returned] + ([end] if end is not None else [])) or state

    # Statements.

    def _statement(self, node: ast.stmt, state: State, frame: Frame) -> State | None:
        match node:
            case ast.Expr():
                return self._expression(node, state, frame)
            case ast.Assign():
                value = self.value(node.value, state, frame)
                for target in node.targets:
                    assign(target, value, state, frame, self)
            case ast.AnnAssign(value=ast.expr() as given):
                assign(node.target, self.value(given, state, frame), state, frame, self)
            case ast.AugAssign():
                self._augmented(node, state, frame)
            case ast.Return():
                value = self.value(node.value, state, frame) if node.value is not None else UNKNOWN
                frame.returned.append((state, value))
                return None
            case ast.Raise():
                return None
            case ast.Break() | ast.Continue():
                frame.left_loop.append(state)
                return None
            case ast.If():
                return self._if(node, state, frame)
            case ast.For() | ast.AsyncFor() | ast.While():
                return self._loop(node, state, frame)
            case ast.With() | ast.AsyncWith():
                return self._with(node.items, node.body, state, frame)
            case ast.Try() | ast.TryStar():
                return self._try(node, state, frame)
            case ast.Match():
                return self._match(node, state, frame)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._define(node, state, frame)
            case ast.Global():
                frame.global_names.update(node.names)
            case _:
                pass
        return state

    def _expression(self, node: ast.Expr, state: State, frame: Frame) -> State | None:
        self.value(node.value, state, frame)
        ends = isinstance(node.value, ast.Call) and frame.module.full_name(node.value.func) in _EXITS
        return None if ends else state

    def _augmented(self, node: ast.AugAssign, state: State, frame: Frame) -> None:
        value = self.value(node.value, state, frame)
        if not isinstance(node.target, ast.Name):
            add_loads(node.target, state.whole(value), state, frame, self)
            return
        known = frame.lookup(state, node.target.id) or UNKNOWN
        path = known.path + value.path if known.path and value.path else ""
        loads = state.whole(known) | state.whole(value)
        frame.assign(state, node.target.id, attrs.evolve(known, path=path, loads=loads, items=()))

    def _if(self, node: ast.If, state: State, frame: Frame) -> State | None:
        known = truth(node.test, state, frame, self)
        if known is not None:
            return self.block(node.body if known else node.orelse, state, frame)
        other = state.copy()
        ends = [self.block(node.body, state, frame), self.block(node.orelse, other, frame)]
        return joined([end for end in ends if end is not None])

    def _match(self, node: ast.Match, state: State, frame: Frame) -> State | None:
        subject = self.value(node.subject, state, frame)
        ends: list[State | None] = [state.copy()]
        for case in node.cases:
            branch = state.copy()
            for part in ast.walk(case.pattern):
                if isinstance(part, ast.MatchAs | ast.MatchStar) and part.name is not None:
                    frame.assign(branch, part.name, Value(path=atom(part.name), loads=state.whole(subject)))
            ends.append(self.block(case.body, branch, frame))
        return joined([end for end in ends if end is not None])

    def _loop(self, node: ast.For | ast.AsyncFor | ast.While, state: State, frame: Frame) -> State | None:
        around, frame.left_loop = frame.left_loop, []
        if isinstance(node, ast.While):
            self.value(node.test, state, frame)
            before = state.copy()
        else:
            item = iterated(node.iter, node.target, state, frame, self)
            before = state.copy()
            assign(node.target, item, state, frame, self)
        end = self.block(node.body, state, frame)
        ends = [before, *frame.left_loop, *([end] if end is not None else [])]
        frame.left_loop = around
        after = joined(ends)
        return self.block(node.orelse, after, frame) if after is not None else None

    def _define(self, node: ast.FunctionDef | ast.AsyncFunctionDef, state: State, frame: Frame) -> None:
        function = frame.module.nested.get(id(node))
        if function is not None and not isinstance(frame.function.node, ast.Module):
            self._closures[function] = frame
            frame.assign(state, node.name, Value(path=atom(node.name), function=function))

    def _try(self, node: ast.Try | ast.TryStar, state: State, frame: Frame) -> State | None:
        before, returns = state.copy(), len(frame.returned)
        end = self.block(node.body, state, frame)
        failed = joined([before, end if end is not None else state])
        assert failed is not None
        failed = failed.copy()
        failed.locks = before.locks if end is None else before.locks | end.locks
        ends = [self.block(node.orelse, end, frame) if end is not None else None]
        ends += [self._handler(handler, failed.copy(), frame) for handler in node.handlers]
        after = joined([each for each in ends if each is not None])
        if not node.finalbody:
            return after
        for index in range(returns, len(frame.returned)):
            left, value = frame.returned[index]
            frame.returned[index] = (self.block(node.finalbody, left.copy(), frame) or left, value)
        if after is None:
            self.block(node.finalbody, failed, frame)
            return None
        return self.block(node.finalbody, after, frame)

    def _handler(self, handler: ast.ExceptHandler, state: State, frame: Frame) -> State | None:
        if handler.name:
            frame.assign(state, handler.name, UNKNOWN)
        return self.block(handler.body, state, frame)

    # `with`

    def _with(
        self, items: Sequence[ast.withitem], body: Sequence[ast.stmt], state: State, frame: Frame
    ) -> State | None:
        if not items:
            return self.block(body, state, frame)
        before, returns = state.locks, len(frame.returned)
        item, rest = items[0], items[1:]
        after = self._with_generator(item, rest, body, state, frame)
        if isinstance(after, State | None):
            ends = True
        else:
            value = self.value(item.context_expr, state, frame)
            takes = self._is_lock(item.context_expr, value)
            if takes:
                state.locks |= {self.fresh()}
            if item.optional_vars is not None:
                assign(item.optional_vars, value, state, frame, self)
            after = self._with(rest, body, state, frame)
            ends = takes or value.handle is not None or "ExitStack" in ast.unparse(item.context_expr)
        if ends:
            for left, _ in frame.returned[returns:]:
                left.locks &= before
            if after is not None:
                after.locks &= before
        return after

    def _with_generator(
        self, item: ast.withitem, rest: Sequence[ast.withitem], body: Sequence[ast.stmt], state: State, frame: Frame
    ) -> State | _NoGenerator | None:
        """Run a context manager that is a generator of the scanned source: the body of the `with` at its `yield`."""
        if not isinstance(item.context_expr, ast.Call) or len(self._frames) >= _DEEPEST:
            return _NO_GENERATOR
        made = described(item.context_expr, state, frame, self)
        function, bound = callee(made)
        if function is None or not function.is_decorated("contextmanager", "asynccontextmanager"):
            return _NO_GENERATOR
        self.add_call(function, state, frame)
        arguments = Arguments([*([] if bound is None else [bound]), *made.positional], made.keywords)
        inside = self._entered(function, arguments, state, frame, item.context_expr.lineno)
        reached = False

        def body_of_with(now: State, value: Value) -> State | None:
            nonlocal reached
            outer = self._frames.pop()
            if locks.is_lock_name(function.name):
                now.locks |= {self.fresh()}
            if item.optional_vars is not None:
                assign(item.optional_vars, value, now, frame, self)
            after = self._with(rest, body, now, frame)
            self._frames.append(outer)
            reached = reached or after is not None
            return after

        inside.on_yield = body_of_with
        self._ended(inside, state, self._run_within(inside, state))
        return state if reached else None

    def _is_lock(self, node: ast.expr, value: Value) -> bool:
        name = dotted(node.func if isinstance(node, ast.Call) else node)
        if not name and isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name = node.func.attr
        if value.is_lock or locks.is_lock_name(name):
            return True
        enter = [self.project.method(value.instance, each) for each in _ENTERS] if value.instance is not None else []
        return any(locks.takes_lock(method) for method in enter if method is not None)


@attrs.frozen
class _NoGenerator:
    """The context manager is no generator of the scanned source."""


_NO_GENERATOR: Final = _NoGenerator()
_ENTERS = ("__enter__", "__aenter__")
_EXITS = {"sys.exit", "exit", "quit", "os._exit"}


def _in_common(load: Load, calls: tuple[Site, ...]) -> int:
    """How many calls lead to both, the load and the save; 0 for what was loaded when the object was made."""
    if load.at_creation:
        return 0
    return next((depth for depth, (one, other) in enumerate(zip(load.calls, calls, strict=False)) if one != other), 0)


def is_lock_decorated(function: FunctionSource, project: Project) -> bool:
    """Whether a decorator of the function holds a lock while it runs."""
    for node in function.decorators:
        name = dotted(node.func if isinstance(node, ast.Call) else node)
        if locks.is_lock_name(name):
            return True
        known = project.function(function.module, name)
        if known is not None and locks.takes_lock(known):
            return True
    return False
