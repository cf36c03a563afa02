"""Histories of updates, reads and failing functions, by processes of which some are killed: was there one order?

`python tests/torture/histories.py --count 50`. Ends with 1 if a history has no order that explains every answer.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, Final, get_args

import attrs
from ledger import Ledger
from writer import Fate, Points

from scenarios import Plant, Scenario
from storewriter import Store

sys.path.append(str(Path(__file__).parent.parent))
from helpers.linearizability import Operation, is_linearizable

PROCESSES: Final = 3
THREADS: Final = 2
OPERATIONS: Final = 5
"""Of a thread. The search grows with what can overlap: six threads."""


def step(state: Hashable, operation: Operation) -> Hashable | None:
    """The store as a tuple of what was appended; see `helpers.linearizability.Model`."""
    assert isinstance(state, tuple)
    if operation.name == "append":
        is_possible = operation.returned is None or operation.result == len(state)
        return (*state, operation.argument) if is_possible else None
    if operation.name == "read":
        return state if operation.returned is None or tuple(operation.result) == state else None
    return state  # a function that fails changes nothing


def _append(value: str) -> Callable[[list[str]], int]:
    def fn(state: list[str]) -> int:
        state.append(value)
        return len(state) - 1

    return fn


def _fail(state: list[str]) -> None:
    state.append("phantom")
    raise ZeroDivisionError


def _operations(store: Store[list[str]], who: str, notes: Ledger, rng: random.Random, plant: Plant) -> None:
    for number in range(OPERATIONS):
        kind = rng.choice(["append", "append", "append", "read", "fail"])
        value = f"{who}.{number}"
        notes.note("i", kind, value)
        result: Any = None
        if kind == "read":
            result = store.read()
        elif kind == "append" and plant == "load before the lock":
            state = store.read()
            result = _append(value)(state)
            store.transform(lambda _, state=state: state)  # type: ignore[misc]
        elif kind == "append" and plant == "acknowledge before the save":
            notes.note("a", kind, value, json.dumps(len(store.read())))
            store.update(_append(value))
            continue
        elif kind == "append":
            result = store.update(_append(value))
        else:
            try:
                store.update(_fail)
            except ZeroDivisionError:
                pass
        notes.note("a", kind, value, json.dumps(result))


def _process(scenario: Scenario, path: Path, name: str, notes: Ledger, fate: Fate | None, rng: random.Random) -> None:
    points = Points(fate, notes)
    sys.addaudithook(points.audit)
    store: Store[list[str]] = Store(
        path, default=list, queue=scenario.queue(), durability=scenario.durability, system=points.system()
    )
    seeds = [rng.random() for _ in range(THREADS)]
    threads = [
        threading.Thread(
            target=_operations, args=(store, f"{name}{number}", notes, random.Random(seed), scenario.plant)
        )
        for number, seed in enumerate(seeds)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def history(scenario: Scenario, folder: Path, rng: random.Random) -> list[Operation]:
    """Let the processes run, kill most of them at a fault point, and collect what they have noted."""
    folder.mkdir()
    (folder / "store").mkdir()
    files = [folder / f"{number}.ledger" for number in range(PROCESSES)]
    pids: list[int] = []
    for number, file in enumerate(files):
        fate = Fate("kill", rng.randrange(1, 120)) if number else None
        seed = rng.random()
        pid = os.fork()
        if not pid:
            notes = Ledger(file)
            try:
                _process(scenario, folder / "store" / "state.json", "abc"[number], notes, fate, random.Random(seed))
            except BaseException:  # noqa: BLE001 - ends the process, and with it the test
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        _, status = os.waitpid(pid, 0)
        assert status in (0, signal.SIGKILL), status
    return [operation for file in files if file.exists() for operation in _of(file)]


def _of(file: Path) -> list[Operation]:
    found: dict[str, Operation] = {}
    for line in file.read_text().splitlines():
        kind, when, *words = line.split("\t")
        if kind == "i":
            found[words[1]] = Operation(words[0], words[1], None, float(when), None)
        elif kind == "a":
            before = found[words[1]]
            found[words[1]] = attrs.evolve(before, result=json.loads(words[2]), returned=float(when))
    return list(found.values())


def main() -> int:
    """Check as many histories as asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--plant", choices=get_args(Plant), default="none", help="put in a defect, which must be found")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if given.seed is None else given.seed
    rng = random.Random(seed)
    began, operations, killed, wrong = time.monotonic(), 0, 0, 0
    with tempfile.TemporaryDirectory(prefix="histories-") as folder:
        for number in range(given.count):
            strategy = ("flock", "marker", "lease")[number % 3]
            scenario = Scenario(strategy, "threads", "process" if number % 2 else "power", plant=given.plant)  # type: ignore[arg-type]
            seen = history(scenario, Path(folder) / str(number), rng)
            operations += len(seen)
            killed += sum(operation.returned is None for operation in seen)
            if not is_linearizable(seen, (), step):
                wrong += 1
                print(f"history {number}, {scenario}, has no order:", *seen, sep="\n  ")
                if given.plant != "none":
                    break  # it is found
    print(
        f"seed {seed}: {given.count} histories, {operations} operations, {killed} of processes that died in the middle, "
        f"{wrong} without an order, {time.monotonic() - began:.0f} s"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
