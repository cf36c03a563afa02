"""Refresh what the README and the documentation show of a run: nothing there is typed by hand."""

from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

import attrs

from benchmarks.report import markdown
from benchmarks.report.charts import Chart, Lines, Shares, charts, cost_against_size
from benchmarks.report.pictures import write_picture
from benchmarks.report.wording import OURS
from storewriter.cli.bench.results import Run, save

BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"

PICTURES = Path("docs/benchmarks")
RUN = PICTURES / "run.json"

PUBLISHED = frozenset(
    {
        *("s1-sync-per-second", "s3-1k-durable-per-second", "s4-1k-durable-per-second", "s6-1k-durable-per-second"),
        *("s5-8-processes-not-durable-per-second", "s5-32-processes-not-durable-per-second"),
        *("s5-32-processes-not-durable-waits", "s6-1k-durable-waits", "s5-8-processes-not-durable-fairness"),
        *("s5-32-processes-not-durable-fairness", "s7-sigkill-recovery", "s9-cost-against-size"),
        *("s10-8-processes-timeline", "s11-5m-durable-loop-stall"),
    }
)
"""The charts that documentation shows; the interactive page has them all."""

IN_PICTURES = frozenset(
    {
        *(OURS, "filelock", "portalocker", "fasteners", "reference", "backoff", "bare-flock", "flock-batched"),
        *("sqlite-wal-full", "sqlite-wal-normal", "sqlite-batched", "bare-orjson", "node-proper-lockfile"),
    }
)
"""The contenders whose curves and dots a picture shows: all of them would hide each other."""

PLACE = "<!-- pictures -->"
PROMISES = """'As fast as' counts updates per second, 'as long as' the time of one update. A promise about fairness is
judged only where each caller had a hundred turns and more."""


def _readme(run: Run) -> str:
    return f"{markdown.overview(run)}{PLACE}"


def _everything(run: Run) -> str:
    return (
        f"{markdown.wide_overview(run)}\n### Promises\n\n{PROMISES}\n\n{markdown.promises(run)}\n"
        f"### Pictures\n{PLACE}\n### All tables\n\n{markdown.tables(run)}"
    )


@attrs.frozen
class Page:
    """A page in which what stands between the marks is replaced; one without marks is left."""

    path: Path
    text: Callable[[Run], str]
    """What is written there; the pictures come where `PLACE` is."""
    pictures: Collection[str]


PAGES = (
    Page(Path("README.md"), _readme, ("s3-1k-durable-per-second", "s10-8-processes-timeline")),
    Page(Path("docs/benchmarks.md"), _everything, PUBLISHED),
)


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
    for page in PAGES:
        pictures = _pictures(page.path, [chart for chart in shown if chart.slug in page.pictures])
        if _refresh(repository / page.path, page.text(run).replace(PLACE, pictures)):
            yield repository / page.path


def published(run: Run) -> Iterator[Chart]:
    """Those charts of the run that documentation shows."""
    drawn = [chart for scenario in run.scenarios() for chart in charts(run, scenario)]
    found = (chart for chart in [*drawn, cost_against_size(run)] if chart and chart.slug in PUBLISHED)
    yield from map(_readable, found)


def _readable(chart: Chart) -> Chart:
    match chart:
        case Lines(lines=lines):
            return attrs.evolve(chart, lines=[line for line in lines if line.name in IN_PICTURES])
        case Shares(groups=groups):
            return attrs.evolve(chart, groups=[group for group in groups if group.name in IN_PICTURES])
        case _:
            return chart


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
