"""The table of scenarios: who calls, how many of them, on how large a document, and what is measured."""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Literal

import attrs

from storewriter.cli.bench.contender import Contender

Measure = Literal["turns", "async turns", "updates", "timeline", "recovery", "idle"]

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
    quick: bool = False
    """Whether it belongs to a quick run."""

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
                return contender.updates is not None and contender.keeps_json
            case "updates":
                opener = contender.async_updates if self.tasks else contender.updates
                return opener is not None or by_program


LEADING: Mapping[Measure, tuple[str, bool]] = {
    "turns": ("per_second", True),
    "async turns": ("per_second", True),
    "updates": ("per_second", True),
    "timeline": ("per_second", True),
    "recovery": ("recovery", False),
    "idle": ("resident_per_store", False),
}
"""The metric that a measurement is about, and whether more of it is better."""

FAMILIES: Mapping[str, str] = {
    "S1": "An uncontended turn: taken and given back, nothing done in it",
    "S2": "One caller, one update after the other",
    "S3": "64 asyncio tasks on one store",
    "S4": "8 threads on one store",
    "S5": "Processes in a tight loop on one store",
    "S6": "4 processes with 16 asyncio tasks each on one store",
    "S7": "Recovery: the holder is killed with SIGKILL while somebody waits",
    "S8": "Idle: many stores, each touched once",
    "S9": "Cost of one durable update against the size of the document",
    "S10": "Who was in its turn when: processes in a tight loop",
    "S11": "Is the event loop kept waiting while large documents are saved?",
}


def _updates(
    family: str, size: str, *, who: str = "", durable: bool = True, seconds: float = 1.0, quick: bool = False
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
    yield Scenario(family="S1", variant="sync", measure="turns", quick=True)
    yield Scenario(family="S1", variant="async", measure="async turns", quick=True)
    for size, durable in product(("1K", "50K", "500K"), (True, False)):
        yield _updates("S2", size, durable=durable, quick=size == "1K")
    for size in ("1K", "50K"):
        yield attrs.evolve(_updates("S3", size, quick=True), tasks=64)
    for size in ("1K", "50K"):
        yield attrs.evolve(_updates("S4", size, seconds=1.5, quick=size == "1K"), threads=8)
    for processes, durable in product((2, 8, 32), (False, True)):
        quick = processes > 2 and not durable
        row = _updates("S5", "1K", who=f"{processes} processes", durable=durable, seconds=2.0, quick=quick)
        yield attrs.evolve(row, processes=processes)
    for size in ("1K", "50K"):
        row = _updates("S6", size, seconds=1.5, quick=size == "1K")
        yield attrs.evolve(row, processes=4, tasks=16)
    yield Scenario(family="S7", variant="SIGKILL", measure="recovery", quick=True)
    yield Scenario(family="S8", variant="idle", measure="idle", stores=20_000, most_rounds=2, quick=True)
    for size in ("1K", "10K", "100K", "1M", "5M"):
        yield _updates("S9", size, quick=size in ("1K", "100K", "1M"))
    timeline = Scenario(family="S10", variant="8 processes", measure="timeline", seconds=2.0, quick=True)
    yield attrs.evolve(timeline, processes=8)
    yield attrs.evolve(_updates("S11", "5M", quick=True), tasks=4)


SCENARIOS: Mapping[str, Scenario] = {scenario.key: scenario for scenario in _rows()}
