"""Torture stores for a while: `make torture MINUTES=60`. Ends with 1 if anything was lost, torn, stuck or left behind."""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import attrs
from rounds import Round, Tally, child_signals_blocked

from scenarios import SCENARIOS, Plant, Scenario

Tallies = dict[Scenario, Tally]


def main() -> int:
    """Run rounds of all scenarios in turn until the time is over."""
    given = _arguments()
    seed = random.SystemRandom().randrange(1 << 32) if given.seed is None else given.seed
    folder = Path(tempfile.mkdtemp(prefix="torture-", dir=given.folder))
    print(f"seed {seed}, stores in {folder}", flush=True)
    tallies: Tallies = {attrs.evolve(scenario, plant=given.plant): Tally() for scenario in _chosen(given.only)}
    began = time.monotonic()
    with child_signals_blocked(), contextlib.suppress(KeyboardInterrupt):
        _torture(tallies, folder, random.Random(seed), began + 60 * given.minutes, given)
    figures = _figures(seed, (time.monotonic() - began) / 60, tallies)
    print("\n".join(f"{name:24} {value}" for name, value in figures.items() if name != "points"))
    if given.json is not None:
        given.json.write_text(json.dumps(figures, indent=1))
    with contextlib.suppress(OSError):  # the rounds in which something was wrong are kept
        folder.rmdir()
    return 1 if figures["wrong"] else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seconds", type=float, default=6.0, help="of one round")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--once", action="store_true", help="one round of each scenario, whatever the time")
    parser.add_argument("--only", default="", help="scenarios with this text in their name")
    parser.add_argument("--plant", choices=get_args(Plant), default="none", help="put in a defect, which must be found")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    parser.add_argument("--folder", type=Path, help="where the stores are (default: the system's temporary folder)")
    return parser.parse_args()


def _chosen(only: str) -> list[Scenario]:
    return [scenario for scenario in SCENARIOS if only in str(scenario)]


def _torture(tallies: Tallies, folder: Path, rng: random.Random, end: float, given: argparse.Namespace) -> None:
    number = 0
    while True:
        for scenario, tally in tallies.items():
            if not given.once and time.monotonic() >= end:
                return
            number += 1
            for wrong in Round(scenario, folder / str(number), rng, tally).run(given.seconds):
                print(f"round {number}, {scenario}: {wrong}"[:2000], flush=True)
            if sys.stderr.isatty():
                print(f"\r{number} rounds, {_sum(tallies, 'kills')} kills", end="", file=sys.stderr, flush=True)
        if given.once:
            return


def _sum(tallies: Tallies, name: str) -> int:
    return sum(getattr(tally, name) for tally in tallies.values())


def _figures(seed: int, minutes: float, tallies: Tallies) -> dict[str, Any]:
    points: Counter[str] = Counter()
    for tally in tallies.values():
        points.update(tally.points)
    counted = ("rounds", "kills", "pauses", "answered", "refused", "uncertain", "reads")
    return {
        "seed": seed,
        "minutes": round(minutes, 1),
        "scenarios": len(tallies),
        **{name: _sum(tallies, name) for name in counted},
        "at a fault point": sum(points.values()),
        "kinds of fault points": len(points),
        "slowest next turn, s": round(max(tally.slowest_next for tally in tallies.values()), 3),
        "wrong": sum(len(tally.wrong) for tally in tallies.values()),
        "points": dict(points.most_common()),
    }


if __name__ == "__main__":
    sys.exit(main())
