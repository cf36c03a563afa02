"""What storewriter promises about its speed and fairness, checked against a run."""

from collections.abc import Iterator, Sequence
from statistics import harmonic_mean

import attrs

from benchmarks.report.tables import Pick, median
from benchmarks.report.wording import OURS, count, duration, ratio, size, three_digits
from storewriter.cli.bench.results import Run
from storewriter.cli.bench.scenarios import SCENARIOS
from storewriter.cli.bench.strategies import PREFIX

ENOUGH_TURNS = 100
"""So many of each caller are needed to tell whether they got the same; with fewer, the start of the window decides."""

ENOUGH_STORES = 10_000
"""So many are needed to tell what one leaves behind: less than this, and a page more or less decides."""


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

    def against(self, other: "Figure", run: Run) -> float | None:
        """How many times the other it is: the median over the rounds, each of which has its own mood."""
        mine, theirs = (run.by_round(each.scenario, each.contender, each.metric) for each in (self, other))
        shared = [number for number in mine if theirs.get(number)]
        if self.pick is other.pick is median and shared:
            return median([mine[number] / theirs[number] for number in shared])
        value, divisor = self.of(run), other.of(run)
        return value / divisor if value is not None and divisor else None


@attrs.frozen
class Need:
    """What a run must have for a promise to be judged: so much of a metric of ours for each of so many."""

    scenario: str
    metric: str
    at_least: float
    of_each: int = 1
    otherwise: str = ""
    """What is said instead of a judgement."""

    def is_met(self, run: Run) -> bool:
        """Whether every round has enough."""
        return all(value / self.of_each >= self.at_least for value in run.values(self.scenario, OURS, self.metric))


@attrs.frozen(kw_only=True)
class Target:
    """A promise: a figure, or how many times another it is, is at least or at most a bound."""

    promise: str
    figure: Figure
    times: Figure | None = None
    at_least: float | None = None
    at_most: float | None = None
    need: Need | None = None

    def check(self, run: Run) -> "Verdict":
        """Compare with the run."""
        value = self.figure.of(run) if self.times is None else self.figure.against(self.times, run)
        if value is not None and self.need is not None and not self.need.is_met(run):
            return Verdict(self, value, self.need.otherwise)
        return Verdict(self, value, None if value is not None else "not measured")


@attrs.frozen
class Verdict:
    """What became of a promise."""

    target: Target
    value: float | None
    """None if what it needs was not measured."""
    unjudged: str | None = None
    """Why it is not judged; None if it is."""

    @property
    def kept(self) -> bool | None:
        """Whether it is kept; None if that cannot be told."""
        if self.value is None or self.unjudged is not None:
            return None
        at_least, at_most = self.target.at_least, self.target.at_most
        return (at_least is None or self.value >= at_least) and (at_most is None or self.value <= at_most)

    @property
    def word(self) -> str:
        """What became of it."""
        if self.unjudged is not None:
            return self.unjudged
        return "kept" if self.kept else "not kept"

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
        return "-" if self.value is None else self._worded(self.value)

    def _worded(self, value: float) -> str:
        metric = self.target.figure.metric
        if self.target.times is not None:
            return ratio(value)
        if metric in ("max", "recovery", "loop_stall"):
            return duration(value)
        if metric == "resident_per_store":
            return size(value)
        return f"{value:.3f}" if metric.startswith("jain") else three_digits(value)


def _faster(scenario: str, than: str, times: float, ours: str = OURS) -> Target:
    return Target(
        promise=f"{scenario}: as fast as {than}",
        figure=Figure(scenario, ours),
        times=Figure(scenario, than),
        at_least=times,
    )


def _hardly_longer(scenario: str, than: str, times: float) -> Target:
    """How much longer an update takes: the same ratio the other way round, as the promise is worded."""
    return Target(
        promise=f"{scenario}: as long as {than}",
        figure=Figure(scenario, than),
        times=Figure(scenario, OURS),
        at_most=times,
    )


