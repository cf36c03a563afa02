"""Conduct a run: choose what to measure, show how far it is, and keep what was found out."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import attrs
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks import former
from benchmarks.contenders import CONTENDERS
from benchmarks.peers.node import node_version
from benchmarks.report.targets import PAIRS
from benchmarks.report.wording import FORMER
from benchmarks.scenarios import SCENARIOS, suits
from storewriter.cli.bench.conduct import Setting, Step, conduct, plan
from storewriter.cli.bench.contender import Contender
from storewriter.cli.bench.machine import describe
from storewriter.cli.bench.results import Measurement, Run, Skipped
from storewriter.cli.bench.scenarios import Scenario

TABLE = "benchmarks.contenders:CONTENDERS"
MEASURES = "benchmarks.measures:MEASURES"
PACKAGES = (
    *("storewriter", "filelock", "anyio", "orjson"),
    *("portalocker", "fasteners", "diskcache", "sqlitedict", "tinydb"),
)

BASELINES: Mapping[str, str] = {"S1 async": "filelock-async", "S9": "bare-orjson"}
"""What the ratios of a scenario refer to, by key or family; everywhere else it is `DEFAULT_BASELINE`."""
DEFAULT_BASELINE = "filelock"

PAIRED = 5
"""Rounds of a full run for what the ratio of a promise compares."""

QUICK_STORES = 500
QUICK_PROCESSES = 8
"""Programs in other languages start slowly and finish late: a quick run starts no more of them than this."""


@attrs.frozen(kw_only=True)
class Choice:
    """What to measure."""

    rounds: int
    quick: bool = False
    paired: int = 0
    """Rounds for what the ratio of a promise compares, if they are more; they ignore a scenario's own limit."""
    families: Sequence[str] = ()
    """Such as S1, or beginnings of keys such as `S5 8 processes`; empty: all."""
    contenders: Sequence[str] = ()
    """Names; empty: all."""
    seed: int = 0
    window: float | None = None
    """Seconds of a measurement, for a look; None: what the scenario says."""
    against: str | None = None
    """A former version to be measured in the same rounds: a git revision, or a folder with the package in it."""

    def scenarios(self) -> list[Scenario]:
        """The chosen rows of the table, smaller for a quick run."""
        chosen = [scenario for scenario in SCENARIOS.values() if self._has(scenario)]
        if not self.quick:
            return chosen
        return [_quick(each) for each in chosen if each.quick]

    def seconds(self, scenario: Scenario) -> float:
        """How long one measurement lasts."""
        return self.window or (scenario.quick if self.quick else scenario.seconds)

    def steps(self, contenders: Sequence[Contender]) -> list[Step]:
        """All measurements of the run, in their order."""
        rows = {row.key: row for row in self.scenarios()}
        planned = plan(
            [attrs.evolve(row, most_rounds=None) for row in rows.values()],
            contenders,
            rounds=max(self.rounds, self.paired),
            seconds=self.seconds,
            seed=self.seed,
            suits=suits,
        )
        return [step for step in planned if step.round < self._rounds(rows[step.scenario.key], step.contender)
                and self._has_time_for(step)]  # fmt: skip

    def _rounds(self, scenario: Scenario, contender: Contender) -> int:
        if not self.quick and (scenario.key, contender.name) in PAIRS:
            return max(self.rounds, self.paired)
        return min(self.rounds, scenario.most_rounds or self.rounds)

    def _has_time_for(self, step: Step) -> bool:
        """Whether a measurement fits into the run: two programs take 10 s and more to recover."""
        if not self.quick or step.contender.program is None:
            return True
        return step.scenario.measure != "recovery" and step.scenario.processes <= QUICK_PROCESSES

    def _has(self, scenario: Scenario) -> bool:
        names = [f"{family} " for family in self.families]
        return not names or any(f"{scenario.key} ".startswith(name) for name in names)


def _quick(scenario: Scenario) -> Scenario:
    rounds = scenario.most_rounds if scenario.quick_rounds is None else scenario.quick_rounds
    return attrs.evolve(scenario, stores=min(scenario.stores, QUICK_STORES), most_rounds=rounds)


def available(names: Sequence[str]) -> tuple[list[Contender], list[Skipped]]:
    """The chosen contenders that can run here, and why the others cannot."""
    unknown = set(names) - CONTENDERS.keys()
    if unknown:
        raise ValueError(f"no such contender: {', '.join(sorted(unknown))}")
    chosen = [contender for name, contender in CONTENDERS.items() if not names or name in names]
    skipped = [Skipped(each.name, reason) for each in chosen if (reason := each.missing()) is not None]
    absent = {each.contender for each in skipped}
    return [contender for contender in chosen if contender.name not in absent], skipped


def baseline(scenario: Scenario) -> str:
    """What the ratios of a scenario refer to."""
    return BASELINES.get(scenario.key) or BASELINES.get(scenario.family) or DEFAULT_BASELINE


def run(choice: Choice, folder: Path) -> Run:
    """Measure below `folder`; interrupted by Ctrl-C, keep what has been measured so far.

    ValueError for a contender or a former version that there is not.
    """
    contenders, skipped = available(choice.contenders)
    measurements: list[Measurement] = []
    finished = False
    with ExitStack() as stack:
        source = None
        if choice.against is not None:
            source = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="storewriter-former-")))
            former.lay_out(choice.against, source)
            contenders = [*contenders, former.contender(choice.against)]
        steps = choice.steps(contenders)
        try:
            for measurement in _shown(
                steps, Setting(table=TABLE, measures=MEASURES, folder=folder, seed=choice.seed), source
            ):
                measurements.append(measurement)  # noqa: PERF402 - an interruption keeps those before it
            finished = True
        except KeyboardInterrupt:
            print(f"interrupted: {len(measurements)} of {len(steps)} measurements are kept")
    scenarios = {step.scenario.key: step.scenario for step in steps}
    settings = {
        **attrs.asdict(choice, filter=attrs.filters.exclude("against")),  # it may name a folder of this machine
        "finished": finished,
        "contenders": [contender.name for contender in contenders],
        "scenarios": list(scenarios),
        "baselines": {key: baseline(scenario) for key, scenario in scenarios.items()},
    }
    machine = {**describe(folder, PACKAGES), "node": node_version()}
    return Run(machine=machine, settings=settings, measurements=measurements, skipped=skipped)


def _shown(steps: Sequence[Step], setting: Setting, source: Path | None) -> Iterator[Measurement]:
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns) as progress:
        task = progress.add_task("", total=len(steps))
        for step, measurement in zip(steps, _conducted(steps, setting, source), strict=True):
            what = f"{step.scenario.key}: {step.contender.name}"
            progress.update(task, advance=1, description=what)
            if measurement.failure:
                progress.print(f"{what} failed: {measurement.failure}")
            yield measurement


def _conducted(steps: Sequence[Step], setting: Setting, source: Path | None) -> Iterator[Measurement]:
    """Step by step in the order of the plan, those of the former version in processes that import it."""
    formers = [attrs.evolve(step, contender=former.MEASURED_AS) for step in steps if _is_former(step)]
    of_former = conduct(formers, attrs.evolve(setting, table=former.TABLE, source=source))
    of_present = conduct([step for step in steps if not _is_former(step)], setting)
    with closing(of_former), closing(of_present):
        for step in steps:
            if _is_former(step):
                yield attrs.evolve(next(of_former), contender=FORMER)
            else:
                yield next(of_present)


def _is_former(step: Step) -> bool:
    return step.contender.name == FORMER
