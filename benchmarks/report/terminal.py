"""A run's tables as text."""

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table as RichTable

from benchmarks.report.tables import Table, table
from benchmarks.report.targets import lost_updates, verdicts
from benchmarks.report.wording import count, kind
from benchmarks.scenarios import FAMILIES, SCENARIOS
from storewriter.cli.bench.results import Run

STYLES = {"ours": "bold green", "limit": "dim", "peer": ""}
VERDICTS = {True: "green", False: "red", None: "dim"}


def print_report(run: Run) -> None:
    """Print all tables, then the promises."""
    console = Console(width=None if Console().is_terminal else 200)
    for scenario in run.scenarios():
        shown = table(run, scenario)
        console.print(_rich(shown, f"{scenario}   {FAMILIES[SCENARIOS[scenario].family]}"))
        for remark in shown.remarks:
            console.print(f"  {remark}", style="dim", markup=False, overflow="ellipsis", no_wrap=True)
    console.print(_promises(run))
    console.print(f"updates lost by storewriter, all measurements together: {count(lost_updates(run))}")


def _rich(shown: Table, title: str) -> RichTable:
    rich = RichTable(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    rich.add_column(shown.header[0])
    for name in shown.header[1:]:
        rich.add_column(name, justify="right")
    for contender, row in zip(shown.contenders, shown.rows, strict=True):
        rich.add_row(*row, style=STYLES[kind(contender)])
    return rich


def _promises(run: Run) -> RichTable:
    rich = RichTable(title="Promises", title_justify="left", box=None, header_style="bold", pad_edge=False)
    for name in ("promise", "bound", "measured", ""):
        rich.add_column(name)
    for row in _verdict_rows(run):
        rich.add_row(*row)
    return rich


def _verdict_rows(run: Run) -> Iterator[tuple[str, str, str, str]]:
    for verdict in verdicts(run):
        yield verdict.target.promise, verdict.bound, verdict.measured, f"[{VERDICTS[verdict.kept]}]{verdict.word}[/]"
