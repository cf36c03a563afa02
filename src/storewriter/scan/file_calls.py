"""What calls do with files: which open one, which read or write a path, which rename, which only reshape a path."""

from __future__ import annotations

import ast

from storewriter.scan.values import Handle, Value

__all__ = [
    "ATOMIC",
    "FORMATS",
    "JOINS",
    "NO_CONTENT",
    "PATH_READERS",
    "PATH_WRITERS",
    "RENAMES",
    "SAME_PATH",
    "SAME_PATH_METHODS",
    "TEMPORARY",
    "UNLIKE",
    "changes_receiver",
    "handle",
    "is_open",
    "is_temporary",
    "loads_from",
    "saves_to",
]

_OPENERS = {
    "open",
    "io.open",
    "codecs.open",
    "aiofiles.open",
    "anyio.open_file",
    "trio.open_file",
    "gzip.open",
    "bz2.open",
    "lzma.open",
    "tokenize.open",
    "click.open_file",
    "smart_open.open",
    "smart_open.smart_open",
}

ATOMIC = {"atomic_write", "atomic_writing", "atomic_open", "open_atomic", "AtomicFile", "atomic_save", "atomic_writer"}
"""Context managers that write a file by a temporary one; the path is their first argument."""

SAME_PATH = {
    "str",
    "pathlib.Path",
    "pathlib.PurePath",
    "anyio.Path",
    "trio.Path",
    "os.fspath",
    "os.fsdecode",
    "os.path.abspath",
    "os.path.expanduser",
    "os.path.expandvars",
    "os.path.normpath",
    "os.path.realpath",
}
"""Functions that return the path that they are given."""

SAME_PATH_METHODS = {"expanduser", "resolve", "absolute", "as_posix", "__fspath__"}
JOINS = {"os.path.join", "posixpath.join"}
RENAMES = {"os.replace", "os.rename", "os.renames", "shutil.move", "shutil.copy", "shutil.copyfile", "shutil.copy2"}

TEMPORARY = {
    "tempfile.mkstemp",
    "tempfile.mkdtemp",
    "tempfile.mktemp",
    "tempfile.NamedTemporaryFile",
    "tempfile.TemporaryFile",
    "tempfile.SpooledTemporaryFile",
    "tempfile.TemporaryDirectory",
    "aiofiles.tempfile.NamedTemporaryFile",
    "aiofiles.tempfile.TemporaryDirectory",
}

PATH_READERS = {"toml.load", "srsly.read_json", "srsly.read_yaml", "srsly.read_jsonl", "joblib.load"}
"""Functions that load the file at their first argument."""

PATH_WRITERS = {"srsly.write_json": 0, "srsly.write_yaml": 0, "srsly.write_jsonl": 0, "joblib.dump": 1}
"""Functions that save to a path: which argument it is."""

UNLIKE = {"uuid4", "uuid1", "time", "now", "next", "token_hex", "input", "randint", "random", "mktemp", "pop"}
"""Functions whose two calls do not return the same."""

FORMATS = {"config", "csv", "file", "ini", "json", "lines", "pickle", "text", "toml", "yaml", "yml"}
"""Words in the name of a function that reads or writes a file."""

NO_CONTENT = {
    "all",
    "any",
    "bool",
    "callable",
    "compare_digest",
    "endswith",
    "exists",
    "getsize",
    "hasattr",
    "hash",
    "hexdigest",
    "id",
    "index",
    "is_dir",
    "is_file",
    "isinstance",
    "issubclass",
    "len",
    "md5",
    "search",
    "sha1",
    "sha256",
    "stat",
    "startswith",
    "type",
}
"""Functions whose result says something of a content and does not hold it."""

_CHANGERS = {
    "append",
    "extend",
    "insert",
    "setdefault",
    "add_section",
    "push",
    "put",
    "write",
    "writelines",
    "writerow",
}
_CHANGER_BEGINNINGS = ("add", "update", "load", "read", "parse", "from_", "set", "merge", "replace", "apply")

_READING = ("read", "load", "parse", "get", "from")
_WRITING = ("write", "dump", "save", "print", "to_", "store", "encode", "export")


def is_open(name: str) -> bool:
    """Whether the function of this full name opens the file at its first argument."""
    return name in _OPENERS


def handle(path: Value, shown: str, mode: ast.expr | None, usual: str = "r") -> Handle:
    """Return what `open` returns for a path and a mode."""
    text = usual if mode is None else mode.value if isinstance(mode, ast.Constant) else None
    if not isinstance(text, str):
        return Handle(path.path, shown, reads=True, writes=True)
    reads = "r" in text or text.strip("bt") == ""
    writes = "w" in text or ("r" in text and "+" in text)
    return Handle(path.path, shown, reads, writes)


def loads_from(opened: Handle, function: str) -> bool:
    """Whether a function that gets an open file, or a method of it, reads from it."""
    return opened.reads and not (opened.writes and saves_to(opened, function))


def saves_to(opened: Handle, function: str) -> bool:
    """Whether a function that gets an open file, or a method of it, writes to it."""
    if not opened.writes:
        return False
    return any(part in function.lower() for part in _WRITING) if opened.reads else True


def changes_receiver(method: str) -> bool:
    """Whether a method puts its arguments into its object."""
    return method in _CHANGERS or method.startswith(_CHANGER_BEGINNINGS)


def is_temporary(path: str) -> bool:
    """Whether a normal form names a file that only this call knows."""
    return path.startswith("{temporary ") or any(
        name in path for name in ("{tmp_path", "{tmpdir", "{temp_dir", "{tmp_dir", "{tempdir", "{tmpdirname")
    )
