"""What storewriter promises about its speed and fairness, checked against a run."""

from collections.abc import Iterator, Sequence

import attrs

from benchmarks.report.tables import Pick, median
from benchmarks.report.wording import OURS, duration, ratio, three_digits
from storewriter.cli.bench.results import Run
from storewriter.cli.bench.scenarios import SCENARIOS
from storewriter.cli.bench.strategies import PREFIX


@attrs.frozen
class Figure:
    """One number of a run."""

    scenario: str
    contender: str
    metric: str = "per_second"
    pick: Pick = median

    def of(self, run: Run) -> float | None:
        """The number, or None if it was not measured."""
        values = run.values(self.scenario, self.contender, self.metric)
        return self.pick(values) if values else None


@attrs.frozen(kw_only=True)
class Target:
    """A promise: a figure, or how many times another it is, is at least or at most a bound."""

    promise: str
    figure: Figure
    times: Figure | None = None
    at_least: float | None = None
    at_most: float | None = None

    def check(self, run: Run) -> "Verdict":
        """Compare with the run."""
        value = self.figure.of(run)
        if value is not None and self.times is not None:
            other = self.times.of(run)
            value = value / other if other else None
        return Verdict(self, value)


@attrs.frozen
class Verdict:
    """What became of a promise."""

    target: Target
    value: float | None
    """None if what it needs was not measured."""

    @property
    def kept(self) -> bool | None:
        """Whether it is kept; None if that was not measured."""
        if self.value is None:
            return None
        at_least, at_most = self.target.at_least, self.target.at_most
        return (at_least is None or self.value >= at_least) and (at_most is None or self.value <= at_most)

    @property
    def bound(self) -> str:
        """The bound in words."""
        if self.target.at_least is not None:
            return f"at least {self._worded(self.target.at_least)}"
        assert self.target.at_most is not None
        return f"at most {self._worded(self.target.at_most)}"

    @property
    def measured(self) -> str:
        """The value in words."""
        return "not measured" if self.value is None else self._worded(self.value)

    def _worded(self, value: float) -> str:
        if self.target.times is not None:
            return ratio(value)
        if self.target.figure.metric in ("max", "recovery", "loop_stall"):
            return duration(value)
        return f"{value:.3f}" if self.target.figure.metric.startswith("jain") else three_digits(value)


def _faster(scenario: str, than: str, times: float, ours: str = OURS) -> Target:
    return Target(
        promise=f"{scenario}: throughput against {than}",
        figure=Figure(scenario, ours),
        times=Figure(scenario, than),
        at_least=times,
    )


def _fair(scenario: str, at_least: float, metric: str = "jain_processes") -> Target:
    return Target(promise=f"{scenario}: Jain's index", figure=Figure(scenario, OURS, metric, min), at_least=at_least)


def _worst(scenario: str, at_most: float, metric: str = "max", what: str = "worst wait") -> Target:
    return Target(promise=f"{scenario}: {what}", figure=Figure(scenario, OURS, metric, max), at_most=at_most)


def _targets() -> Iterator[Target]:
    yield _faster("S1 sync", "portalocker", 1)
    yield _faster("S1 sync", "fasteners", 1)
    yield _faster("S1 sync", "filelock", 5)
    yield _faster("S1 sync", "bare-flock", 1 / 3)
    yield _faster("S1 async", "filelock-async", 30)
    yield Target(
        promise="S1 async: throughput against the sync bare-flock",
        figure=Figure("S1 async", OURS),
        times=Figure("S1 sync", "bare-flock"),
        at_least=1 / 3,
    )
    yield _faster("S2 1K durable", "bare-orjson", 1 / 1.15)
    yield _faster("S3 1K durable", "filelock", 50)
    yield _faster("S3 1K durable", "sqlite-wal-full", 10)
    yield _faster("S3 1K durable", "sqlite-batched", 1)
    yield _faster("S3 50K durable", "sqlite-batched", 0.8)
    yield _faster("S4 1K durable", "filelock", 2.5)
    yield _fair("S4 1K durable", 0.95, "jain")
    for processes in (8, 32):
        for flushed in ("not durable", "durable"):
            scenario = f"S5 {processes} processes {flushed}"
            yield _faster(scenario, "bare-flock", 0.8)
            yield _fair(scenario, 0.99)
    yield Target(
        promise="S5 8 processes not durable: worst wait of retry-with-backoff against ours",
        figure=Figure("S5 8 processes not durable", "backoff", "max"),
        times=Figure("S5 8 processes not durable", OURS, "max"),
        at_least=20,
    )
    yield _worst("S5 32 processes not durable", 0.150)
    yield _worst("S5 32 processes durable", 0.150)
    yield _faster("S6 1K durable", "filelock", 15)
    yield _fair("S6 1K durable", 0.99)
    yield _worst("S6 1K durable", 0.050)
    yield _worst("S7 SIGKILL", 0.010, "recovery", "recovery after the holder's death")
    yield _worst("S8 idle", 0, "descriptors", "descriptors left")
    yield _worst("S8 idle", 0, "threads", "threads left")
    for scenario in SCENARIOS.values():
        if scenario.family == "S9":
            yield _faster(scenario.key, "bare-orjson", 1 / 1.2)
    yield _worst("S11 5M durable", 0.050, "loop_stall", "stall of the event loop")


TARGETS: Sequence[Target] = tuple(_targets())


def verdicts(run: Run) -> list[Verdict]:
    """Check every promise."""
    return [target.check(run) for target in TARGETS]


def lost_updates(run: Run) -> float:
    """How many acknowledged updates our contenders lost, in all their measurements together; it must be 0."""
    ours = [name for name in run.settings["contenders"] if name.startswith(PREFIX)]
    return sum(sum(run.values(scenario, name, "lost")) for scenario in run.scenarios() for name in ours)
