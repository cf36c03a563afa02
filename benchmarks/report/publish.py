"""Refresh what the README and the documentation show of a run: nothing there is typed by hand."""

from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import attrs

from benchmarks.report import markdown
from benchmarks.report.charts import Bars, Chart, Lines, Shares, Timeline, charts, cost_against_size
from benchmarks.report.pictures import dark_one, write_pictures
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

FIRST_SCREEN = ("S3 1K durable", "64-tasks")
"""The scenario of the README's picture, and the picture's name."""
ON_FIRST_SCREEN = frozenset(
    {
        *(OURS, "filelock", "sqlite-wal-full", "sqlite-batched", "flock-batched", "reference", "no-lock"),
        *("node-proper-lockfile", "node-fs-safe"),
    }
)

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


def picture_on_any_page(chart: Chart, folder: str) -> str:
    """Show the chart in HTML, in the theme that the reader has chosen, and say who is who in it."""
    light = f"{folder}/{chart.slug}.svg"
    dark = dark_one(Path(light)).as_posix()
    return (
        f'\n<picture>\n  <source media="(prefers-color-scheme: dark)" srcset="{dark}">\n'
        f'  <img alt="{chart.title}" src="{light}">\n</picture>\n\n{markdown.who_is_who(_names(chart))}\n'
    )


def picture_on_the_site(chart: Chart, folder: str) -> str:
    """Show the chart in Markdown, and say who is who in it; the site puts the dark one beside it (docs/conf.py)."""
    names = markdown.who_is_who(_names(chart))
    return (
        f"\n![{chart.title}]({folder}/{chart.slug}.svg)\n\n"
        f"<details><summary>Who is who in this picture</summary>\n\n{names}\n\n</details>\n"
    )


def _names(chart: Chart) -> list[str]:
    match chart:
        case Bars(bars=shown) | Lines(lines=shown) | Shares(groups=shown) | Timeline(panels=shown):
            return [each.name for each in shown]


@attrs.frozen
class Page:
    """A page in which what stands between the marks is replaced; one without marks is left."""

    path: Path
    text: Callable[[Run], str]
    """What is written there; the pictures come where `PLACE` is."""
    pictures: Collection[str]
    shown: Callable[[Chart, str], str]
    """A picture as the page shows it, from a folder relative to it."""

    def written(self, run: Run) -> str:
        """What stands between the marks after a run."""
        folder = PICTURES.relative_to(self.path.parent).as_posix()
        pictures = [self.shown(chart, folder) for chart in published(run) if chart.slug in self.pictures]
        return self.text(run).replace(PLACE, "".join(pictures))


PAGES = (
    Page(Path("README.md"), _readme, (FIRST_SCREEN[1],), picture_on_any_page),
    Page(Path("docs/benchmarks.md"), _everything, PUBLISHED, picture_on_the_site),
)


def publish(run: Run, repository: Path) -> Iterator[Path]:
    """Write pictures, run and tables below `repository`; yield what was written."""
    for chart in published(run):
        yield from write_pictures(chart, repository / PICTURES / f"{chart.slug}.svg")
    (repository / PICTURES).mkdir(parents=True, exist_ok=True)
    save(run, repository / RUN)
    yield repository / RUN
    for page in PAGES:
        if _refresh(repository / page.path, page.written(run)):
            yield repository / page.path


def published(run: Run) -> Iterator[Chart]:
    """Those charts of the run that documentation shows."""
    yield from _first_screen(run)
    drawn = [chart for scenario in run.scenarios() for chart in charts(run, scenario)]
    found = (chart for chart in [*drawn, cost_against_size(run)] if chart and chart.slug in PUBLISHED)
    yield from map(_readable, found)


def _first_screen(run: Run) -> Iterator[Chart]:
    """The bars of one scenario, of what most people would pick instead."""
    scenario, name = FIRST_SCREEN
    if scenario not in run.scenarios():
        return
    for chart in charts(run, scenario):
        if isinstance(chart, Bars):
            bars = [bar for bar in chart.bars if bar.name in ON_FIRST_SCREEN]
            yield attrs.evolve(chart, slug=name, bars=bars)


def _readable(chart: Chart) -> Chart:
    match chart:
        case Lines(lines=lines):
            return attrs.evolve(chart, lines=[line for line in lines if line.name in IN_PICTURES])
        case Shares(groups=groups):
            return attrs.evolve(chart, groups=[group for group in groups if group.name in IN_PICTURES])
        case _:
            return chart


def between_the_marks(text: str) -> str | None:
    """What a run has written into this page; None if there are no marks."""
    return text.split(BEGIN)[1].split(END)[0] if BEGIN in text and END in text else None


def _refresh(path: Path, content: str) -> bool:
    """Replace what stands between the marks; False if the page or its marks are not there."""
    if not path.exists() or between_the_marks(path.read_text()) is None:
        return False
    text = path.read_text()
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    path.write_text(f"{before}{BEGIN}\n{content}{END}{after}")
    return True
