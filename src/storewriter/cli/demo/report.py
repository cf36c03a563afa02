"""What the demo prints: a line a trial, a verdict a run, a table at the end; coloured on a terminal only."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from storewriter.cli.demo.trials import Run, Side, Trial

_PIPE_WIDTH = 110
"""Columns of a table that goes into a file or a pipe, which have none of their own."""

_METHODS: dict[Side, str] = {
    "before": "load, modify, save by rename",
    "after": "the same through storewriter",
}


def console_for_results() -> Console:
    """Standard output."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_PIPE_WIDTH)


class Report:
    """Prints on one console, as things happen."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def line(self, text: str = "", style: str = "") -> None:
        """One line, whatever is in it."""
        self._console.print(Text(text, style=style), soft_wrap=True)

    def announce(self, title: str, side: Side, trials: int) -> None:
        """What the next lines are about."""
        self.line()
        self.line(f"{side}: {title} ({_METHODS[side]})", "bold")
        self.line(f"Running {trials} concurrent-dismiss trials...")

    def trial(self, number: int, trial: Trial) -> None:
        """One trial."""
        outcome = f"{{ A: {trial.first}, B: {trial.second} }}"
        if not trial.lost:
            self._print(f"trial {number}: ", ("OK", "green"), f" {outcome}")
            return
        remark = f" -> {trial.lost} of {trial.acknowledged} acknowledged updates lost"
        self._print(f"trial {number}: ", ("LOSS", "bold red"), f" {outcome}{remark}")

    def verdict(self, run: Run) -> None:
        """One run."""
        self._print("Result: ", (run.verdict, _style(run)))

    def table(self, runs: Sequence[Run]) -> None:
        """All runs, side by side."""
        table = Table(box=box.SIMPLE_HEAD if self._console.is_terminal else box.MARKDOWN)
        for heading in ("setting", "", "trials that lost a write", "updates acknowledged", "updates lost"):
            table.add_column(heading, justify="left" if heading in ("setting", "") else "right")
        for run in runs:
            table.add_row(
                f"two {run.setting}",
                run.side,
                Text(f"{run.losing} of {len(run.trials)}", style=_style(run)),
                str(run.acknowledged),
                Text(str(run.lost), style=_style(run)),
            )
        self.line()
        self._console.print(table)

    def _print(self, *parts: str | tuple[str, str]) -> None:
        self._console.print(Text.assemble(*parts), soft_wrap=True)


def _style(run: Run) -> str:
    return "bold red" if run.losing else "green"
