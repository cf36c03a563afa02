"""A scenario: the callers, how many of them, on how large a document, and what is measured."""

from typing import Literal

import attrs

from storewriter.cli.bench.contender import Contender

Measure = Literal["turns", "async turns", "updates", "timeline", "recovery", "idle", "stall", "stall while held"]
"""`storewriter bench` measures updates; the others are measured by the repository's `benchmarks/measures.py`."""


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
    size: int = 1_000
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
