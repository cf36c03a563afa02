"""What is drawn: values that `page` draws with plotly and `pictures` with matplotlib."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from math import ceil, floor, log10

import attrs

from benchmarks.report.tables import ranked
from benchmarks.report.wording import OURS, count, duration, kind, three_digits
from benchmarks.scenarios import FAMILIES, LEADING, SCENARIOS
from storewriter.cli.bench.results import Run, merged_histogram
from storewriter.cli.bench.statistics import bin_start


@attrs.frozen(kw_only=True)
class Bar:
    """One contender's median, and the lowest and highest round."""

    name: str
    kind: str
    value: float
    low: float
    high: float
    label: str


@attrs.frozen(kw_only=True)
class Bars:
    """One bar a contender, best first."""

    slug: str
    title: str
    axis: str
    bars: Sequence[Bar]
    ticks: Sequence[tuple[float, str]]
    """Decades of a logarithmic axis, from below the shortest bar to above the longest; empty: the axis is linear."""


@attrs.frozen(kw_only=True)
class Line:
    """One contender's curve."""

    name: str
    kind: str
    x: Sequence[float]
    y: Sequence[float]


@attrs.frozen(kw_only=True)
class Lines:
    """Curves over a common axis; `ticks` name places on it that would read badly as numbers.

    The other axis is logarithmic, and `decades` are its ticks.
    """

    slug: str
    title: str
    x_axis: str
    y_axis: str
    lines: Sequence[Line]
    ticks: Sequence[tuple[float, str]]
    decades: Sequence[tuple[float, str]]
    log_x: bool = False


@attrs.frozen(kw_only=True)
class Share:
    """How much each process got of what would have been even: 1 is a fair share."""

    name: str
    kind: str
    shares: Sequence[float]


@attrs.frozen(kw_only=True)
class Shares:
    """One row of dots a contender, a dot a process."""

    slug: str
    title: str
    axis: str
    groups: Sequence[Share]


@attrs.frozen(kw_only=True)
class Panel:
    """Who was in its turn when: one lane a process, from and until in seconds."""

    name: str
    kind: str
    note: str
    """What it amounts to, in figures."""
    lanes: Sequence[Sequence[tuple[float, float]]]


@attrs.frozen(kw_only=True)
class Timeline:
    """The same seconds under two locks."""

    slug: str
    title: str
    axis: str
    panels: Sequence[Panel]


Chart = Bars | Lines | Shares | Timeline


def charts(run: Run, scenario: str) -> Iterator[Chart]:
    """What is drawn of one scenario: what it is about, how long callers wait, how even it is, who was in when."""
    row = SCENARIOS[scenario]
    yield from _leading(run, scenario)
    if row.measure == "updates" and row.callers > 1:
        yield from _waits(run, scenario)
    if row.processes > 1 and row.measure == "updates":
        yield from _shares(run, scenario)
    if row.measure == "timeline":
        yield from _timeline(run, scenario)


def slug(scenario: str, what: str) -> str:
    return f"{scenario}-{what}".lower().replace(" ", "-")


def decades(values: Sequence[float], wording: Callable[[float], str]) -> list[tuple[float, str]]:
    """Return the powers of ten that enclose the values, and how each reads."""
    first, last = floor(log10(min(values))), ceil(log10(max(values)))
    return [(10.0**power, wording(10.0**power)) for power in range(first, max(last, first + 1) + 1)]


# Bars

AXES: Mapping[str, str] = {
    "per_second": "updates per second (more is better)",
    "recovery": "time until a waiter is in (less is better)",
    "loop_stall": "by how much a heartbeat came late (less is better)",
}


def _leading(run: Run, scenario: str) -> Iterator[Bars]:
    row = SCENARIOS[scenario]
    metric, more_is_better = LEADING[row.measure]
    if row.measure == "idle":
        return  # bytes around zero: the table says it better
    wording: Callable[[float], str] = three_digits if more_is_better else duration
    bars = [
        _bar(run, scenario, contender, metric, wording)
        for contender in ranked(run, scenario)
        if run.median(scenario, contender, metric)
    ]
    if not bars:
        return
    values = [bar.value for bar in bars]
    axis = "turns per second (more is better)" if row.measure.endswith("turns") else AXES[metric]
    spread = max(values) > 30 * min(values)
    yield Bars(
        slug=slug(scenario, metric.replace("_", "-")),
        title=f"{FAMILIES[row.family]} ({row.variant})",
        axis=f"{axis}; the axis is logarithmic" if spread else axis,
        bars=bars,
        ticks=decades(values, wording) if spread else [],
    )


def _bar(run: Run, scenario: str, contender: str, metric: str, wording: Callable[[float], str]) -> Bar:
    values = run.values(scenario, contender, metric)
    value = run.median(scenario, contender, metric) or 0.0
    lost = sum(run.values(scenario, contender, "lost"))
    return Bar(
        name=contender,
        kind=_kind(run, scenario, contender),
        value=value,
        low=min(values),
        high=max(values),
        label=wording(value) + (f", {count(lost)} lost" if lost else ""),
    )


def _kind(run: Run, scenario: str, contender: str) -> str:
    """Which kind of contender it is, or `loses` if it lost updates here."""
    return "loses" if sum(run.values(scenario, contender, "lost")) else kind(contender)


