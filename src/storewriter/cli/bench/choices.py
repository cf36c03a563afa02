"""What `storewriter bench` compares: every strategy, callers and durability; and the figures."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import attrs

from storewriter.cli.bench.conduct import Step, plan
from storewriter.cli.bench.results import Measurement
from storewriter.cli.bench.scenarios import Scenario
from storewriter.cli.bench.strategies import PREFIX, STRATEGIES

Durability = Literal["process", "power"]

DURABILITIES: Mapping[Durability, str] = {
    "process": "survives the death of any process",
    "power": "survives a power cut: file and folder are flushed before an update is acknowledged",
}

ALONE = "none"
"""The strategy that excludes no other process, so it is measured within one process only."""

CALLERS: Mapping[str, Scenario] = {
    name: Scenario(family=family, variant="", measure="updates", processes=processes, threads=threads, tasks=tasks)
    for name, family, processes, threads, tasks in (
        ("1 caller", "S2", 1, 1, 0),
        ("64 tasks", "S3", 1, 1, 64),
        ("8 threads", "S4", 1, 8, 0),
        ("2 processes", "S5", 2, 1, 0),
        ("8 processes", "S5", 8, 1, 0),
        ("32 processes", "S5", 32, 1, 0),
        ("4 processes x 16 tasks", "S6", 4, 1, 16),
    )
}
"""The callers, as the scenario that has them."""


@attrs.frozen(kw_only=True)
class Case:
    """The callers, and what an update survives."""

    callers: str
    durability: Durability

    @property
    def scenario(self) -> Scenario:
        """The same as something that can be measured."""
        row, durable = CALLERS[self.callers], self.durability == "power"
        return attrs.evolve(row, variant=f"{self.callers} {self.durability}", durable=durable)


CASES: Mapping[str, Case] = {
    case.scenario.key: case
    for case in (Case(callers=callers, durability=durability) for durability in DURABILITIES for callers in CALLERS)
}
"""All that is compared, by the key of its scenario."""


@attrs.frozen(kw_only=True)
class Figures:
    """How one strategy did in one case. Times are in seconds."""

    case: Case
    strategy: str
    per_second: float = 0.0
    p50: float | None = None
    p99: float | None = None
    worst: float | None = None
    fairness: float = 1.0
    """Jain's index over all callers."""
    lost: int = 0
    """Updates that were acknowledged and are not in the document."""
    errors: int = 0
    trouble: str | None = None
    """The first error, or why there are no figures."""

    @property
    def is_sound(self) -> bool:
        """Whether nothing went wrong. A window too short for a call to begin in it is not the strategy's fault."""
        return not (self.lost or self.errors or self.trouble)


def strategy_names() -> list[str]:
    """Return the names to be passed as `lock`, in the order of their table."""
    return [name.removeprefix(PREFIX) for name in STRATEGIES]


def steps_for(strategies: Iterable[str], window: float) -> list[Step]:
    """Plan all cases for these strategies, each called for `window` seconds."""
    contenders = [STRATEGIES[f"{PREFIX}{name}"] for name in strategies]
    scenarios = [case.scenario for case in CASES.values()]
    return plan(scenarios, contenders, rounds=1, seconds=lambda _: window)


def figures_of(measurement: Measurement) -> Figures:
    """Pick what matters for the choice from what was measured."""
    case, strategy = CASES[measurement.scenario], measurement.contender.removeprefix(PREFIX)
    if measurement.outcome is None:
        return Figures(case=case, strategy=strategy, trouble=measurement.failure or "it failed")
    metrics = measurement.outcome.metrics
    return Figures(
        case=case,
        strategy=strategy,
        per_second=metrics["per_second"],
        p50=metrics.get("p50"),
        p99=metrics.get("p99"),
        worst=metrics.get("max"),
        fairness=metrics["jain"],
        lost=round(metrics["lost"]),
        errors=round(metrics["errors"]),
        trouble=measurement.outcome.remark,
    )


def in_order(figures: Iterable[Figures]) -> list[Figures]:
    """Sort by durability, callers, strategy."""
    cases, names = list(CASES.values()), strategy_names()
    return sorted(figures, key=lambda each: (cases.index(each.case), names.index(each.strategy)))


def typical_ratio(figures: Sequence[Figures], one: str, other: str) -> float | None:
    """How many times as many updates `one` does as `other`: the geometric mean over the cases both were measured in."""
    rates = {(each.strategy, each.case): each.per_second for each in figures if each.is_sound and each.per_second}
    logarithms = [
        math.log(rate / rates[other, case])
        for (strategy, case), rate in rates.items()
        if strategy == one and (other, case) in rates
    ]
    return math.exp(sum(logarithms) / len(logarithms)) if logarithms else None
