"""What `storewriter bench` answers: tables, a recommendation, and the same as JSON."""

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Any

import attrs
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from storewriter.cli.bench.advice import Advice
from storewriter.cli.bench.choices import DURABILITIES, Figures

_IN_MEMORY = ("tmpfs", "ramfs")
"""File systems for which a flush does nothing."""


@attrs.frozen(kw_only=True)
class Answer:
    """What a run found out."""

    figures: list[Figures]
    advice: Advice
    machine: dict[str, Any]
    window: float
    left_out: int
    """Measurements for which there was no time."""
    interrupted: bool = False
    """Whether it was ended by Ctrl-C."""

    @property
    def lost(self) -> int:
        """Updates that were acknowledged and are not in the document."""
        return sum(each.lost for each in self.figures)


def show(answer: Answer, console: Console) -> None:
    """Print tables, and the recommendation at the end."""
    machine = answer.machine
    place = f"{machine['file_system']}, {machine['cores']} cores, {machine['system']}, {machine['python']}"
    console.print(Text(place), soft_wrap=True)
    for durability, meaning in DURABILITIES.items():
        figures = [each for each in answer.figures if each.case.durability == durability]
        if figures:
            console.print()
            console.print(Text(f"durability='{durability}': {meaning}", style="bold"), soft_wrap=True)
            console.print(_table(figures, terminal=console.is_terminal))
    console.print()
    for remark in _remarks(answer):
        console.print(Text(remark, style="yellow"), soft_wrap=True)
    first, *reasons = answer.advice.text.splitlines()
    console.print(Text(first, style="bold"), soft_wrap=True)
    for reason in reasons:
        console.print(Text(reason), soft_wrap=True)


def _remarks(answer: Answer) -> Iterator[str]:
    """What keeps the figures from being the whole truth."""
    if answer.interrupted:
        yield f"Interrupted: {answer.left_out} measurements are missing, so the recommendation is a preliminary one."
    elif answer.left_out:
        yield f"{answer.left_out} measurements were left out, to be done in time: choose fewer with --only."
    kind = answer.machine["file_system"].partition(" ")[0]
    if kind in _IN_MEMORY:
        yield f"{kind} is memory, and flushes nothing: for durability='power' measure the disk of the store."


def _table(figures: Sequence[Figures], *, terminal: bool) -> Table:
    # One space between columns: it all fits a terminal of 80.
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False) if terminal else Table(box=box.MARKDOWN)
    for heading in ("callers", "lock"):
        table.add_column(heading, no_wrap=True)
    for heading in ("updates/s", "p50 ms", "p99 ms", "worst ms", "fairness", "lost", "errors"):
        table.add_column(heading, justify="right", no_wrap=True)
    fastest, last = _fastest(figures), None
    for each in figures:
        style = _style(each, fastest=terminal and each in fastest)
        callers = "" if each.case == last else each.case.callers.replace("processes x", "x")
        table.add_row(callers, each.strategy, *_cells(each), style=style)
        last = each.case
    return table


def _fastest(figures: Sequence[Figures]) -> list[Figures]:
    """Of each case with a choice, the strategy that makes the most updates."""
    cases = {each.case: [other for other in figures if other.case == each.case] for each in figures}
    return [max(several, key=lambda each: each.per_second) for several in cases.values() if len(several) > 1]


def _cells(figures: Figures) -> Iterator[str]:
    yield f"{figures.per_second:,.0f}"
    for seconds in (figures.p50, figures.p99, figures.worst):
        yield "-" if seconds is None else f"{seconds * 1e3:,.2f}"
    yield f"{figures.fairness:.2f}"
    yield str(figures.lost)
    yield "failed" if figures.trouble and not figures.errors else str(figures.errors)


def _style(figures: Figures, *, fastest: bool) -> str:
    if not figures.is_sound:
        return "bold red"
    return "green" if fastest else ""


def to_json(answer: Answer) -> dict[str, Any]:
    """Return all of it as one JSON document."""
    return {
        "storewriter": version("storewriter"),
        "machine": answer.machine,
        "window": answer.window,
        "measurements": [_figures_json(each) for each in answer.figures],
        "left_out": answer.left_out,
        "interrupted": answer.interrupted,
        "recommendation": attrs.asdict(answer.advice),
    }


def _figures_json(figures: Figures) -> dict[str, Any]:
    fields = attrs.asdict(figures)
    return {**fields.pop("case"), **fields}