# Waits

PERCENTS = ((0.0, "0"), (50.0, "50"), (90.0, "90"), (99.0, "99"), (99.9, "99.9"), (99.99, "99.99"))


def nines(percent: float) -> float:
    """Where a percentile stands on an axis that gives each further nine the same room: 0, 1 at 90, 2 at 99."""
    return -log10(1 - percent / 100)


def _waits(run: Run, scenario: str) -> Iterator[Lines]:
    lines = [_wait_line(run, scenario, contender) for contender in ranked(run, scenario)]
    lines = [line for line in lines if line.x]
    if not lines:
        return
    yield Lines(
        slug=slug(scenario, "waits"),
        title=f"How long a caller waits ({scenario})",
        x_axis="percentile",
        y_axis="time until acknowledged (logarithmic)",
        lines=lines,
        ticks=[(nines(percent), name) for percent, name in PERCENTS],
        decades=decades([wait for line in lines for wait in line.y], duration),
    )


def _wait_line(run: Run, scenario: str, contender: str) -> Line:
    bins = merged_histogram(run.outcomes(scenario, contender))
    total = sum(bins.values())
    below = list(accumulate(bins.values(), initial=0))[:-1]
    return Line(
        name=contender,
        kind=_kind(run, scenario, contender),
        x=[round(nines(100 * number / total), 4) for number in below],
        y=[float(f"{bin_start(index):.3g}") for index in bins],
    )


# Fairness


def _shares(run: Run, scenario: str) -> Iterator[Shares]:
    groups = [_share(run, scenario, contender) for contender in ranked(run, scenario)]
    groups = [group for group in groups if group.shares]
    if groups:
        yield Shares(
            slug=slug(scenario, "fairness"),
            title=f"What each process got ({scenario})",
            axis="updates of a process, as a share of an even one (1 is fair)",
            groups=groups,
        )


def _share(run: Run, scenario: str, contender: str) -> Share:
    shares: list[float] = []
    for outcome in run.outcomes(scenario, contender):
        even = sum(outcome.per_process) / len(outcome.per_process)
        shares += [round(updates / even, 4) for updates in outcome.per_process if even]
    return Share(name=contender, kind=_kind(run, scenario, contender), shares=shares)


# The timeline

SIDE_BY_SIDE = (OURS, "backoff")
MERGE = 0.001
"""Holds of one process with a gap below a thousandth of the picture are drawn as one: the gap is not visible."""


def _timeline(run: Run, scenario: str) -> Iterator[Timeline]:
    shown = [name for name in SIDE_BY_SIDE if any(each.holds for each in run.outcomes(scenario, name))]
    if not shown:
        return
    panels = [_panel(run, scenario, name) for name in shown]
    yield Timeline(
        slug=slug(scenario, "timeline"),
        title=FAMILIES[SCENARIOS[scenario].family],
        axis="seconds since the first turn",
        panels=panels,
    )


def _panel(run: Run, scenario: str, name: str) -> Panel:
    outcome = next(each for each in run.outcomes(scenario, name) if each.holds)
    even, worst = outcome.metrics["jain_processes"], outcome.metrics.get("max", 0.0)
    note = f"longest wait {duration(worst)}, Jain's index {even:.3f}"
    return Panel(name=name, kind=kind(name), note=note, lanes=_lanes(outcome.holds))


def _lanes(holds: Sequence[Sequence[tuple[float, float]]]) -> list[list[tuple[float, float]]]:
    whole = max((left for lane in holds for _, left in lane), default=0.0)
    return [_merged(lane, whole * MERGE) for lane in holds]


def _merged(lane: Sequence[tuple[float, float]], gap: float) -> list[tuple[float, float]]:
    merged: list[tuple[float, float]] = []
    for entered, left in lane:
        if merged and entered - merged[-1][1] < gap:
            merged[-1] = (merged[-1][0], left)
        else:
            merged.append((entered, left))
    return merged


# Cost against size


def cost_against_size(run: Run) -> Lines | None:
    """The time of one update against the size of the document, over all rows of S9; None if there are none."""
    scenarios = [key for key in run.scenarios() if SCENARIOS[key].family == "S9"]
    if not scenarios:
        return None
    names = list(dict.fromkeys(name for key in scenarios for name in run.contenders(key)))
    lines = [line for name in names if (line := _cost_line(run, scenarios, name)).x]
    if not lines:
        return None
    return Lines(
        slug="s9-cost-against-size",
        title=FAMILIES["S9"],
        x_axis="bytes of the document (logarithmic)",
        y_axis="time of one update (logarithmic)",
        lines=lines,
        ticks=[(SCENARIOS[key].size, SCENARIOS[key].variant.split()[0]) for key in scenarios],
        decades=decades([cost for line in lines for cost in line.y], duration),
        log_x=True,
    )


def _cost_line(run: Run, scenarios: Sequence[str], name: str) -> Line:
    rates = [(SCENARIOS[key].size, run.median(key, name, "per_second")) for key in scenarios]
    points = [(size, 1 / rate) for size, rate in rates if rate]
    return Line(name=name, kind=kind(name), x=[size for size, _ in points], y=[cost for _, cost in points])
