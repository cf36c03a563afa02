"""The table of scenarios: the callers, how many of them, on how large a document, and what is measured."""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Literal

import attrs

from storewriter.cli.bench.contender import Contender

Measure = Literal["turns", "async turns", "updates", "timeline", "recovery", "idle", "stall", "stall while held"]

SIZES = {
    "1K": 1_000,
    "10K": 10_000,
    "50K": 50_000,
    "100K": 100_000,
    "500K": 500_000,
    "1M": 1_000_000,
    "5M": 5_000_000,
}


@attrs.frozen(kw_only=True)
class Scenario:
    """One row of the table."""

    family: str
    variant: str
    measure: Measure
    processes: int = 1
    threads: int = 1
    tasks: int = 0
    """Callers on one event loop in each process; 0: the callers are threads."""
    size: int = SIZES["1K"]
    durable: bool = False
    stores: int = 1
    """How many stores are touched (only where the cost of idle ones is measured)."""
    seconds: float = 1.0
    """How long a measurement of a full run lasts."""
    limit: int | None = None
    """At most so many calls a caller, where the number matters and not the time."""
    most_rounds: int | None = None
    """Rounds beyond are left out: the figure hardly moves, and takes long."""
    quick: float = 0.0
    """How long a measurement of a quick run lasts; 0: it does not belong to one."""
    quick_rounds: int | None = None
    """At most so many rounds of a quick run."""

    @property
    def key(self) -> str:
        """Unique and stable: two runs are compared by it."""
        return f"{self.family} {self.variant}"

    @property
    def callers(self) -> int:
        """How many callers compete."""
        return self.processes * (self.tasks or self.threads)

    def suits(self, contender: Contender) -> bool:
        """Whether `contender` offers what this scenario measures."""
        if contender.only and self.family not in contender.only:
            return False
        if self.measure != "idle" and self.durable not in contender.durabilities:
            return False
        return self._offered_by(contender)

    def _offered_by(self, contender: Contender) -> bool:
        by_program = contender.program is not None and self.threads == 1
        match self.measure:
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
            case "updates" | "stall":
                opener = contender.async_updates if self.tasks else contender.updates
                return opener is not None or by_program


LEADING: Mapping[Measure, tuple[str, bool]] = {
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
