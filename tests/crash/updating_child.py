"""A process that updates one document for ever, beside others that do the same, and says which update is durable.

    python updating_child.py PATH NAME PLAN        (PLAN is the JSON of what `Plan` holds)

It writes one line per update to its standard output: the number of the update that was just acknowledged.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs

from storewriter import Store
from storewriter.testing import Call, intercepted


@attrs.frozen
class Plan:
    """How a process updates the document."""

    sketch: bool = False
    """With a loop of bare system calls instead of the library."""
    omit: Sequence[str] = ()
    """Calls that are left out on purpose: `write_out`, `flush`, `flush_folder` (methods of `System`)."""
    options: dict[str, Any] = attrs.field(factory=dict[str, Any])
    """For `Store`."""
    scale: int = 1
    """How many times as large the documents are."""
    mount: str = ""
    """Options that the file system is mounted with."""

    def written(self) -> str:
        return json.dumps(attrs.asdict(self))


def document(numbers: dict[str, int], scale: int = 1) -> dict[str, Any]:
    """What the document holds after so many updates of each process.

    Of changing length (0.5 to 6 KB, times `scale`), and different in every block, so that no mixture of two documents, and none with
    a block of zeros, passes for a third.
    """
    if not numbers:
        return {}
    word = " ".join(f"{name}:{number}" for name, number in sorted(numbers.items())) + " "
    size = scale * (500 + 800 * (sum(numbers.values()) % 8))
    return {"numbers": numbers, "text": word * (size // len(word) + 1)}


def one_more(state: dict[str, Any], name: str, scale: int = 1) -> int:
    numbers = state.get("numbers", {})
    numbers[name] = numbers.get(name, 0) + 1
    state.update(document(numbers, scale))
    return int(numbers[name])


def with_the_library(path: str, name: str, plan: Plan) -> Iterator[int]:
    store = Store[Any](path, system=intercepted(leaving_out(plan.omit)), **plan.options)
    while True:
        yield store.update(lambda state: one_more(state, name, plan.scale))


def leaving_out(omit: Sequence[str]) -> Callable[[Call, Callable[[], Any]], Any]:
    """True is what `write_out` returns when it was done; what a flush returns is not looked at."""
    return lambda call, proceed: True if call.name in omit else proceed()


def with_a_sketch(path: str, name: str, plan: Plan) -> Iterator[int]:
    """The order of calls that the library uses over an existing document on ext4 and xfs, and nothing else."""
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    while True:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with open(path, "rb") as file:
            state = json.loads(file.read())
        number = one_more(state, name, plan.scale)
        fd = os.open(f"{path}.tmp", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.write(fd, json.dumps(state).encode())
        if "write_out" not in plan.omit:
            write_out(fd)
        os.rename(f"{path}.tmp", path)
        fcntl.flock(lock, fcntl.LOCK_UN)
        if "flush" not in plan.omit:
            os.fsync(fd)
        os.close(fd)
        yield number


_LIBC = ctypes.CDLL(None, use_errno=True)
_WAIT_BEFORE, _WRITE, _WAIT_AFTER = 1, 2, 4  # linux/fs.h


def write_out(fd: int) -> None:
    """Write a file's data and wait for it, without a flush of the device (sync_file_range(2))."""
    every = ctypes.c_int64(0)
    if _LIBC.sync_file_range(fd, every, every, _WAIT_BEFORE | _WRITE | _WAIT_AFTER):
        raise OSError(ctypes.get_errno(), "sync_file_range")


def main() -> None:
    path, name, text = sys.argv[1:]
    plan = Plan(**json.loads(text))
    for number in (with_a_sketch if plan.sketch else with_the_library)(path, name, plan):
        os.write(1, b"%d\n" % number)


if __name__ == "__main__":
    main()
