"""Refresh what the README and the documentation show of a run: nothing there is typed by hand."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from benchmarks.report.charts import Chart, charts, cost_against_size
from benchmarks.report.pictures import write_picture
from benchmarks.report.tables import Column
from benchmarks.report.wording import OURS, duration, kind, three_digits
from storewriter.cli.bench.results import Run, save
from storewriter.cli.bench.scenarios import FAMILIES, SCENARIOS

BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"

PICTURES = Path("docs/benchmarks")
RUN = PICTURES / "run.json"

PUBLISHED = frozenset(
    {
        *("s1-sync-per-second", "s3-1k-durable-per-second", "s4-1k-durable-per-second", "s6-1k-durable-per-second"),
        *("s5-8-processes-not-durable-per-second", "s5-32-processes-not-durable-per-second"),
        *("s5-32-processes-not-durable-waits", "s6-1k-durable-waits", "s5-8-processes-not-durable-fairness"),
        *("s5-32-processes-not-durable-fairness", "s7-sigkill-recovery", "s9-cost-against-size"),
        "s10-8-processes-timeline",
    }
)
"""The charts that documentation shows; the interactive page has them all."""

README_SHOWS = ("s3-1k-durable-per-second", "s10-8-processes-timeline")

MARKED: Mapping[str, Collection[str]] = {"README.md": README_SHOWS, "docs/benchmarks.md": PUBLISHED}
"""Pages in which what stands between the marks is replaced, and the pictures each shows; one without marks is left."""

FAMILIES_SHOWN = ("S1", "S2", "S3", "S4", "S5", "S6", "S9")

COLUMNS = (OURS, "filelock", "reference", "sqlite-wal-full", "sqlite-wal-normal", "bare-flock", "bare-orjson")


def publish(run: Run, repository: Path) -> Iterator[Path]:
    """Write pictures, run and tables below `repository`; yield what was written."""
    shown = list(published(run))
    for chart in shown:
        path = repository / PICTURES / f"{chart.slug}.svg"
        write_picture(chart, path)
        yield path
    (repository / PICTURES).mkdir(parents=True, exist_ok=True)
    save(run, repository / RUN)
    yield repository / RUN
    for name, slugs in MARKED.items():
        pictures = _pictures(Path(name), [chart for chart in shown if chart.slug in slugs])
        if _refresh(repository / name, f"{markdown(run)}{pictures}"):
            yield repository / name


def published(run: Run) -> Iterator[Chart]:
    """Those charts of the run that documentation shows."""
    drawn = [chart for scenario in run.scenarios() for chart in charts(run, scenario)]
    yield from (chart for chart in [*drawn, cost_against_size(run)] if chart and chart.slug in PUBLISHED)


def _refresh(path: Path, content: str) -> bool:
    """Replace what stands between the marks; False if the page or its marks are not there."""
    if not path.exists():
        return False
    text = path.read_text()
    if BEGIN not in text or END not in text:
        return False
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    path.write_text(f"{before}{BEGIN}\n{content}{END}{after}")
    return True


def _pictures(page: Path, shown: Iterable[Chart]) -> str:
    """Show the charts on a page, by paths relative to it."""
    return "".join(f"\n![{chart.title}]({_relative(PICTURES, page.parent)}/{chart.slug}.svg)\n" for chart in shown)


def _relative(folder: Path, start: Path) -> str:
    return folder.relative_to(start).as_posix()


def markdown(run: Run) -> str:
    """Return the figures as one table: a row a scenario, updates per second and the worst wait of a few contenders."""
    scenarios = [key for key in run.scenarios() if SCENARIOS[key].family in FAMILIES_SHOWN]
    shown = [name for name in COLUMNS if any(run.values(key, name, "per_second") for key in scenarios)]
    header = f"| | {' | '.join(_title(name) for name in shown)} |\n|---|{'---:|' * len(shown)}\n"
    rows = "".join(_row(run, key, shown) for key in scenarios)
    return f"{header}{rows}\n{_caption(run)}\n"


def _title(name: str) -> str:
    return f"**{name}**" if kind(name) == "ours" else name


def _row(run: Run, scenario: str, shown: list[str]) -> str:
    row = SCENARIOS[scenario]
    cells = (_cell(run, scenario, name) for name in shown)
    return f"| {row.family}: {FAMILIES[row.family]} ({row.variant}) | {' | '.join(cells)} |\n"


def _cell(run: Run, scenario: str, name: str) -> str:
    rate = _worded(run, scenario, name, Column("", "per_second", three_digits))
    worst = _worded(run, scenario, name, Column("", "max", duration, max))
    if not rate:
        return ""
    contended = SCENARIOS[scenario].callers > 1
    return f"{rate}/s, worst {worst}" if contended else f"{rate}/s"


def _worded(run: Run, scenario: str, name: str, column: Column) -> str:
    values = run.values(scenario, name, column.metric)
    return column.wording(column.pick(values)) if values else ""


def _caption(run: Run) -> str:
    machine, settings = run.machine, run.settings
    return (
        f"Medians of {settings['rounds']} interleaved rounds on {machine['processor']}, {machine['cores']} cores, "
        f"{machine['system']}, {machine['file_system']}, {machine['python']}, SQLite {machine['sqlite']}, "
        f"filelock {machine['packages'].get('filelock', '-')}. Absolute figures move with the machine: compare ratios."
    )
