"""What a run found out, and its JSON. Times are in seconds throughout."""

import json
import statistics as stdlib_statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard, cast

import attrs

FORMAT = "storewriter-bench/1"

Metrics = Mapping[str, float]


@attrs.frozen(kw_only=True)
class Outcome:
    """What one measurement found out."""

    metrics: dict[str, float]
    histogram: dict[int, int] = attrs.Factory(dict[int, int])
    """How many waits fell into which bin (see `statistics.histogram`)."""
    per_process: list[int] = attrs.Factory(list[int])
    """How many updates each process made in the window."""
    holds: list[list[tuple[float, float]]] = attrs.Factory(list[list[tuple[float, float]]])
    """For each process, from when until when it was in its turn, counted from the start of the window."""
    remark: str | None = None
    """The first error a caller met, or why the document cannot be read any more."""


@attrs.frozen(kw_only=True)
class Measurement:
    """One contender in one scenario in one round."""

    scenario: str
    contender: str
    round: int
    outcome: Outcome | None
    """None if it failed."""
    failure: str | None = None
    took: float = 0.0
    """Seconds, with everything around it."""


@attrs.frozen
class Skipped:
    """A contender that could not run at all."""

    contender: str
    reason: str


@attrs.frozen(kw_only=True)
class Run:
    """Everything that one run found out."""

    machine: dict[str, Any]
    settings: dict[str, Any]
    measurements: list[Measurement]
    skipped: list[Skipped] = attrs.Factory(list[Skipped])

    def outcomes(self, scenario: str, contender: str) -> list[Outcome]:
        """Return the outcomes of all rounds that did not fail."""
        return [
            each.outcome
            for each in self.measurements
            if each.scenario == scenario and each.contender == contender and each.outcome is not None
        ]

    def values(self, scenario: str, contender: str, metric: str) -> list[float]:
        """One metric in all rounds that have it."""
        outcomes = self.outcomes(scenario, contender)
        return [outcome.metrics[metric] for outcome in outcomes if metric in outcome.metrics]

    def by_round(self, scenario: str, contender: str, metric: str) -> dict[int, float]:
        """Return one metric by the number of the round."""
        return {
            each.round: each.outcome.metrics[metric]
            for each in self.measurements
            if each.scenario == scenario and each.contender == contender
            if each.outcome is not None and metric in each.outcome.metrics
        }

    def median(self, scenario: str, contender: str, metric: str) -> float | None:
        """Return the median over the rounds, or None if there is no value."""
        values = self.values(scenario, contender, metric)
        return stdlib_statistics.median(values) if values else None

    def worst(self, scenario: str, contender: str, metric: str) -> float | None:
        """Return the largest value of any round, or None if there is no value."""
        return max(self.values(scenario, contender, metric), default=None)

    def only(self, scenarios: Collection[str]) -> "Run":
        """Return what was measured in these scenarios: a run may be older than the table."""
        return attrs.evolve(self, measurements=[each for each in self.measurements if each.scenario in scenarios])

    def scenarios(self) -> list[str]:
        """Return the scenarios measured, in the order of the run."""
        return list(dict.fromkeys(each.scenario for each in self.measurements))

    def contenders(self, scenario: str) -> list[str]:
        """Return the contenders measured in a scenario, in the order of their table."""
        measured = {each.contender for each in self.measurements if each.scenario == scenario}
        return [name for name in self.settings["contenders"] if name in measured]

    def failures(self, scenario: str) -> Iterator[Measurement]:
        """Return the measurements of a scenario that failed."""
        return (each for each in self.measurements if each.scenario == scenario and each.failure)


def save(run: Run, path: Path) -> None:
    """Write a run as JSON."""
    content = {"format": FORMAT, **attrs.asdict(run)}
    path.write_text(json.dumps(content, separators=(",", ":")) + "\n")


def load(path: Path) -> Run:
    """Read a run; ValueError if `path` holds something else."""
    content: Any = json.loads(path.read_text())
    if not _is_run(content):
        raise ValueError(f"{path} is not a run of the benchmarks ({FORMAT})")
    return Run(
        machine=content["machine"],
        settings=content["settings"],
        measurements=[_measurement(each) for each in content["measurements"]],
        skipped=[Skipped(**each) for each in content["skipped"]],
    )


def _is_run(content: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(content, dict) and cast("dict[str, Any]", content).get("format") == FORMAT


def outcome_from(fields: Mapping[str, Any]) -> Outcome:
    """Read an outcome; JSON has turned the bins of its histogram into text."""
    histogram = {int(index): int(count) for index, count in fields["histogram"].items()}
    return attrs.evolve(Outcome(**fields), histogram=histogram)


def _measurement(fields: Mapping[str, Any]) -> Measurement:
    measurement = Measurement(**fields)
    if fields["outcome"] is None:
        return measurement
    return attrs.evolve(measurement, outcome=outcome_from(fields["outcome"]))


def merged_histogram(outcomes: Sequence[Outcome]) -> dict[int, int]:
    """Add up the waits of several rounds."""
    merged: dict[int, int] = {}
    for outcome in outcomes:
        for index, count in outcome.histogram.items():
            merged[index] = merged.get(index, 0) + count
    return dict(sorted(merged.items()))
