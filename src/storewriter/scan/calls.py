"""What a call does: it follows a helper, takes a lock, opens, loads, saves or renames a file, or returns a path.

Each function here knows one kind of call, and returns None for the others. They are asked in the order of `_KINDS`.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence

import attrs

from storewriter.scan import file_calls, locks
from storewriter.scan.expressions import Arguments, add_loads
from storewriter.scan.modules import FunctionSource, dotted
from storewriter.scan.state import Frame, State
from storewriter.scan.values import UNKNOWN, Handle, Load, Value, atom, inner, join_paths
from storewriter.scan.walk import Walk

__all__ = ["Call", "call", "callee", "described"]

_CALLERS = {"to_thread", "run_sync", "run_in_executor", "run_in_threadpool", "partial", "apply", "run"}
"""Functions that call a function which they are given."""


@attrs.define(eq=False)
class Call:
    """A call with what is known of its parts."""

    node: ast.Call
    name: str
    """The full dotted name of the function, with imports spelled out; empty if it has none."""
    last: str
    """The last part of its name."""
    receiver: Value | None
    """The object of a method."""
    positional: list[Value]
    keywords: dict[str, Value]
    state: State
    frame: Frame
    walk: Walk

    @property
    def values(self) -> list[Value]:
        """All arguments."""
        return [*self.positional, *self.keywords.values()]

    def argument(self, index: int, *names: str) -> Value:
        """Return an argument by its index or its names."""
        for name in names:
            if name in self.keywords:
                return self.keywords[name]
        return self.positional[index] if len(self.positional) > index else UNKNOWN

    def expression(self, index: int, name: str) -> ast.expr | None:
        """Return the source of an argument."""
        found = next((keyword.value for keyword in self.node.keywords if keyword.arg == name), None)
        return found or (self.node.args[index] if len(self.node.args) > index else None)

    def shown(self, index: int = 0, name: str = "file") -> str:
        """Return an argument as the source says it."""
        found = self.expression(index, name)
        return ast.unparse(found) if found is not None else ""

    def content(self, values: Sequence[Value]) -> frozenset[Load]:
        """Return where the content of values comes from."""
        found: frozenset[Load] = frozenset()
        for value in values:
            found |= self.state.whole(value)
        return found

    def load(self, path: str, shown: str) -> frozenset[Load]:
        """Note a load of a file."""
        return self.frame.load(path, shown, self.state, self.node)

    def save(self, path: str, loads: frozenset[Load], opened_line: int = 0) -> None:
        """Note a save of a file."""
        self.state.written[path] = self.state.written.get(path, frozenset()) | loads
        self.walk.add_save(path, loads, self.state, self.frame, self.node, opened_line)


def call(node: ast.Call, state: State, frame: Frame, walk: Walk) -> Value:
    """Return what is known of what a call returns."""
    made = described(node, state, frame, walk)
    _note_functions_passed_on(made)
    for kind in _KINDS:
        found = kind(made)
        if found is not None:
            return found
    return _other(made)


def _note_functions_passed_on(call: Call) -> None:
    """A function that is given to another one is called there: `self._under_lock(body=write)` holds a lock."""
    given = [value.function for value in call.values if value.function is not None]
    if not given or call.last in _CALLERS:
        return
    function, _ = callee(call)
    in_lock = locks.is_lock_name(call.last) or (function is not None and locks.takes_lock(function))
    state = State(locks=call.state.locks | {0}) if in_lock else call.state
    for each in given:
        call.walk.add_call(each, state, call.frame)


def described(node: ast.Call, state: State, frame: Frame, walk: Walk) -> Call:
    """Return a call with what is known of its parts."""
    name = frame.module.full_name(node.func)
    receiver = _receiver(node, state, frame, walk)
    last = node.func.attr if isinstance(node.func, ast.Attribute) else name.rpartition(".")[2]
    positional = [walk.value(argument, state, frame) for argument in node.args]
    keywords = {keyword.arg or "**": walk.value(keyword.value, state, frame) for keyword in node.keywords}
    return Call(node, name, last, receiver, positional, keywords, state, frame, walk)


def _receiver(node: ast.Call, state: State, frame: Frame, walk: Walk) -> Value | None:
    """Return the object of a method; None for a function of a module (`json.load`)."""
    if not isinstance(node.func, ast.Attribute):
        return None
    first = dotted(node.func.value).partition(".")[0]
    if first in frame.module.imports and frame.lookup(state, first) is None:
        return walk.value(node.func.value, state, frame) if _is_value(first, frame, walk) else None
    return walk.value(node.func.value, state, frame)


def _is_value(name: str, frame: Frame, walk: Walk) -> bool:
    """Whether an imported name looks like a value (`from paths import CONFIG`), and not like a module."""
    return name.isupper() or walk.project.class_(frame.module, name) is not None


def callee(call: Call) -> tuple[FunctionSource | None, Value | None]:
    """Return the function or method of the scanned source that is called, and the object of a method."""
    func = call.node.func
    if isinstance(func, ast.Name):
        known = call.frame.lookup(call.state, func.id)
        if known is not None and known.function is not None:
            return known.function, _object(known.function, known.bound)
        return call.walk.project.function(call.frame.module, func.id), None
    receiver = call.receiver
    if isinstance(func, ast.Attribute) and receiver is not None and receiver.instance is not None:
        method = call.walk.project.method(receiver.instance, func.attr)
        return method, None if method is not None and method.is_decorated("staticmethod") else receiver
    function = call.walk.project.function(call.frame.module, dotted(func)) if dotted(func) else None
    if function is not None and function.owner is not None and function.is_decorated("classmethod"):
        return function, _object(function, "{self}")
    return function, None


def _object(function: FunctionSource, bound: str) -> Value | None:
    return Value(path=bound, instance=function.owner) if bound else None


def _helper(call: Call) -> Value | None:
    function, bound = callee(call)
    if function is None:
        return None
    arguments = Arguments([*([] if bound is None else [bound]), *call.positional], call.keywords)
    return call.walk.inlined(function, arguments, call.state, call.frame, call.node.lineno)


def _object_made(call: Call) -> Value | None:
    if call.name == "super" and not call.node.args:
        return _parent(call)
    made = call.walk.project.class_(call.frame.module, dotted(call.node.func))
    if made is None:
        return None
    one = Value(path=atom(f"{made.name} #{call.walk.fresh()}"), instance=made, is_lock=locks.is_lock_name(made.name))
    setup = call.walk.project.method(made, "__init__")
    if setup is None:
        return attrs.evolve(one, loads=call.content(call.values))
    arguments = Arguments([one, *call.positional], call.keywords)
    call.walk.inlined(setup, arguments, call.state, call.frame, call.node.lineno)
    return one


def _parent(call: Call) -> Value | None:
    owner = call.frame.function.owner
    base = (
        next((call.walk.project.class_(owner.module, dotted(node)) for node in owner.node.bases), None)
        if owner
        else None
    )
    first = _first_parameter(call.frame.function)
    known = call.frame.lookup(call.state, first) if first else None
    return attrs.evolve(known, instance=base) if known is not None and base is not None else None


def _first_parameter(function: FunctionSource) -> str:
    node = function.node
    if isinstance(node, ast.Module):
        return ""
    names = [*node.args.posonlyargs, *node.args.args]
    return names[0].arg if names else ""


def _function_called_elsewhere(call: Call) -> Value | None:
    """`asyncio.to_thread(function, ...)`; and `queue.run_exclusive(path, function)`, which holds a lock meanwhile."""
    in_lock = locks.is_lock_name(call.last)
    if call.last not in _CALLERS and not in_lock:
        return None
    before = call.state.locks
    if in_lock:
        call.state.locks |= {call.walk.fresh()}
    found = _called(call)
    call.state.locks = before if in_lock else call.state.locks
    return found


def _called(call: Call) -> Value | None:
    for index, value in enumerate(call.positional):
        node = call.node.args[index] if index < len(call.node.args) else None
        if isinstance(node, ast.Lambda):
            return call.walk.value(node.body, call.state, call.frame)
        if value.function is not None:
            bound = _object(value.function, value.bound)
            values = [*([] if bound is None else [bound]), *call.positional[index + 1 :]]
            arguments = Arguments(values, call.keywords)
            return call.walk.inlined(value.function, arguments, call.state, call.frame, call.node.lineno)
    return None


def _lock(call: Call) -> Value | None:
    name = call.name or call.last
    state = call.state
    if locks.is_release(name, call.node):
        if state.locks:
            state.locks -= {max(state.locks)}
        return UNKNOWN
    if call.last in ("enter_context", "enter_async_context", "push"):
        given = call.argument(0)
        if given.is_lock:
            state.locks |= {call.walk.fresh()}
        return given
    if not locks.is_lock_call(name, call.node):
        return UNKNOWN if call.last in ("flock", "lockf", "fcntl") else None
    if locks.takes(call.last):
        state.locks |= {call.walk.fresh()}
    opened = None
    if name == "portalocker.Lock":
        opened = file_calls.handle(call.argument(0, "filename"), call.shown(), call.expression(1, "mode"), "r+")
    return attrs.evolve(_other(call), is_lock=True, handle=opened)


def _open(call: Call) -> Value | None:
    name, receiver = call.name, call.receiver
    if file_calls.is_open(name):
        return _opened(call, call.argument(0, "file"), call.shown(), call.expression(1, "mode"))
    if call.last in file_calls.ATOMIC:
        return _opened(call, call.argument(0), call.shown(), ast.Constant("w"))
    if name == "os.fdopen":
        return _opened(call, call.argument(0), call.shown(), call.expression(1, "mode"))
    if name == "os.open":
        return Value(path=call.argument(0).path)
    if call.last == "open" and receiver is not None and receiver.path:
        first = call.expression(0, "mode")
        if first is None or _is_mode(first):
            return _opened(call, receiver, ast.unparse(_object_of(call.node)), first)
        if (second := call.expression(1, "mode")) is not None and _is_mode(second):
            return _opened(call, call.argument(0), call.shown(), second)
    return None


def _is_mode(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and set(node.value) <= set("rwabtx+U")


def _opened(call: Call, path: Value, shown: str, mode: ast.expr | None) -> Value:
    opened = file_calls.handle(path, shown, mode)
    return Value(path=path.path, handle=attrs.evolve(opened, line=call.node.lineno))


def _temporary(call: Call) -> Value | None:
    if call.name not in file_calls.TEMPORARY:
        return None
    path = atom(f"temporary {call.walk.fresh()}")
    if call.name.endswith("mkstemp"):
        return Value(items=(Value(path=path), Value(path=path)))
    opened = Handle(path, path, reads=False, writes=True) if call.name.endswith("File") else None
    return Value(path=path, handle=opened)


def _rename(call: Call) -> Value | None:
    if call.name in file_calls.RENAMES:
        return _renamed(call, call.argument(0, "src").path, call.argument(1, "dst"))
    if call.last in ("replace", "rename") and len(call.values) == 1 and call.receiver is not None:
        path = call.receiver.handle.path if call.receiver.handle is not None else call.receiver.path
        if path in call.state.written:
            return _renamed(call, path, call.argument(0, "target"))
    return None


def _renamed(call: Call, source: str, target: Value) -> Value:
    loads = call.state.written.get(source)
    if loads is not None and target.path:
        call.save(target.path, loads)
    return Value(path=target.path)


def _path(call: Call) -> Value | None:
    receiver = call.receiver
    if call.name in file_calls.SAME_PATH or call.name in file_calls.JOINS:
        path = join_paths(value.path for value in call.positional)
        return Value(path=path, loads=call.content(call.positional))
    if call.name == "os.path.dirname":
        return Value(path=atom(f"{inner(call.argument(0).path)}.parent"))
    if receiver is None:
        return None
    if call.last in file_calls.SAME_PATH_METHODS:
        return receiver
    if call.last == "joinpath":
        return Value(path=join_paths([receiver.path, *(value.path for value in call.positional)]))
    return None


def _whole_file(call: Call) -> Value | None:
    receiver = call.receiver
    if receiver is None or not receiver.path or receiver.handle is not None:
        return None
    arguments = call.node.args
    if call.last in ("read_text", "read_bytes"):
        if arguments and not isinstance(arguments[0], ast.Constant):  # a reader of its own: `disk.read_text(path)`
            return Value(loads=call.load(call.argument(0).path, call.shown()))
        return Value(loads=call.load(receiver.path, ast.unparse(_object_of(call.node))))
    if call.last in ("write_text", "write_bytes"):
        if len(arguments) > 1 and not isinstance(arguments[1], ast.Constant):
            call.save(call.argument(0).path, call.content(call.positional[1:]))
        else:
            call.save(receiver.path, call.content(call.values))
        return UNKNOWN
    return None


_SAME_HANDLE = {
    "BufferedReader",
    "BufferedWriter",
    "DictWriter",
    "GzipFile",
    "TextIOWrapper",
    "__enter__",
    "__aenter__",
    "aclosing",
    "closing",
    "fileno",
    "getwriter",
    "writer",
}


def _open_file_method(call: Call) -> Value | None:
    opened = call.receiver.handle if call.receiver is not None else None
    if opened is None:
        return None
    if call.last in _SAME_HANDLE:
        return call.receiver
    if call.last.startswith("write") and opened.writes:
        call.save(opened.path, call.content(call.values), opened.line)
        return UNKNOWN
    if call.last.startswith("read") and opened.reads:
        return Value(loads=call.load(opened.path, opened.shown))
    return UNKNOWN


def _open_file_argument(call: Call) -> Value | None:
    opened = [value.handle for value in call.values if value.handle is not None]
    if not opened:
        return None
    if call.name == "os.write":
        call.save(opened[0].path, call.content(call.values))
        return UNKNOWN
    if call.last in _SAME_HANDLE:
        return next(value for value in call.values if value.handle is not None)
    loads = call.content([*call.values, *_known(call.receiver)])
    for each in opened:
        if file_calls.loads_from(each, call.last):
            loads |= call.load(each.path, each.shown)
    for each in opened:
        if file_calls.saves_to(each, call.last) and call.last not in file_calls.NO_CONTENT:
            call.save(each.path, loads, each.line)
    if call.receiver is not None and file_calls.changes_receiver(call.last):
        add_loads(_object_of(call.node), loads, call.state, call.frame, call.walk)
    return Value(loads=loads)


def _object_of(node: ast.Call) -> ast.expr:
    assert isinstance(node.func, ast.Attribute)
    return node.func.value


def _known(value: Value | None) -> list[Value]:
    return [] if value is None else [value]


def _library(call: Call) -> Value | None:
    """Functions of libraries that get a path: `parser.read(path)`, `YAML().load(path)`, `toml.load(path)`."""
    if call.name in ("ruamel.yaml.YAML", "ruamel.yaml.main.YAML"):
        return Value(path=atom(f"yaml #{call.walk.fresh()}"), library="yaml")
    first = call.argument(0)
    if call.last == "TOMLFile":
        return Value(path=first.path, library="document")
    if call.receiver is not None and call.receiver.library == "document" and call.last in ("read", "write"):
        return _document(call, call.receiver.path)
    if call.name in file_calls.PATH_READERS:
        return Value(loads=call.load(first.path, call.shown()))
    if call.name in file_calls.PATH_WRITERS:
        return _path_written(call, file_calls.PATH_WRITERS[call.name])
    if call.receiver is None or not call.positional:
        return None
    if call.receiver.library == "yaml":
        if call.last == "load":
            return Value(loads=call.load(first.path, call.shown()))
        return _path_written(call, 1) if call.last == "dump" and len(call.positional) > 1 else None
    if call.last in ("read", "read_file"):
        paths = [value.path for value in (first.items or (first,)) if value.path]
        loads = frozenset(load for path in paths for load in call.load(path, call.shown()))
        add_loads(_object_of(call.node), loads, call.state, call.frame, call.walk)
        return Value(loads=loads)
    return None


def _document(call: Call, path: str) -> Value:
    """`TOMLFile(path).read()` and `.write(document)`."""
    if call.last == "read":
        return Value(loads=call.load(path, ast.unparse(_object_of(call.node))))
    call.save(path, call.content(call.values))
    return UNKNOWN


def _path_written(call: Call, index: int) -> Value:
    call.save(call.argument(index).path, call.content([v for i, v in enumerate(call.positional) if i != index]))
    return UNKNOWN


def _named_for_a_file(call: Call) -> Value | None:
    """Functions of modules that are not scanned: `read_json(path)`, `utils.save_yaml(path, value)`."""
    words = call.last.lower().strip("_").split("_")
    if len(words) < 2 or not set(words[1:]) & file_calls.FORMATS:
        return None
    if words[0] in ("read", "load") and call.positional and call.argument(0).path:
        return Value(loads=call.load(call.argument(0).path, call.shown()))
    if words[0] in ("write", "save", "dump"):
        loads = call.content(call.values)
        for path in {value.path for value in call.values if value.path and not value.loads}:
            call.save(path, loads)
        return UNKNOWN
    return None


def _other(call: Call) -> Value:
    """Any other function: what it returns may hold what it was given."""
    given = call.content(call.values)
    if call.receiver is not None and call.receiver.instance is None:
        call.walk.add_call(call.last, call.state, call.frame)
    if call.receiver is not None and file_calls.changes_receiver(call.last):
        add_loads(_object_of(call.node), given, call.state, call.frame, call.walk)
    if call.last == "setattr" and call.node.args:
        add_loads(call.node.args[0], given, call.state, call.frame, call.walk)
    loads = given if call.receiver is None else given | call.state.whole(call.receiver)
    return Value(path=_text(call), loads=frozenset() if call.last in file_calls.NO_CONTENT else loads)


def _text(call: Call) -> str:
    base = f"{inner(call.receiver.path)}.{call.last}" if call.receiver is not None and call.receiver.path else call.name
    if not base:
        return ""
    nodes = [*call.node.args, *(keyword.value for keyword in call.node.keywords)]
    texts = [value.path or ast.unparse(node) for value, node in zip(call.values, nodes, strict=False)]
    number = f" #{call.walk.fresh()}" if call.last in file_calls.UNLIKE else ""
    return atom(f"{base}({', '.join(texts)}){number}")


_KINDS: Sequence[Callable[[Call], Value | None]] = (
    _helper,
    _object_made,
    _function_called_elsewhere,
    _lock,
    _open,
    _temporary,
    _rename,
    _path,
    _whole_file,
    _open_file_method,
    _open_file_argument,
    _library,
    _named_for_a_file,
)
