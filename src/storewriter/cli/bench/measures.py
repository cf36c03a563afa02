"""From a scenario and a contender to figures: one measurement, in the process that calls."""

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path

import attrs

from storewriter.cli.bench import team
from storewriter.cli.bench.contender import Contender, Target
from storewriter.cli.bench.results import Outcome
from storewriter.cli.bench.scenarios import Scenario
from storewriter.cli.bench.statistics import histogram, jain, wait_metrics


@attrs.frozen(kw_only=True)
class Task:
    """One measurement."""

    contender: Contender
    scenario: Scenario
    folder: Path
    """An empty folder on the file system that is measured."""
    seconds: float
    seed: int

    @property
    def target(self) -> Target:
        """The store."""
        return Target(self.folder / "state", self.scenario.durable)


def measure_updates(task: Task) -> Outcome:
    """Let callers update one document for a while, and count again what is in it."""
    return updated_together(task, team.UPDATES)[0]


def updated_together(task: Task, mode: team.Mode) -> tuple[Outcome, list[team.Sighting]]:
    """The same in another mode; returns what each process saw, too."""
    scenario, target, contender = task.scenario, task.target, task.contender
    contender.layout.create(target.path, scenario.size)
    job = team.Job(contender=contender, target=target, threads=scenario.threads, tasks=scenario.tasks)
    began = time.monotonic_ns()
    sightings = team.measure_together(job, mode, scenario.processes, task.seconds, scenario.limit)
    lasted = min(task.seconds, (time.monotonic_ns() - began) / 1e9)
    return verified(summary(sightings, lasted), sightings, contender, target.path), sightings


def summary(sightings: Sequence[team.Sighting], seconds: float) -> Outcome:
    """Figures of what the callers saw."""
    callers = list(chain.from_iterable(sighting.callers for sighting in sightings))
    waits = sorted(chain.from_iterable(caller.waits for caller in callers))
    shares = [caller.in_window for caller in callers]
    per_process = [sum(caller.in_window for caller in sighting.callers) for sighting in sightings]
    metrics = {
        "per_second": sum(shares) / seconds,
        "acknowledged": sum(caller.acknowledged for caller in callers),
        "errors": sum(caller.errors for caller in callers),
        "jain": jain(shares),
        "jain_processes": jain(per_process),
        "least": min(shares),
        "most": max(shares),
        **wait_metrics(waits),
        **_stalls(sightings),
    }
    if waits:
        metrics["cpu_per_update"] = sum(sighting.cpu for sighting in sightings) / len(waits) / 1e9
        metrics["user_per_update"] = sum(sighting.user for sighting in sightings) / len(waits) / 1e9
    remarks = [caller.first_error for caller in callers if caller.first_error]
    return Outcome(
        metrics=metrics,
        histogram=histogram(waits),
        per_process=per_process,
        remark=next(iter(remarks), None),
    )


def _stalls(sightings: Sequence[team.Sighting]) -> dict[str, float]:
    first = [each.first_stall for each in sightings if each.first_stall is not None]
    later = [each.loop_stall for each in sightings if each.loop_stall is not None]
    stalls = {"first_stall": first, "loop_stall": later}
    return {name: max(seen) / 1e9 for name, seen in stalls.items() if seen}


def verified(outcome: Outcome, sightings: Sequence[team.Sighting], contender: Contender, path: Path) -> Outcome:
    """Count again what is in the document."""
    acknowledged = round(outcome.metrics["acknowledged"])
    try:
        stored = contender.layout.attempts(path)
    except Exception as error:  # noqa: BLE001 - a document that cannot be read has lost everything
        remark = f"unreadable at the end: {type(error).__name__}: {error}"
        return attrs.evolve(outcome, metrics={**outcome.metrics, "lost": acknowledged}, remark=remark)
    unacknowledged = max(0, stored - acknowledged)
    metrics = {**outcome.metrics, "lost": max(0, acknowledged - stored), "unacknowledged": unacknowledged}
    return attrs.evolve(outcome, metrics=metrics)


MEASURES: Mapping[str, Callable[[Task], Outcome]] = {"updates": measure_updates}
"""What `storewriter bench` measures. A run may name another table (`conduct.Setting.measures`)."""
