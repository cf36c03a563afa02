"""What storewriter promises about its speed and fairness, checked against a run."""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from itertools import combinations
from statistics import harmonic_mean

import attrs

from benchmarks.peers.functions import SHAPES
from benchmarks.peers.sketches import TWO_FLUSHES
from benchmarks.report.tables import Pick, median
from benchmarks.report.wording import FORMER, OURS, count, duration, ratio, size, three_digits
from benchmarks.scenarios import SCENARIOS
from storewriter.cli.bench.results import Run
from storewriter.cli.bench.strategies import PREFIX

ONE_FLUSH = ("ext4", "xfs")
"""File systems on which a durable update over a document that existed needs one flush."""

ENOUGH_TURNS = 100
"""So many of each caller are needed to tell whether they got the same; with fewer, the start of the window decides."""

NOT_SLOWER = 0.95
"""How many times a former version is not slower than it: a run cannot tell less than this from the same."""

LIKE_EACH_OTHER = 1.2
"""So many times as fast may one shape of a function be as another."""

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
    file_systems: Sequence[str] = ()
    """Where it is promised; empty: everywhere."""

    def check(self, run: Run) -> "Verdict":
        """Compare with the run."""
        value = self.figure.of(run) if self.times is None else self.figure.against(self.times, run)
        if value is not None and self.need is not None and not self.need.is_met(run):
            return Verdict(self, value, self.need.otherwise)
        if value is not None and self.file_systems and not self._is_promised_on(run.machine["file_system"]):
            return Verdict(self, value, f"promised on {' and '.join(self.file_systems)}")
        return Verdict(self, value, None if value is not None else "not measured")

    def _is_promised_on(self, file_system: str) -> bool:
        return file_system.partition(" ")[0] in self.file_systems

    def compares_with(self, contender: str) -> bool:
        """Whether it is about how many times that contender's figure ours is."""
        return self.times is not None and contender in (self.figure.contender, self.times.contender)


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
        bounds = {"at least": self.target.at_least, "at most": self.target.at_most}
        return ", ".join(f"{word} {self._worded(bound)}" for word, bound in bounds.items() if bound is not None)

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
        promise=f"{scenario}: {'' if ours == OURS else f'{ours} '}as fast as {than}",
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
    yield attrs.evolve(_faster("S2 1K durable", "bare-orjson", 1.1), file_systems=ONE_FLUSH)
    yield _faster("S3 1K durable", "filelock", 50)
    yield _faster("S3 1K durable", "sqlite-wal-full", 10)
    yield _faster("S3 1K durable", "sqlite-batched", 1.2)
    yield _faster("S3 1K durable", "flock-batched", 0.75)
    yield from _functions("S3 50K durable")
    yield _faster("S3 50K durable", "sqlite-batched", 0.8, f"{OURS}-shared")
    yield _faster("S4 1K durable", "filelock", 2.5)
    yield _faster("S4 1K durable", FORMER, 1.3)
    yield _fair("S4 1K durable", 0.95)
    yield from _tight_loops()
    yield _faster("S6 1K durable", "filelock", 15)
    yield _faster("S6 1K durable", "flock-batched", 0.9)
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
    yield _faster("S1 sync", FORMER, NOT_SLOWER)
    yield _faster("S1 async", FORMER, NOT_SLOWER)
    yield Target(
        promise="S1 async: as fast as the sync bare-flock",
        figure=Figure("S1 async", OURS),
        times=Figure("S1 sync", "bare-flock"),
        at_least=1 / 3,
    )


def _functions(scenario: str) -> Iterator[Target]:
    """Whatever a function can reach, it is as fast: beside SQLite, and beside each other."""
    shapes = [OURS, *(f"{OURS}-{shape}" for shape in SHAPES)]
    for shape in shapes:
        yield _faster(scenario, "sqlite-wal-full", 2, shape)
    for one, other in combinations(shapes, 2):
        yield attrs.evolve(_faster(scenario, other, 1 / LIKE_EACH_OTHER, one), at_most=LIKE_EACH_OTHER)


def _tight_loops() -> Iterator[Target]:
    for processes in (8, 32):
        yield _faster(f"S5 {processes} processes not durable", "bare-flock", 0.8)
        yield attrs.evolve(_faster(f"S5 {processes} processes durable", TWO_FLUSHES, 1.2), file_systems=ONE_FLUSH)
        for flushed in ("not durable", "durable"):
            yield _fair(f"S5 {processes} processes {flushed}", 0.99)
    yield Target(
        promise="S5 8 processes not durable: worst wait of retry-with-backoff, times ours",
        figure=Figure("S5 8 processes not durable", "backoff", "max", max),
        times=Figure("S5 8 processes not durable", OURS, "max", max),
        at_least=20,
    )
    yield _worst("S5 32 processes not durable", 0.150)
    yield _worst("S5 32 processes durable", 0.060)


TARGETS: Sequence[Target] = tuple(_targets())


PAIRS: AbstractSet[tuple[str, str]] = {
    (figure.scenario, figure.contender)
    for target in TARGETS
    if target.times is not None
    for figure in (target.figure, target.times)
}
"""What the ratios of promises compare: scenarios and contenders."""


def verdicts(run: Run) -> list[Verdict]:
    """Check every promise; those about a former version only if one was measured."""
    left_out = () if FORMER in run.settings["contenders"] else (FORMER,)
    return [target.check(run) for target in TARGETS if not any(map(target.compares_with, left_out))]


def lost_updates(run: Run) -> float:
    """How many acknowledged updates our contenders lost, in all their measurements together; it must be 0."""
    ours = [name for name in run.settings["contenders"] if name.startswith(PREFIX)]
    return sum(sum(run.values(scenario, name, "lost")) for scenario in run.scenarios() for name in ours)
