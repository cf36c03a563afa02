"""Programs that write a document under a lock of their own, on Node.js and in Python, driven over pipes."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from helpers.children import Child

_PYTHON = """
import contextlib, fcntl, json, os, sys

def say(text):
    os.write(1, (text + "\\n").encode())

kind, path = sys.argv[1:]

@contextlib.contextmanager
def flocked(name):
    with open(name, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

def lock():
    if kind == "filelock":
        from filelock import FileLock
        return FileLock(path + ".lock", poll_interval=0.005)
    if kind == "filelock-own":  # a name that leaves `.lock` to programs that make a folder of that name
        from filelock import FileLock
        return FileLock(path + ".flock", poll_interval=0.005)
    if kind == "portalocker":
        import portalocker
        return portalocker.Lock(path + ".lock", timeout=60, check_interval=0.005)
    if kind == "flock-document":
        return flocked(path)
    if kind == "flock-sidecar":
        folder, name = os.path.split(path)
        return flocked(os.path.join(folder, "." + name + ".lock"))
    return flocked(path + ".lock")

def count():
    with lock():
        with open(path) as file:
            state = json.load(file)
        state["theirs"] = state.get("theirs", 0) + 1
        with open(path + ".spare", "w") as file:
            json.dump(state, file)
        os.replace(path + ".spare", path)

say("ready")
for line in sys.stdin:
    word, _, argument = line.strip().partition(" ")
    if word == "count":
        for _ in range(int(argument)):
            count()
        say(f"counted {argument} refused 0")
    elif word == "hold":
        with lock():
            say("holding")
            sys.stdin.readline()
        say("released")
"""

IN_PYTHON = ("filelock", "portalocker", "flock")


class Program(Child):
    """`count N`, `hold` and `release`, as `node/program.mjs` says."""

    def count(self, times: int) -> None:
        self.tell(f"count {times}")

    def counted(self) -> int:
        """How many of its updates it takes for done."""
        found = re.fullmatch(r"counted (\d+) refused (\d+)", self.hear())
        assert found
        return int(found[1])


@contextlib.contextmanager
def program(kind: str, path: Path, node: Path | None = None, script: str = "program.mjs") -> Iterator[Program]:
    """Start one for the length of the block; without a document it makes an empty one."""
    if not path.exists():
        path.write_text("{}")
    words = [sys.executable, "-c", _PYTHON] if node is None else ["node", str(node / script)]
    process = Program.of([*words, kind, str(path)])
    try:
        process.expect("ready")
        yield process
    finally:
        process.close()


def counters(path: Path) -> dict[str, int]:
    """What the document says."""
    state: dict[str, int] = json.loads(path.read_text())
    return state
