"""A run as Markdown: an overview of ratios, the promises, and all tables."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs

from benchmarks.contenders import CONTENDERS
from benchmarks.report.tables import table
from benchmarks.report.targets import lost_updates, verdicts
from benchmarks.report.wording import OURS, count, duration, kind, ratio, rounds, three_digits
from benchmarks.scenarios import FAMILIES, LEADING, SCENARIOS
from storewriter.cli.bench.results import Run

SHORT: Mapping[str, str] = {
    "S1": "an uncontended turn",
    "S2": "1 caller",
    "S3": "64 asyncio tasks",
    "S4": "8 threads",
    "S6": "4 processes x 16 tasks",
    "S7": "holder killed: the next is in after",
    "S9": "1 caller",
}
"""The families of an overview in a few words; S5 says it all in its variants."""


@attrs.frozen
class Beside:
    """A column of an overview: the first of these contenders that was measured in a scenario."""

    title: str
    names: Sequence[str]

    def of(self, run: Run, scenario: str) -> str | None:
        """The contender of the column in a scenario; None if there is none."""
        metric, _ = LEADING[SCENARIOS[scenario].measure]
        return next((name for name in self.names if run.values(scenario, name, metric)), None)


BASE = Beside("filelock", ("filelock", "filelock-async"))
"""What ratios in an overview refer to."""

COLUMNS = (
    Beside("**storewriter**", (OURS,)),
    BASE,
    Beside("portalocker", ("portalocker",)),
    Beside("SQLite", ("sqlite-wal-full", "sqlite-wal-normal")),
    Beside("SQLite, batched by hand", ("sqlite-batched",)),
    Beside("Node: proper-lockfile", ("node-proper-lockfile",)),
    Beside("bare sketch", ("bare-orjson", "flock-batched", "bare-two-flushes", "bare-flock")),
)
MORE_COLUMNS = (
    *COLUMNS[:3],
    Beside("fasteners", ("fasteners",)),
    Beside("the reference's lock", ("reference",)),
    *COLUMNS[3:5],
    Beside("diskcache", ("diskcache",)),
    COLUMNS[5],
    Beside("Node: fs-safe", ("node-fs-safe",)),
    COLUMNS[6],
)

ROWS = ("S2 1K durable", "S3 1K durable", "S5 8 processes not durable", "S6 1K durable", "S7 SIGKILL")
"""One caller, tasks, processes in a tight loop, both, and a killed holder: also where another one is faster."""
SAME_AS_S2 = "S9 1K durable"
MORE_FAMILIES = ("S1", "S2", "S3", "S4", "S5", "S6", "S9", "S7")


def overview(run: Run) -> str:
    """Return a table that fits a page: five scenarios beside what most people would pick."""
    return _overview(run, [key for key in ROWS if key in run.scenarios()], COLUMNS)


def who_is_who(names: Iterable[str]) -> str:
    """Return what each of these contenders is, in a list."""
    return "\n".join(f"* `{name}`: {CONTENDERS[name].about}" for name in names if name in CONTENDERS)


def wide_overview(run: Run) -> str:
    """Return all that is about speed, beside more of them."""
    keys = [key for family in MORE_FAMILIES for key in _scenarios(run, family) if key != SAME_AS_S2]
    return _overview(run, keys, MORE_COLUMNS)


def promises(run: Run) -> str:
    """Return what storewriter promises, and what became of it."""
    rows = [
        (
            each.target.promise,
            each.bound,
            each.measured,
            {True: "kept", False: "**not kept**"}.get(each.kept, each.word),
        )
        for each in verdicts(run)
    ]
    lost = f"Acknowledged updates that storewriter lost, in all measurements together: {count(lost_updates(run))}."
    return f"{_table(('promise', 'bound', 'measured', ''), rows)}\n{lost}\n"


def tables(run: Run) -> str:
    """Return every table, folded away."""
    return "\n".join(_folded(run, family) for family in FAMILIES if _scenarios(run, family))


def _scenarios(run: Run, family: str) -> list[str]:
    return [key for key in run.scenarios() if SCENARIOS[key].family == family]


def _folded(run: Run, family: str) -> str:
    parts = [f"<details><summary>{family}: {FAMILIES[family]}</summary>\n"]
    for key in _scenarios(run, family):
        shown = table(run, key)
        rows = [[f"**{row[0]}**" if kind(row[0]) == "ours" else row[0], *row[1:]] for row in shown.rows]
        parts.append(f"**{key}**\n\n{_table(shown.header, rows)}")
    return "\n".join([*parts, "</details>\n"])


def _overview(run: Run, scenarios: Sequence[str], columns: Sequence[Beside]) -> str:
    shown = [column for column in columns if any(column.of(run, key) for key in scenarios)]
    rows = [[_label(key), *(_cell(run, key, column) for column in shown)] for key in scenarios]
    return f"{_table(['', *(column.title for column in shown)], rows)}\n{_caption(run)}\n"


def _label(scenario: str) -> str:
    row = SCENARIOS[scenario]
    variant = row.variant.replace(" not", ", not").replace(" durable", ", durable").replace("not, ", "not ")
    return SHORT["S7"] if row.family == "S7" else ", ".join(filter(None, (SHORT.get(row.family, ""), variant)))


def _cell(run: Run, scenario: str, column: Beside) -> str:
    name = column.of(run, scenario)
    return "" if name is None else "<br>".join(_lines(run, scenario, name))


def _lines(run: Run, scenario: str, name: str) -> Iterator[str]:
    """Yield the figure with its ratio to the base, the worst wait where others wait, and losses if there are any."""
    row = SCENARIOS[scenario]
    metric, more_is_better = LEADING[row.measure]
    value, base = run.median(scenario, name, metric), BASE.of(run, scenario)
    if value is None:
        return
    figure = f"{three_digits(value)}/s" if more_is_better else duration(value)
    of_base = run.median(scenario, base, metric) if base is not None and base != name else None
    if of_base:
        times = ratio(value / of_base if more_is_better else of_base / value)
        figure += f" (**{times}**)" if name == OURS else f" ({times})"
    yield figure
    worst = run.worst(scenario, name, "max")
    if row.callers > 1 and worst is not None:
        yield f"worst {duration(worst)}"
    for metric, word in (("lost", "lost"), ("errors", "errors")):
        total = sum(run.values(scenario, name, metric))
        if total:
            yield f"{count(total)} {word}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _caption(run: Run) -> str:
    machine, settings = run.machine, run.settings
    node = f", Node {machine['node']}" if machine.get("node") else ""
    versions = (f"{name} {version}" for name, version in machine["packages"].items() if name != "storewriter")
    cut = "" if settings.get("finished", True) else f", the last one cut short ({len(run.measurements)} measurements)"
    return (
        f"Medians of {rounds(settings)}{cut}; in brackets, how many times "
        "better than filelock in the same run. 'Bare sketch' has no lock and no recovery: storewriter can beat it "
        "where updates share a flush. Absolute figures move with the machine: compare ratios. "
        f"{machine['processor']}, {machine['cores']} cores, {machine['system']}, {machine['file_system']}, "
        f"{machine['python']}, SQLite {machine['sqlite']}{node}, {', '.join(versions)}."
    )
