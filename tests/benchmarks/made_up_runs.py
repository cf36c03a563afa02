"""Runs that were not measured, with figures chosen by the test."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from benchmarks.scenarios import SCENARIOS

from storewriter.cli.bench.results import Measurement, Outcome, Run, Skipped
from storewriter.cli.bench.statistics import histogram

MACHINE = {
    "processor": "Example <CPU>",
    "cores": 2,
    "memory_gib": 4,
    "system": "Linux 6.0",
    "file_system": "ext4 (rw)",
    "python": "CPython 3.11",
    "sqlite": "3.40",
    "node": None,
    "packages": {"filelock": "4.2"},
}


def run_of(
    rates: Mapping[str, Mapping[str, Sequence[float]]], *, lost: Mapping[str, float] | None = None, seed: int = 0
) -> Run:
    """Updates per second by scenario, contender and round; everything else follows from them."""
    measurements = [
        Measurement(
            scenario=scenario,
            contender=contender,
            round=number,
            outcome=_outcome(scenario, rate, (lost or {}).get(contender, 0), random.Random(seed + number)),
        )
        for scenario, contenders in rates.items()
        for contender, rounds in contenders.items()
        for number, rate in enumerate(rounds)
    ]
    names = list(dict.fromkeys(each.contender for each in measurements))
    settings = {
        "rounds": max(each.round for each in measurements) + 1,
        "quick": True,
        "finished": True,
        "contenders": names,
        "scenarios": list(rates),
        "baselines": dict.fromkeys(rates, "filelock"),
    }
    skipped = [Skipped("node-fs-safe", "node and npm are not installed")]
    return Run(machine=MACHINE, settings=settings, measurements=measurements, skipped=skipped)


def _outcome(scenario: str, rate: float, lost: float, dice: random.Random) -> Outcome:
    row = SCENARIOS[scenario]
    waits = [round(dice.lognormvariate(0, 1) * 1e9 / rate) for _ in range(200)]
    times = {"p50": 1 / rate, "p99": 5 / rate, "max": max(waits) / 1e9, "cpu_per_update": 0.5 / rate}
    counts = {"lost": lost, "errors": 0, "least": 1, "most": 2, "jain": 0.9, "jain_processes": 0.9}
    timeline = row.measure == "timeline"
    return Outcome(
        metrics={"per_second": rate, "recovery": 1 / rate, **times, **counts},
        histogram=histogram(waits),
        per_process=[dice.randrange(50, 150) for _ in range(row.processes)],
        holds=[[(number * 0.01, number * 0.01 + 0.005)] for number in range(row.processes)] if timeline else [],
    )


def small_run() -> Run:
    """A few scenarios of every kind of chart."""
    shares = {"storewriter-flock": [90.0, 100.0], "filelock": [10.0, 11.0], "backoff": [20.0, 30.0], "no-lock": [50.0]}
    keys = [
        "S1 sync", "S3 1K durable", "S5 8 processes not durable", "S7 SIGKILL", "S9 1K durable", "S9 1M durable",
        "S10 8 processes",
    ]  # fmt: skip
    return run_of(dict.fromkeys(keys, shares), lost={"no-lock": 7})
