"""Conduct a run: choose what to measure, show how far it is, and keep what was found out."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import attrs
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.contenders import CONTENDERS
from benchmarks.peers.node import node_version
from storewriter.cli.bench.conduct import Setting, Step, conduct, plan
from storewriter.cli.bench.contender import Contender
from storewriter.cli.bench.machine import describe
from storewriter.cli.bench.results import Measurement, Run, Skipped
from storewriter.cli.bench.scenarios import SCENARIOS, Scenario

TABLE = "benchmarks.contenders:CONTENDERS"
PACKAGES = (
    *("storewriter", "filelock", "anyio", "orjson"),
    *("portalocker", "fasteners", "diskcache", "sqlitedict", "tinydb"),
)

BASELINES: Mapping[str, str] = {"S1 async": "filelock-async", "S9": "bare-orjson"}
"""What the ratios of a scenario refer to, by key or family; everywhere else it is `DEFAULT_BASELINE`."""
DEFAULT_BASELINE = "filelock"

QUICK_STORES = 500
QUICK_PROCESSES = 8
"""Programs in other languages start slowly and finish late: a quick run starts no more of them than this."""


@attrs.frozen(kw_only=True)
class Choice:
    """What to measure."""

    quick: bool
    rounds: int
    families: Sequence[str] = ()
    """Such as S1, or beginnings of keys such as `S5 8 processes`; empty: all."""
    contenders: Sequence[str] = ()
    """Names; empty: all."""
    seed: int = 0

    def scenarios(self) -> list[Scenario]:
        """The chosen rows of the table, smaller for a quick run."""
        chosen = [scenario for scenario in SCENARIOS.values() if self._has(scenario)]
        if not self.quick:
            return chosen
        return [_quick(each) for each in chosen if each.quick]

    def seconds(self, scenario: Scenario) -> float:
        """How long one measurement lasts."""
        return scenario.quick if self.quick else scenario.seconds

    def has_time_for(self, step: Step) -> bool:
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
    """Measure below `folder`; interrupted by Ctrl-C, keep what has been measured so far."""
    contenders, skipped = available(choice.contenders)
    planned = plan(choice.scenarios(), contenders, rounds=choice.rounds, seconds=choice.seconds, seed=choice.seed)
    steps = [step for step in planned if choice.has_time_for(step)]
    measurements: list[Measurement] = []
    finished = False
    try:
        for measurement in _shown(steps, Setting(table=TABLE, folder=folder, seed=choice.seed)):
            measurements.append(measurement)  # noqa: PERF402 - an interruption keeps those before it
        finished = True
    except KeyboardInterrupt:
        print(f"interrupted: {len(measurements)} of {len(steps)} measurements are kept")
    scenarios = {step.scenario.key: step.scenario for step in steps}
    settings = {
        **attrs.asdict(choice),
        "finished": finished,
        "contenders": [contender.name for contender in contenders],
        "scenarios": list(scenarios),
        "baselines": {key: baseline(scenario) for key, scenario in scenarios.items()},
    }
    machine = {**describe(folder, PACKAGES), "node": node_version()}
    return Run(machine=machine, settings=settings, measurements=measurements, skipped=skipped)


def _shown(steps: Sequence[Step], setting: Setting) -> Iterator[Measurement]:
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns) as progress:
        task = progress.add_task("", total=len(steps))
        for step, measurement in zip(steps, conduct(steps, setting), strict=True):
            what = f"{step.scenario.key}: {step.contender.name}"
            progress.update(task, advance=1, description=what)
            if measurement.failure:
                progress.print(f"{what} failed: {measurement.failure}")
            yield measurement
