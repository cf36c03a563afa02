"""The table of scenarios S1 to S11."""

from collections.abc import Iterator, Mapping
from itertools import product

import attrs

from storewriter.cli.bench.contender import Contender
from storewriter.cli.bench.scenarios import Scenario, can_update

SIZES = {
    "1K": 1_000,
    "10K": 10_000,
    "50K": 50_000,
    "100K": 100_000,
    "500K": 500_000,
    "1M": 1_000_000,
    "5M": 5_000_000,
}


LEADING: Mapping[str, tuple[str, bool]] = {
    "turns": ("per_second", True),
    "async turns": ("per_second", True),
    "updates": ("per_second", True),
    "timeline": ("per_second", True),
    "recovery": ("recovery", False),
    "idle": ("resident_per_store", False),
    "stall": ("loop_stall", False),
    "stall while held": ("loop_stall", False),
}
"""The metric that a measurement is about, and whether more of it is better."""

FAMILIES: Mapping[str, str] = {
    "S1": "An uncontended turn: taken and given back, nothing done in it",
    "S2": "One caller, one update after the other",
    "S3": "64 asyncio tasks on one store",
    "S4": "8 threads on one store",
    "S5": "Processes in a tight loop on one store",
    "S6": "4 processes with 16 asyncio tasks each on one store",
    "S7": "Recovery: the holder is killed with SIGKILL while another process waits",
    "S8": "Idle: many stores, each touched once",
    "S9": "Cost of one durable update against the size of the document",
    "S10": "Which process had the turn when: processes in a tight loop",
    "S11": "For how long the event loop is kept waiting",
}


def _updates(
    family: str, size: str, *, who: str = "", durable: bool = True, seconds: float = 0.7, quick: float = 0.0
) -> Scenario:
    """Describe updates by one caller; `attrs.evolve` adds the others."""
    flushed = "durable" if durable else "not durable"
    return Scenario(
        family=family,
        variant=f"{who or size} {flushed}",
        measure="updates",
        size=SIZES[size],
        durable=durable,
        seconds=seconds,
        quick=quick,
    )


def _rows() -> Iterator[Scenario]:
    yield Scenario(family="S1", variant="sync", measure="turns", seconds=0.5, quick=0.2)
    yield Scenario(family="S1", variant="async", measure="async turns", seconds=0.5, quick=0.2)
    for size, durable in product(("1K", "50K"), (True, False)):
        row = _updates("S2", size, durable=durable, quick=0.2 if size == "1K" else 0)
        yield row if size == "1K" else attrs.evolve(row, most_rounds=2)
    for size in ("1K", "50K"):
        yield attrs.evolve(_updates("S3", size, seconds=1.0, quick=0.2 if size == "1K" else 0), tasks=64)
    yield attrs.evolve(_updates("S4", "1K", seconds=1.0, quick=0.3), threads=8, quick_rounds=1)
    yield from _processes()
    for size in ("1K", "50K"):
        row = _updates("S6", size, seconds=1.2, quick=0.6 if size == "1K" else 0)
        yield attrs.evolve(row, processes=4, tasks=16, quick_rounds=1)
    yield Scenario(family="S7", variant="SIGKILL", measure="recovery", most_rounds=2, quick=1.0, quick_rounds=1)
    yield Scenario(family="S8", variant="idle", measure="idle", stores=20_000, most_rounds=1, quick=1.0, quick_rounds=1)
    for size in ("1K", "10K", "100K", "1M", "5M"):
        row = _updates("S9", size, quick=0.2 if size in ("1K", "1M") else 0)
        yield attrs.evolve(row, seconds=1.0) if SIZES[size] >= SIZES["1M"] else row
    yield Scenario(
        family="S10", variant="8 processes", measure="timeline", processes=8, seconds=2.0, most_rounds=1,
        quick=0.6, quick_rounds=1,
    )  # fmt: skip
    saving = attrs.evolve(_updates("S11", "5M", quick=0.5), measure="stall")
    waiting = attrs.evolve(_updates("S11", "1K", who="held elsewhere", quick=0.5), measure="stall while held")
    for row in (saving, waiting):
        yield attrs.evolve(row, tasks=4, seconds=1.0, most_rounds=2, quick_rounds=1)


def _processes() -> Iterator[Scenario]:
    """Callers in a tight loop, for so long that each has a hundred turns and more, even on a slow disk.

    With fewer, the one that started first would get more.
    """
    windows = {2: (1.0, 1.0), 8: (2.0, 2.0), 32: (2.0, 4.0)}  # not durable, durable
    for (processes, seconds), durable in product(windows.items(), (False, True)):
        quick = {8: 0.8, 32: 1.5}.get(processes, 0.0) if not durable else 0.0
        row = _updates("S5", "1K", who=f"{processes} processes", durable=durable, seconds=seconds[durable], quick=quick)
        yield attrs.evolve(row, processes=processes, most_rounds=2, quick_rounds=1)


SCENARIOS: Mapping[str, Scenario] = {scenario.key: scenario for scenario in _rows()}


def suits(contender: Contender, scenario: Scenario) -> bool:
    """Whether a contender offers what a scenario measures."""
    if contender.only and scenario.family not in contender.only:
        return False
    if scenario.measure != "idle" and scenario.durable not in contender.durabilities:
        return False
    by_program = contender.program is not None and scenario.threads == 1
    match scenario.measure:
        case "turns":
            return contender.turns is not None
        case "timeline":
            return contender.turns is not None and contender.across_processes and contender.keeps_json
        case "recovery":
            return contender.across_processes and (contender.turns is not None or by_program)
        case "async turns":
            return contender.async_turns is not None
        case "idle":
            return (contender.updates is not None or by_program) and contender.keeps_json
        case "stall while held":
            held = contender.across_processes and contender.turns is not None
            return (held and contender.async_updates is not None) or by_program
        case _:
            return can_update(contender, scenario)
