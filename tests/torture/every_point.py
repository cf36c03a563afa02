"""Kill or stop a writer at each fault point of one turn and commit, one after the other, and look what others can do.

`every_point.py STRATEGY WHAT`, with `kill` or `stop`. Prints one line for each point, and ends with 1 if anything was
wrong. The points are those of the long run: the system calls of a commit, before and after, and those of locks.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from ledger import Ledger
from writer import Fate, Points

from storewriter import LockLost, LockTimeout, PerStoreWriterQueue, Store
from storewriter.locks import Flock, Lease, Marker

STALE: Final = 0.3
LONG: Final = 20.0
SHORT: Final = {"flock": 0.1, "marker": 0.1, "lease": 1.0}
"""Seconds that another one waits for a stopped process. A lease is taken over by then, but for the instant in which it is
written: that is done under a kernel lock."""

Names = list[str]


def store(strategy: str, path: Path, timeout: float, **options: Any) -> Store[Names]:
    """Every process has a queue of its own."""
    strategies: dict[str, Any] = {"flock": Flock(), "marker": Marker(), "lease": Lease(stale=STALE)}
    return Store(path, default=list, queue=PerStoreWriterQueue(strategies[strategy], timeout=timeout), **options)


def adding(name: str) -> Callable[[Names], None]:
    """An update that can be seen to be applied twice."""
    return lambda names: names.append(name)


def victim(strategy: str, path: Path, fate: Fate, notes: Ledger) -> int:
    """The process that has the fate. Ends with 0 when it was answered, with 2 when its lease was lost."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        points = Points(fate, notes)
        sys.addaudithook(points.audit)
        store(strategy, path, LONG, system=points.system()).update(adding("mine"))
        code = 0
    except LockLost:
        code = 2
    finally:
        os._exit(code)


def killed(strategy: str, path: Path) -> str:
    """The next writer gets in; the update of the dead one is there once, or not at all."""
    store(strategy, path, LONG).update(adding("next"))
    names = store(strategy, path, LONG).read()
    if names not in (["first", "next"], ["first", "mine", "next"]):
        raise AssertionError(names)
    return "applied" if "mine" in names else "not applied"


def stopped(strategy: str, path: Path, pid: int) -> str:
    """Another writer gets in, or is told who is in its way; then the stopped one goes on, and says what is true."""
    is_in, named = True, None
    try:
        store(strategy, path, SHORT[strategy]).update(adding("other"))
    except LockTimeout as error:
        is_in, named = False, None if error.owner is None else error.owner.pid
    os.kill(pid, signal.SIGCONT)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    names = store(strategy, path, LONG).read()
    if code not in (0, 2):
        raise AssertionError(f"the stopped process ended with {code}")
    if sorted(names) != sorted(["first", *["mine"] * (code == 0), *["other"] * is_in]) or names[0] != "first":
        raise AssertionError(f"{names}, though it ended with {code}, and the other one got in: {is_in}")
    store(strategy, path, LONG).update(adding("next"))
    if is_in:
        return "another one got in" if code == 0 else "succeeded, and refused"
    if named != pid:
        raise AssertionError(f"the error names {named}, and {pid} is in the way")
    return "named"


def point_of(file: Path) -> str:
    """What `Points` has noted."""
    (line,) = file.read_text().splitlines()
    return line.split("\t")[2].partition(" at ")[2]


def main() -> int:
    """One point after the other, until there is none more."""
    strategy, what = sys.argv[1:]
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="points-") as base:
        for number in range(1, 1000):
            folder = Path(base, str(number))
            folder.mkdir()
            path, file = folder / "state.json", Path(base, f"{number}.ledger")
            store(strategy, path, LONG).update(adding("first"))
            notes = Ledger(file)
            pid = victim(strategy, path, Fate(what, number), notes)  # type: ignore[arg-type]
            notes.close()
            _, status = os.waitpid(pid, os.WUNTRACED)
            if os.WIFEXITED(status):
                print(f"{number - 1} points, ended with {os.WEXITSTATUS(status)}")
                return 1 if wrong or status else 0
            try:
                outcome = stopped(strategy, path, pid) if os.WIFSTOPPED(status) else killed(strategy, path)
                litter = {name for name in os.listdir(folder) if ".tmp" in name}
                if litter:
                    raise AssertionError(f"left behind: {litter}")
            except Exception as error:  # noqa: BLE001 - printed
                wrong += 1
                outcome = f"WRONG: {type(error).__name__}: {error}"
            print(f"{point_of(file)}: {outcome}", flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
