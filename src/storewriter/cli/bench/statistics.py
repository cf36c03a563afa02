"""Percentiles, fairness, histograms: what is reported about many waits and many callers."""

import math
from collections import Counter
from collections.abc import Sequence

BINS_PER_DECADE = 20
"""A bin of a histogram is 12 % wide: finer than the noise of a run, and few numbers to keep."""


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the smallest value with at least `percent` of the `ordered` values at or below it."""
    if not ordered:
        raise ValueError("no values")
    rank = math.ceil(percent / 100 * len(ordered))
    return ordered[max(rank, 1) - 1]


def jain(shares: Sequence[float]) -> float:
    """Return Jain's fairness index: 1 where all shares are equal, 1/n where one of n has everything.

    If all shares are 0, they are equal, too: 1.
    """
    squares = sum(share * share for share in shares)
    if not squares:
        return 1.0
    return sum(shares) ** 2 / (len(shares) * squares)


def histogram(nanoseconds: Sequence[int]) -> dict[int, int]:
    """Count how many of the times fall into each logarithmic bin; `bin_start` says where a bin begins."""
    bins = Counter(math.floor(BINS_PER_DECADE * math.log10(max(1, each))) for each in nanoseconds)
    return dict(sorted(bins.items()))


def bin_start(index: int) -> float:
    """Return the lower edge of a histogram's bin, in seconds."""
    return float(10.0 ** (index / BINS_PER_DECADE)) / 1e9


def wait_metrics(ordered: Sequence[int]) -> dict[str, float]:
    """Return median, tail and worst of `ordered` nanoseconds, in seconds."""
    if not ordered:
        return {}
    percents = {"p50": 50.0, "p99": 99.0, "max": 100.0}
    return {name: percentile(ordered, percent) / 1e9 for name, percent in percents.items()}