def _fair(scenario: str, at_least: float) -> Target:
    """Jain's index over the callers of all rounds, each beside what was even in its round.

    That is what the harmonic mean of the rounds' indices amounts to.
    """
    row = SCENARIOS[scenario]
    who, metric, callers = ("threads", "jain", row.threads) if row.processes == 1 else (
        "processes", "jain_processes", row.processes)  # fmt: skip
    return Target(
        promise=f"{scenario}: Jain's index over {who}",
        figure=Figure(scenario, OURS, metric, harmonic_mean),
        at_least=at_least,
        need=Need(scenario, "acknowledged", ENOUGH_TURNS, callers, f"fewer than {ENOUGH_TURNS} turns each"),
    )


def _worst(scenario: str, at_most: float, metric: str = "max", what: str = "worst wait") -> Target:
    return Target(promise=f"{scenario}: {what}", figure=Figure(scenario, OURS, metric, max), at_most=at_most)


def _targets() -> Iterator[Target]:
    yield from _turns()
    yield _hardly_longer("S2 1K durable", "bare-orjson", 1.15)
    yield _faster("S3 1K durable", "filelock", 50)
    yield _faster("S3 1K durable", "sqlite-wal-full", 10)
    yield _faster("S3 1K durable", "sqlite-batched", 1)
    yield _faster("S3 50K durable", "sqlite-batched", 0.8)
    yield _faster("S4 1K durable", "filelock", 2.5)
    yield _fair("S4 1K durable", 0.95)
    yield from _tight_loops()
    yield _faster("S6 1K durable", "filelock", 15)
    yield _fair("S6 1K durable", 0.99)
    yield _worst("S6 1K durable", 0.050)
    yield _worst("S7 SIGKILL", 0.010, "recovery", "recovery after the holder's death")
    yield _worst("S8 idle", 0, "descriptors", "descriptors left")
    yield _worst("S8 idle", 0, "threads", "threads left")
    yield attrs.evolve(
        _worst("S8 idle", 100, "resident_per_store", "memory left for each store"),
        need=Need("S8 idle", "stores", ENOUGH_STORES, otherwise=f"fewer than {count(ENOUGH_STORES)} stores"),
    )
    for scenario in SCENARIOS.values():
        if scenario.family == "S9":
            yield _hardly_longer(scenario.key, "bare-orjson", 1.2)
    for scenario in SCENARIOS.values():
        if scenario.family == "S11":
            yield _worst(scenario.key, 0.050, "loop_stall", "stall of the event loop")


def _turns() -> Iterator[Target]:
    yield _faster("S1 sync", "portalocker", 1)
    yield _faster("S1 sync", "fasteners", 1)
    yield _faster("S1 sync", "filelock", 5)
    yield _faster("S1 sync", "bare-flock", 1 / 3)
    yield _faster("S1 async", "filelock-async", 30)
    yield Target(
        promise="S1 async: as fast as the sync bare-flock",
        figure=Figure("S1 async", OURS),
        times=Figure("S1 sync", "bare-flock"),
        at_least=1 / 3,
    )


def _tight_loops() -> Iterator[Target]:
    for processes in (8, 32):
        for flushed in ("not durable", "durable"):
            scenario = f"S5 {processes} processes {flushed}"
            yield _faster(scenario, "bare-flock", 0.8)
            yield _fair(scenario, 0.99)
    yield Target(
        promise="S5 8 processes not durable: worst wait of retry-with-backoff, times ours",
        figure=Figure("S5 8 processes not durable", "backoff", "max", max),
        times=Figure("S5 8 processes not durable", OURS, "max", max),
        at_least=20,
    )
    yield _worst("S5 32 processes not durable", 0.150)
    yield _worst("S5 32 processes durable", 0.150)


TARGETS: Sequence[Target] = tuple(_targets())


def verdicts(run: Run) -> list[Verdict]:
    """Check every promise."""
    return [target.check(run) for target in TARGETS]


def lost_updates(run: Run) -> float:
    """How many acknowledged updates our contenders lost, in all their measurements together; it must be 0."""
    ours = [name for name in run.settings["contenders"] if name.startswith(PREFIX)]
    return sum(sum(run.values(scenario, name, "lost")) for scenario in run.scenarios() for name in ours)
