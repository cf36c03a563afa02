"""Which names and calls take a lock: those of the known libraries, and names that say so.

Locks within a process (threading, asyncio, anyio) count, and so does a file lock: which of the two a file needs, the
source does not say. A shared lock (`LOCK_SH`, a reader's lock) does not: two of its holders can load the same state.
"""

from __future__ import annotations

import ast
import re

from storewriter.scan.modules import FunctionSource, ModuleSource, dotted

__all__ = ["is_lock_call", "is_lock_name", "is_release", "lock_flags", "takes", "takes_lock"]

_LOCK_WORDS = {
    "acquire",
    "critical",
    "exclusive",
    "lockf",
    "locked",
    "locking",
    "locks",
    "lk",
    "mutex",
    "semaphore",
    "synchronized",
    "transaction",
    "turn",
}
_NO_LOCKS = {"block", "clock", "unlock", "unblock", "deadlock", "unlocked", "flock"}
_SHARED_WORDS = {"read", "reader", "shared"}
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")

_LOCK_CLASSES = {
    "threading.Condition",
    "multiprocessing.Condition",
    "asyncio.Condition",
    "anyio.Condition",
    "anyio.CapacityLimiter",
    "trio.CapacityLimiter",
    "trio.Condition",
    "threading.BoundedSemaphore",
}
_ON_OPEN_FILES = {
    "fcntl.flock",
    "fcntl.lockf",
    "fcntl.fcntl",
    "msvcrt.locking",
    "portalocker.lock",
    "filelock.lock_descriptor",
    "win32file.LockFileEx",
    "os.lockf",
}
_RELEASES = {"release", "unlock", "release_lock", "unlock_descriptor", "funlock"}


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(name)]


def is_lock_name(name: str) -> bool:
    """Whether the last part of a dotted name says that it is, or takes, an exclusive lock."""
    words = _words(name.rpartition(".")[2])
    if any(word in _SHARED_WORDS for word in words):
        return False
    return any(word in _LOCK_WORDS or (word.endswith("lock") and word not in _NO_LOCKS) for word in words)


def is_lock_call(name: str, node: ast.Call) -> bool:
    """Whether calling this full name makes or takes an exclusive lock."""
    if name in _ON_OPEN_FILES or name.rpartition(".")[2] == "flock":
        return lock_flags(node) == "exclusive"
    return name in _LOCK_CLASSES or (is_lock_name(name) and not is_release(name, node))


def takes(last: str) -> bool:
    """Whether a function of a lock takes it at once, and does not only return it."""
    return "acquire" in _words(last) or last in ("lock", "flock", "lockf", "locking", "lock_file", "lock_descriptor")


def lock_flags(node: ast.Call) -> str:
    """Return what the flags of `flock` and its like ask for: `exclusive`, `shared` or `unlock`."""
    flags = {part for argument in node.args[1:] for part in re.findall(r"\w+", ast.unparse(argument))}
    if flags & {"LOCK_UN", "LK_UNLCK", "F_UNLCK", "F_ULOCK"}:
        return "unlock"
    if flags & {"LOCK_SH", "F_RDLCK", "SHARED"}:
        return "shared"
    if any("FL" in flag and "LK" not in flag for flag in flags if flag.startswith("F_")):
        return "shared"  # fcntl.fcntl(handle, F_GETFL) and so on: no lock at all
    return "exclusive"


def is_release(name: str, node: ast.Call) -> bool:
    """Whether this call gives a lock back."""
    last = name.rpartition(".")[2]
    if name in _ON_OPEN_FILES or last == "flock":
        return lock_flags(node) == "unlock"
    return last in _RELEASES or "unlock" in _words(last) or "release" in _words(last)


def takes_lock(function: FunctionSource) -> bool:
    """Whether a function takes a lock somewhere in its body; for decorators."""
    module = function.module
    return any(_is_taken(node, module) for node in ast.walk(function.node))


def _is_taken(node: ast.AST, module: ModuleSource) -> bool:
    if isinstance(node, ast.With | ast.AsyncWith):
        names = [dotted(item.context_expr) for item in node.items if not isinstance(item.context_expr, ast.Call)]
        return any(is_lock_name(name) for name in names)
    return isinstance(node, ast.Call) and is_lock_call(module.full_name(node.func), node)
