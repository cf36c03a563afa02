#!/usr/bin/env python
"""Tell real changes between two runs from noise: `benchmarks/compare.py BEFORE.json AFTER.json`.

What each scenario is about is compared, and the processor time of an update, which does not depend on how busy the
disk is. A machine is in another mood every hour, so figures are compared as ratios to the scenario's baseline in the
same round (`--absolute` compares them as they are). A change counts if a Mann-Whitney U test finds it, at a false
discovery rate of 5 % over all comparisons made, and if it is large enough to matter. Files of counted instructions are
compared directly: they do not depend on the mood.

The exit code is 1 if something got worse.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from statistics import median

import attrs
from scipy.stats import false_discovery_control, mannwhitneyu

from benchmarks.scenarios import LEADING, SCENARIOS
from storewriter.cli.bench.results import Run, load

FALSE_DISCOVERIES = 0.05
"""The share of false alarms among the changes that are reported."""

MATTERS = 0.05
"""A smaller change of a time or a rate is not reported, however certain it is."""

CPU = "cpu_per_update"

INSTRUCTIONS_MATTER = 0.02
"""The same for counted instructions."""

INSTRUCTIONS_FORMAT = "storewriter-instructions/1"


@attrs.frozen(kw_only=True)
class Comparison:
    """One contender in one scenario, before and after."""

    scenario: str
    contender: str
    metric: str
    more_is_better: bool
    before: Sequence[float]
    after: Sequence[float]

    @property
    def change(self) -> float:
        """By how much the median has grown, as a share of what it was."""
        return median(self.after) / median(self.before) - 1

    @property
    def p_value(self) -> float:
        """How likely such a difference, or a larger one, is between two runs of the same program."""
        return float(mannwhitneyu(self.before, self.after, alternative="two-sided").pvalue)

    @property
    def smallest_p_value(self) -> float:
        """What the p-value is if every round before lies on one side of every round after."""
        rounds = len(self.before), len(self.after)
        return 2 / math.comb(sum(rounds), rounds[0])


@attrs.frozen
class Verdict:
    """What became of a comparison."""

    comparison: Comparison
    word: str
    """`better`, `worse` or `same`."""
    certainty: float
    """The p-value, adjusted for the number of comparisons."""


def comparisons(
    before: Run, after: Run, *, prefix: str = "storewriter-", metric: str | None = None, absolute: bool = False
) -> Iterator[Comparison]:
    """What both runs have measured at least twice."""
    for scenario in before.scenarios():
        leading, more_is_better = LEADING[SCENARIOS[scenario].measure]
        ours = [contender for contender in before.contenders(scenario) if contender.startswith(prefix)]
        for contender, chosen in product(ours, [metric] if metric else [leading, CPU]):
            values = [_values(run, scenario, contender, chosen, absolute=absolute) for run in (before, after)]
            if all(len(each) >= 2 for each in values):
                yield Comparison(
                    scenario=scenario,
                    contender=contender,
                    metric=chosen,
                    more_is_better=more_is_better if chosen == leading else False,  # other metrics are times
                    before=values[0],
                    after=values[1],
                )


def _values(run: Run, scenario: str, contender: str, metric: str, *, absolute: bool) -> list[float]:
    values = run.by_round(scenario, contender, metric)
    base = run.by_round(scenario, run.settings["baselines"].get(scenario, ""), metric)
    if absolute or not base:
        return [value for value in values.values() if value]
    return [value / base[number] for number, value in values.items() if value and base.get(number)]


def judge(compared: Sequence[Comparison], *, matters: float = MATTERS) -> list[Verdict]:
    """Tell what changed, allowing for the number of comparisons."""
    if not compared:
        return []
    adjusted = false_discovery_control([each.p_value for each in compared])
    return [Verdict(each, _word(each, p, matters), float(p)) for each, p in zip(compared, adjusted, strict=True)]


def _word(comparison: Comparison, adjusted: float, matters: float) -> str:
    if adjusted > FALSE_DISCOVERIES or abs(comparison.change) < matters:
        return "same"
    return "better" if (comparison.change > 0) == comparison.more_is_better else "worse"


def blind(compared: Sequence[Comparison]) -> bool:
    """Whether there are too few rounds for a single change among so many comparisons to be found at all."""
    return any(each.smallest_p_value > FALSE_DISCOVERIES / len(compared) for each in compared)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the comparison; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--absolute", action="store_true", help="compare figures, not ratios to the baseline")
    parser.add_argument("--metric", help="only this one, such as p99 or max")
    parser.add_argument("--prefix", default="storewriter-", help="of the contenders compared; '' for all")
    chosen = parser.parse_args(arguments)
    if _is_instructions(chosen.before) or _is_instructions(chosen.after):
        return _compare_instructions(chosen.before, chosen.after)
    before, after = (load(path).only(SCENARIOS) for path in (chosen.before, chosen.after))
    compared = list(
        comparisons(
            before, after,
            prefix=chosen.prefix, metric=chosen.metric, absolute=chosen.absolute,
        )
    )  # fmt: skip
    verdicts = judge(compared)
    for verdict in verdicts:
        print(_line(verdict))
    print(_closing(compared))
    return int(any(verdict.word == "worse" for verdict in verdicts))


def _line(verdict: Verdict) -> str:
    each = verdict.comparison
    before, after = median(each.before), median(each.after)
    return (
        f"{each.scenario:30} {each.contender:20} {each.metric:15} {before:12.4g} -> {after:12.4g}"
        f" {each.change:+8.1%}  p={verdict.certainty:.3f}  {verdict.word}"
    )


def _closing(compared: Sequence[Comparison]) -> str:
    if not compared:
        return "nothing to compare: both runs need the same scenarios and contenders, and at least two rounds"
    if blind(compared):
        return (
            f"{len(compared)} comparisons: too few rounds to find a single change among so many; "
            "measure fewer scenarios (-s) in more rounds (--rounds 10)"
        )
    return f"{len(compared)} comparisons"


def _is_instructions(path: Path) -> bool:
    return json.loads(path.read_text()).get("format") == INSTRUCTIONS_FORMAT


def _compare_instructions(before: Path, after: Path) -> int:
    counts = [json.loads(path.read_text())["instructions"] for path in (before, after)]
    worse = False
    for operation in filter(counts[1].__contains__, counts[0]):
        change = counts[1][operation] / counts[0][operation] - 1
        word = "same" if abs(change) < INSTRUCTIONS_MATTER else "better" if change < 0 else "worse"
        worse = worse or word == "worse"
        print(f"{operation:40} {counts[0][operation]:12,.0f} -> {counts[1][operation]:12,.0f} {change:+8.1%}  {word}")
    return int(worse)


if __name__ == "__main__":
    sys.exit(main())
