"""A scenario: the callers, how many of them, on how large a document, and what is measured."""

import attrs

from storewriter.cli.bench.contender import Contender


@attrs.frozen(kw_only=True)
class Scenario:
    """One row of the table."""

    family: str
    variant: str
    measure: str = "updates"
    """What is measured: a key of the table of measures (`conduct.Setting.measures`)."""
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


def can_update(contender: Contender, scenario: Scenario) -> bool:
    """Whether a contender can serve the callers of a scenario that measures updates."""
    if contender.only and scenario.family not in contender.only:
        return False
    opener = contender.async_updates if scenario.tasks else contender.updates
    by_program = contender.program is not None and scenario.threads == 1
    return scenario.durable in contender.durabilities and (opener is not None or by_program)
