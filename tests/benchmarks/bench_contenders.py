"""Contenders whose results are known beforehand."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext
from itertools import count
from pathlib import Path

from storewriter.cli.bench.contender import Contender, Layout, Target, Update, table
from storewriter.cli.bench.document import adding, json_attempts, replace


def _meeting(target: Target) -> Callable[[], Update]:
    """Load, wait until the other caller has loaded too, save: of each pair of updates, one is lost."""
    both_have_loaded = threading.Barrier(2, timeout=30)

    def update() -> None:
        state = json.loads(target.path.read_bytes())
        both_have_loaded.wait()
        adding(1)(state)
        replace(target.path, json.dumps(state).encode(), durable=False)

    return lambda: update


def _refusing(target: Target) -> Callable[[], Update]:
    def update() -> None:
        raise TimeoutError(f"could not lock {target.path}")

    return lambda: update


def _dying(target: Target) -> Callable[[], Update]:
    def update() -> None:
        os._exit(3)

    return lambda: update


def _tearing(target: Target) -> Callable[[], Update]:
    def update() -> None:
        target.path.write_text("{")

    return lambda: update


def _lying(target: Target) -> Callable[[], Update]:
    return lambda: lambda: None


def _cluttering(target: Target) -> Callable[[], Update]:
    numbers = count()

    def update() -> None:
        (target.path.parent / f"clutter-{os.getpid()}-{next(numbers)}").touch()

    return lambda: update


SCRIPT = """
import json, pathlib, sys
told = json.loads(pathlib.Path(sys.argv[1]).read_text())
for place in told["places"]:
    assert pathlib.Path(place).exists()
    pathlib.Path(place + ".lock").touch()
waits = [1_000_000] * (len(told["places"]) - told["warm_up"])
print(json.dumps({"waits": waits, "resident": 1000, "descriptors": 7, "threads": 0}))
"""


def _program(target: Target, mode: str, tasks: int) -> list[str]:
    assert mode == "idle"
    return [sys.executable, "-c", SCRIPT, str(target.path)]


def _exact(target: Target) -> Callable[[], Update]:
    def update() -> None:
        state = json.loads(target.path.read_bytes())
        adding(1)(state)
        replace(target.path, json.dumps(state).encode(), durable=target.durable)

    return lambda: update


def _stuck_create(path: Path, size: int) -> None:
    threading.Event().wait()


CONTENDERS = table(
    Contender(name="meeting", about="loses every other update", updates=_meeting),
    Contender(name="refusing", about="never gets in", updates=_refusing),
    Contender(name="dying", about="takes its process with it", updates=_dying),
    Contender(name="tearing", about="leaves half a document", updates=_tearing),
    Contender(name="lying", about="acknowledges and writes nothing", updates=_lying),
    Contender(name="cluttering", about="leaves a file with every update", updates=_cluttering),
    Contender(name="in-a-program", about="speaks another language", program=_program),
    Contender(name="exact", about="one caller, nothing lost", updates=_exact, turns=lambda path: nullcontext),
    Contender(name="stuck", about="never begins", layout=Layout(_stuck_create, json_attempts), updates=_exact),
)
