#!/usr/bin/env python
"""Processor time that a durable update takes in the program, beside a bare flock loop: `python -m benchmarks.cpu`.

1, 2, 8 and 32 processes, in paired rounds. The time in the kernel is left out: that of the disk is in it.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.peers.sketches import TWO_FLUSHES
from benchmarks.report.targets import Figure
from benchmarks.report.wording import FORMER, OURS, duration, ratio
from benchmarks.run import PAIRED, Choice, run
from benchmarks.scenarios import SCENARIOS
from storewriter.cli.bench.results import Run

ROWS = ("S2 1K durable", *(f"S5 {processes} processes durable" for processes in (2, 8, 32)))
METRIC = "user_per_update"


def report(measured: Run) -> list[str]:
    """A line for each number of processes: medians, and the median of the ratios of each round."""
    lines: list[str] = []
    for key in measured.scenarios():
        base = Figure(key, TWO_FLUSHES, METRIC)
        line = f"{SCENARIOS[key].processes:3} processes   {TWO_FLUSHES} {duration(base.of(measured) or 0):>8}"
        for name in (OURS, FORMER):
            figure = Figure(key, name, METRIC)
            value, times = figure.of(measured), figure.against(base, measured)
            if value is not None and times is not None:
                line += f"   {name} {duration(value):>8} ({ratio(times)})"
        lines.append(line)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=PAIRED)
    parser.add_argument("--quick", action="store_true", help="windows as short as a look needs")
    parser.add_argument("--folder", type=Path, default=Path(), help="on the file system to measure")
    parser.add_argument("--against", help="a former version, measured in the same rounds")
    chosen = parser.parse_args()
    choice = Choice(
        rounds=chosen.rounds,
        paired=chosen.rounds,
        families=ROWS,
        contenders=(OURS, TWO_FLUSHES),
        against=chosen.against,
        window=0.3 if chosen.quick else None,
    )
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        print(*report(run(choice, Path(folder))), sep="\n")


if __name__ == "__main__":
    main()
