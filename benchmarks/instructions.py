"""Instructions per operation, counted by callgrind: the same on a busy machine and on a quiet one.

An interpreter is run twice under callgrind, with few operations and with many; the difference, divided by the number of
operations between, leaves the start of the interpreter out. Under callgrind an operation takes some fifty times as
long, so what is due again after a moment (a path that is looked at, a record that is written) would come up at nearly
every operation. Therefore the programs count time, and each look at the clock takes a moment (`CLOCK`).
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import attrs

from benchmarks.compare import INSTRUCTIONS_FORMAT
from storewriter.cli.bench.document import create_json

FEW = 20
"""How many repetitions the shorter of the two interpreters makes; they are the warm-up of the longer one."""
BATCH = 64

CLOCK = """
import itertools, time
time.monotonic = itertools.count(time.monotonic(), 5e-6).__next__
"""
"""Begins each program: `time.monotonic()` advances by 5 us with each call. An uncontended turn looks at it three times,
so it takes about as long as without callgrind. What it costs to read the real clock is not in the counts."""


@attrs.frozen
class Operation:
    """One thing to count: a program that reads the path of a store and how often to do it."""

    program: str
    repetitions: int
    """How many more the longer interpreter makes: enough for its start not to matter."""
    each: int = 1
    """How many operations one repetition makes."""


OPERATIONS: Mapping[str, Operation] = {
    "uncontended turn, sync": Operation(
        """
import sys
from storewriter import PerStoreWriterQueue
queue = PerStoreWriterQueue()
for _ in range(int(sys.argv[2])):
    with queue.turn(sys.argv[1]):
        pass
""",
        repetitions=2_000,
    ),
    "uncontended turn, asyncio": Operation(
        """
import asyncio, sys
from storewriter import PerStoreWriterQueue
async def main():
    queue = PerStoreWriterQueue()
    for _ in range(int(sys.argv[2])):
        async with queue.turn(sys.argv[1]):
            pass
asyncio.run(main())
""",
        repetitions=8_000,
    ),
    "update, one caller": Operation(
        """
import sys
from storewriter import Store
from storewriter.cli.bench.document import adding
store = Store(sys.argv[1], durability="process")
for _ in range(int(sys.argv[2])):
    store.update(adding(1))
""",
        repetitions=600,
    ),
    f"update in a batch of {BATCH}": Operation(
        f"""
import asyncio, sys
from storewriter import AsyncStore
from storewriter._commits import batch
from storewriter.cli.bench.document import adding
assert hasattr(batch, "APPLY_SECONDS")
batch.APPLY_SECONDS = 3600  # under callgrind everything is slow, and a batch must not be cut for that
async def main():
    store = AsyncStore(sys.argv[1], durability="process")
    for _ in range(int(sys.argv[2])):
        await asyncio.gather(*(store.update(adding(1)) for _ in range({BATCH})))
asyncio.run(main())
""",
        repetitions=40,
        each=BATCH,
    ),
}


def missing() -> str | None:
    """Why instructions cannot be counted here."""
    return None if shutil.which("valgrind") else "valgrind is not installed"


def measure_instructions(output: Path) -> None:
    """Count all operations and write them as JSON; RuntimeError where that is not possible."""
    reason = missing()
    if reason is not None:
        raise RuntimeError(reason)
    counts = {name: count(operation) for name, operation in OPERATIONS.items()}
    for name, instructions in counts.items():
        print(f"{name:40} {instructions:12,.0f}")
    output.write_text(json.dumps({"format": INSTRUCTIONS_FORMAT, "instructions": counts}, indent=1) + "\n")


def count(operation: Operation) -> float:
    """Instructions of one operation, in the program and its libraries, without the kernel's."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "state.json"
        create_json(store, 1_000)
        program = CLOCK + operation.program
        few = _counted(program, store, FEW)
        many = _counted(program, store, FEW + operation.repetitions)
    return (many - few) / operation.repetitions / operation.each


def _counted(program: str, store: Path, repetitions: int) -> int:
    valgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    finished = subprocess.run(
        [*valgrind, sys.executable, "-c", program, str(store), str(repetitions)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": "0"},  # the order of sets must not change the count
    )
    found = re.search(r"Collected\s*:\s*(\d+)", finished.stderr)
    if finished.returncode or found is None:
        raise RuntimeError(f"callgrind failed: {finished.stderr.strip()[-500:]}")
    return int(found.group(1))
