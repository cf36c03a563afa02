"""One table a scenario: medians over the rounds, their spread, and ratios to a named baseline."""

from collections.abc import Callable, Mapping, Sequence

import attrs

from benchmarks.report.wording import OURS, count, duration, ratio, size, three_digits
from benchmarks.scenarios import LEADING, SCENARIOS
from storewriter.cli.bench.results import Run

Pick = Callable[[Sequence[float]], float]


def median(values: Sequence[float]) -> float:
    """The middle one; of an even number, the mean of the two in the middle."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


@attrs.frozen
class Column:
    """One metric, and how the rounds become one cell."""

    title: str
    metric: str
    wording: Callable[[float], str]
    pick: Pick = median


PER_SECOND = Column("per second", "per_second", three_digits)
TAIL = (Column("p50", "p50", duration), Column("p99", "p99", duration), Column("worst", "max", duration, max))
CPU = Column("CPU each", "cpu_per_update", duration)
STALL = Column("loop stall", "loop_stall", duration)
WORST_STALL = Column("worst", "loop_stall", duration, max)
FIRST_STALL = Column("first update", "first_stall", duration, max)
FAILED = (Column("lost", "lost", count, sum), Column("errors", "errors", count, sum))

COLUMNS: Mapping[str, Sequence[Column]] = {
    "turns": (PER_SECOND, Column("each", "mean", duration), *TAIL, CPU),
    "async turns": (PER_SECOND, Column("each", "mean", duration), *TAIL, CPU),
    "updates": (
        PER_SECOND,
        *TAIL,
        CPU,
        *FAILED,
        Column("Jain", "jain_processes", "{:.3f}".format),
        Column("Jain, callers", "jain", "{:.3f}".format),
        Column("least", "least", count, min),
        Column("most", "most", count, max),
        Column("first stall", "first_stall", duration, max),
        Column("loop stall", "loop_stall", duration, max),
    ),
    "timeline": (PER_SECOND, *TAIL, Column("errors", "errors", count, sum), Column("Jain", "jain", "{:.3f}".format)),
    "stall": (STALL, WORST_STALL, FIRST_STALL, PER_SECOND, *TAIL, CPU, *FAILED),
    "stall while held": (
        STALL, WORST_STALL, PER_SECOND, Column("longest wait", "max", duration, max), CPU, *FAILED,
    ),
    "recovery": (
        Column("recovery", "recovery", duration),
        Column("worst", "max", duration, max),
        Column("never in", "never_in", count, sum),
        Column("waits given up", "gave_up", count, sum),
    ),
    "idle": (
        Column("stores", "stores", count, min),
        Column("memory, all", "resident", size),
        Column("memory each", "resident_per_store", size),
        Column("descriptors", "descriptors", count, max),
        Column("threads", "threads", count, max),
        Column("files each", "files_per_store", three_digits),
        Column("p50 of a touch", "p50", duration),
    ),
}  # fmt: skip


@attrs.frozen
class Table:
    """A scenario's table, ready to be shown."""

    scenario: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    contenders: Sequence[str]
    """Whose row it is."""
    remarks: Sequence[str]


def baseline(run: Run, scenario: str) -> str | None:
    """What the ratios of a scenario refer to; None if it was not measured, or if figures around zero have no ratio."""
    if SCENARIOS[scenario].measure == "idle":
        return None
    name = run.settings["baselines"].get(scenario)
    return name if name in run.contenders(scenario) else None


def table(run: Run, scenario: str) -> Table:
    """Lay out one scenario; columns without any value, and one's own fairness, are left out."""
    columns = [column for column in COLUMNS[SCENARIOS[scenario].measure] if _worth_showing(run, scenario, column)]
    base = baseline(run, scenario)
    contenders = ranked(run, scenario)
    ratios = [f"x {base}"] if base else []
    return Table(
        scenario=scenario,
        header=["contender", columns[0].title, "spread", *ratios, *(column.title for column in columns[1:])],
        rows=[_row(run, scenario, contender, columns, base) for contender in contenders],
        contenders=contenders,
        remarks=_remarks(run, scenario),
    )


def ranked(run: Run, scenario: str) -> list[str]:
    """The contenders of a scenario, best first; those without a figure last."""
    metric, more_is_better = LEADING[SCENARIOS[scenario].measure]
    sign = -1 if more_is_better else 1

    def rank(contender: str) -> tuple[bool, float]:
        value = run.median(scenario, contender, metric)
        return (value is None, 0.0 if value is None else sign * value)

    return sorted(run.contenders(scenario), key=rank)


def _worth_showing(run: Run, scenario: str, column: Column) -> bool:
    row = SCENARIOS[scenario]
    if column.metric in ("first_stall", "loop_stall") and not row.tasks:
        return False  # a member in Node has a loop even then, but no other
    if column.metric in ("jain", "least", "most") and row.callers == 1:
        return False
    if column.metric == "jain_processes" and row.processes == 1:
        return False
    if column.metric == "jain" and row.callers == row.processes and row.measure == "updates":
        return False  # the same as that of the processes
    return any(run.values(scenario, contender, column.metric) for contender in run.contenders(scenario))


def _row(run: Run, scenario: str, contender: str, columns: Sequence[Column], base: str | None) -> list[str]:
    first, *others = (_cell(run, scenario, contender, column) for column in columns)
    ratios = [] if base is None else [_ratio(run, scenario, contender, base)]
    return [contender, first, _spread(run, scenario, contender, columns[0]), *ratios, *others]


def _cell(run: Run, scenario: str, contender: str, column: Column) -> str:
    values = run.values(scenario, contender, column.metric)
    return column.wording(column.pick(values)) if values else "-"


def _spread(run: Run, scenario: str, contender: str, column: Column) -> str:
    """How far the rounds lie apart, as a share of the median."""
    values = run.values(scenario, contender, column.metric)
    if len(values) < 2 or not median(values):
        return "-"
    return f"±{(max(values) - min(values)) / abs(median(values)) / 2:.0%}"


def _ratio(run: Run, scenario: str, contender: str, base: str) -> str:
    """How many times better than the baseline."""
    metric, more_is_better = LEADING[SCENARIOS[scenario].measure]
    ours, theirs = run.median(scenario, contender, metric), run.median(scenario, base, metric)
    if not ours or not theirs:
        return "-"
    return ratio(ours / theirs if more_is_better else theirs / ours)


def _remarks(run: Run, scenario: str) -> list[str]:
    failed = [f"{each.contender}: failed: {each.failure}" for each in run.failures(scenario)]
    met = [
        f"{contender}: {outcome.remark}"
        for contender in run.contenders(scenario)
        for outcome in run.outcomes(scenario, contender)
        if outcome.remark
    ]
    return list(dict.fromkeys([*failed, *met]))


def ahead(run: Run, scenario: str) -> list[tuple[str, float]]:
    """Who is ahead of storewriter in what the scenario is about, and how many times."""
    metric, more_is_better = LEADING[SCENARIOS[scenario].measure]
    ours = run.median(scenario, OURS, metric)
    if not ours or SCENARIOS[scenario].measure in ("idle", "stall", "stall while held"):
        return []  # bytes around zero, and stalls of a millisecond or two, make no race
    found: list[tuple[str, float]] = []
    for contender in ranked(run, scenario):
        theirs = run.median(scenario, contender, metric)
        if contender != OURS and theirs:
            factor = theirs / ours if more_is_better else ours / theirs
            found += [(contender, factor)] if factor > 1 else []
    return found
