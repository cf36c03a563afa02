"""What stores leave behind that were touched once each: memory, descriptors, threads, files."""

import gc
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import attrs

from storewriter.cli.bench.contender import Contender, Target
from storewriter.cli.bench.results import Outcome
from storewriter.cli.bench.scenarios import Scenario
from storewriter.cli.bench.statistics import histogram, wait_metrics

LIMIT = 25.0
"""Seconds after which no further store is touched: what a store leaves behind is known by then."""

WARM_UP = 20
"""One store in so many is touched before anything is counted."""


@attrs.frozen(kw_only=True)
class Left:
    """What touching the stores left, and how long each took, in nanoseconds."""

    waits: Sequence[int]
    resident: int
    descriptors: int
    threads: int


def measure_idle(contender: Contender, scenario: Scenario, folder: Path) -> Outcome:
    """Touch many stores below `folder` once each; a small part of them first, so that what is made once is there."""
    warm_up = max(1, scenario.stores // WARM_UP)
    places = [folder / f"{number // 1000:03}" / f"{number:06}" for number in range(warm_up + scenario.stores)]
    left = (_by_program if contender.updates is None else _touched)(contender, scenario, places, warm_up)
    stores = len(left.waits)
    metrics = {
        "stores": stores,
        "resident": left.resident,
        "resident_per_store": left.resident / stores,
        "descriptors": left.descriptors,
        "threads": left.threads,
        "files_per_store": len(os.listdir(places[warm_up])),
        **wait_metrics(sorted(left.waits)),
    }
    return Outcome(metrics=metrics, histogram=histogram(left.waits))


def _create(contender: Contender, scenario: Scenario, places: Sequence[Path]) -> None:
    """Copy one document: making each anew costs more than touching it."""
    first = places[0].parent.parent / "template"
    contender.layout.create(first, scenario.size)
    for place in places:
        for folder in (place.parent, place):
            folder.mkdir(mode=0o700, exist_ok=True)  # some contenders refuse a folder that others may read
        shutil.copyfile(first, place / "state")


@attrs.frozen
class _Footprint:
    resident: int
    descriptors: int
    threads: int

    @classmethod
    def now(cls) -> "_Footprint":
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return cls(pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir("/proc/self/fd")), threading.active_count())


def _touched(contender: Contender, scenario: Scenario, places: Sequence[Path], warm_up: int) -> Left:
    _create(contender, scenario, places)
    _touch(contender, places[:warm_up])
    before = _Footprint.now()
    waits = _touch(contender, places[warm_up:])
    after = _Footprint.now()
    return Left(
        waits=waits,
        resident=after.resident - before.resident,
        descriptors=after.descriptors - before.descriptors,
        threads=after.threads - before.threads,
    )


def _touch(contender: Contender, places: Sequence[Path]) -> list[int]:
    assert contender.updates is not None
    waits, stop = list[int](), time.monotonic() + LIMIT
    for place in places:
        if time.monotonic() > stop:
            break
        began = time.monotonic_ns()
        contender.updates(Target(place / "state", durable=False))()()
        waits.append(time.monotonic_ns() - began)
    return waits


def _by_program(contender: Contender, scenario: Scenario, places: Sequence[Path], warm_up: int) -> Left:
    """Let a program in another language do the same: it reads the places from a file and prints `Left`."""
    assert contender.program is not None
    _create(contender, scenario, places)
    listed = places[0].parent.parent / "places.json"
    places_json = {"places": [str(place / "state") for place in places], "warm_up": warm_up, "seconds": LIMIT}
    listed.write_text(json.dumps(places_json))
    command = contender.program(Target(listed, durable=False), "idle", 1)
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Left(**json.loads(finished.stdout))
