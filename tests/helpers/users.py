"""Other users: code that runs in a child with their ids, and nothing of root's rights.

Children are forked, so that whatever they import has been read before: the interpreter may be where only root looks.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TypeVar

import attrs
import pytest

T = TypeVar("T")

IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root can run code as other users")
needs_setpriv = pytest.mark.skipif(
    not IS_ROOT or shutil.which("setpriv") is None, reason="needs root and setpriv (util-linux)"
)


@attrs.frozen
class User:
    """A user, by number: it need not be in any list."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    def become(self) -> None:
        """Give up every right of root's in this process, for good."""
        os.setgroups(list(self.groups))
        os.setresgid(self.gid, self.gid, self.gid)
        os.setresuid(self.uid, self.uid, self.uid)

    def setpriv(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program as this user."""
        groups = ["--groups", ",".join(map(str, self.groups))] if self.groups else ["--clear-groups"]
        ids = ["setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", *groups]
        return subprocess.run([*ids, "--", *words], capture_output=True, check=False, text=True)


COMMAND_AS = """
import contextlib, io, os, sys
import click, jsonpatch, jsonpointer, rich
import storewriter.__main__
# Once as root, right and wrong: then all that is imported on the way has been read, wherever the interpreter is.
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    storewriter.__main__.run(sys.argv[2:])
    storewriter.__main__.run([sys.argv[2], ""])
os.setgroups([]); os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))
sys.exit(storewriter.__main__.run(sys.argv[2:]))
"""
"""A command that changes nothing, by another user: `python -c COMMAND_AS UID COMMAND...`."""

TEAM = 4300
ADA = User(4201, 4201, (TEAM,))
BOB = User(4202, 4202, (TEAM,))
EVE = User(4203, 4203)
ROOT = User(0, 0)


def run_as(user: User, work: Callable[[], T]) -> T:
    """What `work` returns or raises in a child of this user's."""
    with background(user, work) as result:
        return result()


@contextlib.contextmanager
def background(user: User, work: Callable[[], T]) -> Iterator[Callable[[], T]]:
    """The same while the block runs; call what it yields for the result."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _serve(user, work, writing)
    os.close(writing)
    waited: list[Any] = []

    def result() -> T:
        if not waited:
            with os.fdopen(os.dup(reading), "rb") as file:
                waited.append(file.read())
        assert waited[0], "the child died"
        kind, value = pickle.loads(waited[0])
        if kind == "error":
            raise value
        return value  # type: ignore[no-any-return]

    try:
        yield result
    finally:
        if not waited:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        os.close(reading)
        os.waitpid(pid, 0)


def _serve(user: User, work: Callable[[], Any], writing: int) -> NoReturn:
    try:
        if user.uid:
            user.become()
        try:
            answer = ("answer", work())
        except Exception as error:  # noqa: BLE001 - it is raised at the other end
            answer = ("error", error)
        with os.fdopen(writing, "wb") as file:
            file.write(pickle.dumps(answer))
    except BaseException:  # noqa: BLE001
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)
