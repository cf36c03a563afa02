"""The value of an expression: which file it names, and where its content comes from."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence

import attrs

from storewriter.scan.modules import dotted
from storewriter.scan.state import Frame, State
from storewriter.scan.values import NONE, UNKNOWN, Load, Value, atom, inner, join_paths, merged
from storewriter.scan.walk import Walk

__all__ = ["add_loads", "assign", "evaluate", "iterated", "truth"]


def evaluate(node: ast.expr, state: State, frame: Frame, walk: Walk) -> Value:
    """Return what is known of the value of an expression that is no call."""
    match node:
        case ast.Constant(value=None):
            return NONE
        case ast.Constant(value=str(text)):
            return Value(path=text)
        case ast.Constant(value=bool()):
            return UNKNOWN
        case ast.Constant():
            return Value(path=atom(repr(node.value)))
        case ast.Name():
            return _name(node.id, state, frame, walk)
        case ast.Attribute():
            return _attribute(node, state, frame, walk)
        case ast.Subscript():
            return _subscript(node, state, frame, walk)
        case ast.BinOp():
            return _operation(node, state, frame, walk)
        case ast.JoinedStr():
            return _format(node, state, frame, walk)
        case ast.BoolOp():
            return _alternatives(node, state, frame, walk)
        case ast.IfExp():
            return _conditional(node, state, frame, walk)
        case ast.Tuple() | ast.List():
            items = [walk.value(item, state, frame) for item in node.elts]
            return Value(items=tuple(items) if len(items) < 10 else (), loads=_all(items, state))
        case ast.Await() | ast.Starred():
            return walk.value(node.value, state, frame)
        case ast.NamedExpr():
            value = walk.value(node.value, state, frame)
            assign(node.target, value, state, frame, walk)
            return value
        case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
            return _comprehension(node, state, frame, walk)
        case ast.Yield() | ast.YieldFrom():
            return _yield(node.value, state, frame, walk)
        case ast.Compare() | ast.Lambda():
            return UNKNOWN
        case _:
            parts = [
                walk.value(part, state, frame) for part in ast.iter_child_nodes(node) if isinstance(part, ast.expr)
            ]
            return Value(loads=_all(parts, state))


def _all(values: Iterable[Value], state: State) -> frozenset[Load]:
    found: frozenset[Load] = frozenset()
    for value in values:
        found |= state.whole(value)
    return found


def _name(name: str, state: State, frame: Frame, walk: Walk) -> Value:
    known = frame.lookup(state, name)
    if known is not None:
        return known
    function = walk.project.function(frame.module, name)
    full = frame.module.imports.get(name, name)
    return Value(path=atom(full), function=function)


def _attribute(node: ast.Attribute, state: State, frame: Frame, walk: Walk) -> Value:
    base = walk.value(node.value, state, frame)
    known = state.variables.get((base.path, node.attr)) if base.path else None
    if known is not None:
        return known
    if base.handle is not None and node.attr == "name":
        return Value(path=base.handle.path)
    path = atom(f"{inner(base.path)}.{node.attr}") if base.path else ""
    method = walk.project.method(base.instance, node.attr) if base.instance is not None else None
    if method is None:
        function = walk.project.function(frame.module, dotted(node)) if dotted(node) else None
        return Value(path=path, loads=base.loads, function=function)
    if method.is_decorated("property", "cached_property"):
        found = walk.inlined(method, Arguments([base]), state, frame, node.lineno)
        if found is not None:
            return found if found.path else attrs.evolve(found, path=path)
        return Value(path=path, loads=base.loads)
    return Value(path=path, function=method, bound=base.path)


@attrs.frozen
class Arguments:
    """The arguments of a call."""

    positional: Sequence[Value] = ()
    keywords: dict[str, Value] = attrs.field(factory=dict[str, Value])


def _subscript(node: ast.Subscript, state: State, frame: Frame, walk: Walk) -> Value:
    base = walk.value(node.value, state, frame)
    index = walk.value(node.slice, state, frame)
    match node.slice:
        case ast.Constant(value=int(number)) if -len(base.items) <= number < len(base.items):
            return base.items[number]
        case _:
            pass
    path = atom(f"{inner(base.path)}[{inner(index.path)}]") if base.path and index.path else ""
    return Value(path=path, loads=state.whole(base))


def _operation(node: ast.BinOp, state: State, frame: Frame, walk: Walk) -> Value:
    left = walk.value(node.left, state, frame)
    right = walk.value(node.right, state, frame)
    path = ""
    if isinstance(node.op, ast.Div):
        path = join_paths([left.path, right.path])
    elif isinstance(node.op, ast.Add) and left.path and right.path:
        path = left.path + right.path
    elif isinstance(node.op, ast.Mod) and left.path:
        path = atom(f"{left.path} % {ast.unparse(node.right)}")
    return Value(path=path, loads=_all([left, right], state))


def _format(node: ast.JoinedStr, state: State, frame: Frame, walk: Walk) -> Value:
    values = [
        walk.value(part.value if isinstance(part, ast.FormattedValue) else part, state, frame) for part in node.values
    ]
    known = all(value.path for value in values)
    return Value(path="".join(value.path for value in values) if known else "", loads=_all(values, state))


def _alternatives(node: ast.BoolOp, state: State, frame: Frame, walk: Walk) -> Value:
    values = [walk.value(part, state, frame) for part in node.values]
    if isinstance(node.op, ast.Or):
        values = [value for value in values[:-1] if value != NONE] + values[-1:]
    if len(values) == 1:
        return values[0]
    text = " or ".join(inner(value.path) for value in values)
    path = atom(text) if all(value.path for value in values) else ""
    instance = next((value.instance for value in values if value.instance is not None), None)
    return Value(path=path, loads=_all(values, state), instance=instance, is_lock=any(v.is_lock for v in values))


def truth(test: ast.expr, state: State, frame: Frame, walk: Walk) -> bool | None:
    """Return what a test says if that is known: of an argument that is None."""
    match test:
        case ast.Compare(left=left, ops=[ast.Is() | ast.IsNot() as operator], comparators=[ast.Constant(value=None)]):
            if walk.value(left, state, frame) != NONE:
                return None
            return isinstance(operator, ast.Is)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            found = truth(operand, state, frame, walk)
            return None if found is None else not found
        case ast.Name():
            return False if walk.value(test, state, frame) == NONE else None
        case _:
            walk.value(test, state, frame)
            return None


def _conditional(node: ast.IfExp, state: State, frame: Frame, walk: Walk) -> Value:
    known = truth(node.test, state, frame, walk)
    if known is not None:
        return walk.value(node.body if known else node.orelse, state, frame)
    return merged(walk.value(node.body, state, frame), walk.value(node.orelse, state, frame))


def iterated(node: ast.expr, target: ast.expr, state: State, frame: Frame, walk: Walk) -> Value:
    """Return what is known of the items of an iterable; those of an open file are its lines."""
    value = walk.value(node, state, frame)
    loads = state.whole(value)
    if value.handle is not None and value.handle.reads:
        loads |= frame.load(value.handle.path, value.handle.shown, state, node)
    return Value(path=atom(f"{ast.unparse(target)} #{walk.fresh()}"), loads=loads)


def _comprehension(
    node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp, state: State, frame: Frame, walk: Walk
) -> Value:
    for generator in node.generators:
        item = iterated(generator.iter, generator.target, state, frame, walk)
        assign(generator.target, item, state, frame, walk)
    parts = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
    return Value(loads=_all([walk.value(part, state, frame) for part in parts], state))


def _yield(node: ast.expr | None, state: State, frame: Frame, walk: Walk) -> Value:
    value = walk.value(node, state, frame) if node is not None else UNKNOWN
    if frame.on_yield is None:
        frame.yielded.append(value)
        return UNKNOWN
    after = frame.on_yield(state, value)
    if after is not None:
        state.become(after)
    return UNKNOWN


def assign(target: ast.expr, value: Value, state: State, frame: Frame, walk: Walk) -> None:
    """Give a value to the target of an assignment."""
    match target:
        case ast.Name():
            frame.assign(state, target.id, value)
        case ast.Attribute():
            base = walk.value(target.value, state, frame)
            if base.path:
                state.variables[base.path, target.attr] = value
            if base.instance is None and base.path != "{self}":
                add_loads(target.value, state.whole(value), state, frame, walk)
        case ast.Subscript():
            add_loads(target.value, state.whole(value), state, frame, walk)
        case ast.Tuple() | ast.List():
            items = value.items if len(value.items) == len(target.elts) else ()
            for number, part in enumerate(target.elts):
                path = atom(f"{inner(value.path)}[{number}]") if value.path else ""
                assign(part, items[number] if items else Value(path=path, loads=value.loads), state, frame, walk)
        case ast.Starred():
            assign(target.value, value, state, frame, walk)
        case _:
            pass


def add_loads(target: ast.expr, loads: frozenset[Load], state: State, frame: Frame, walk: Walk) -> None:
    """Note that what an expression names holds content of these loads too: `state["a"].append(...)`."""
    if not loads:
        return
    target = _container(target)
    if isinstance(target, ast.Name):
        frame.add_loads(state, target.id, loads)
        value = frame.lookup(state, target.id)
        if value is not None and value.path and (value.instance is not None or value.path == "{self}"):
            _add_to(state, (value.path, "*"), loads)
    elif isinstance(target, ast.Attribute):
        base = walk.value(target.value, state, frame)
        if base.path:
            _add_to(state, (base.path, target.attr), loads)


def _container(node: ast.expr) -> ast.expr:
    while True:
        if isinstance(node, ast.Subscript | ast.Await):
            node = node.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            node = node.func.value
        else:
            return node


def _add_to(state: State, key: tuple[str, str], loads: frozenset[Load]) -> None:
    known = state.variables.get(key, UNKNOWN)
    path = known.path or (atom(f"{inner(key[0])}.{key[1]}") if key[1] != "*" else "")
    state.variables[key] = attrs.evolve(known, path=path, loads=known.loads | loads)
