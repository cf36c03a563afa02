"""The command itself: three settings, each as before and as after."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib.metadata import version

import click
from rich.console import Console
from rich.progress import Progress

from storewriter.cli.base.options import exit_codes, json_option
from storewriter.cli.base.program import DONE, NEGATIVE
from storewriter.cli.base.text import json_text
from storewriter.cli.demo.report import Report, console_for_results
from storewriter.cli.demo.settings import SETTINGS, Setting
from storewriter.cli.demo.subject import Subject, in_folder
from storewriter.cli.demo.trials import Run, Side, Trial, repeat

_EXIT_CODES = exit_codes({
    DONE: "no update that storewriter acknowledged was lost",
    NEGATIVE: "at least one was, or a writer failed",
})  # fmt: skip

SIDES: tuple[Side, ...] = ("before", "after")


@click.command(epilog=_EXIT_CODES, short_help="Show plain code losing updates, and storewriter keeping them.")
@click.option("--trials", type=click.IntRange(min=1), default=20, show_default=True, help="Trials of each run.")
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, writable=True),
    help="Folder on the file system to try; the demo works in a new folder inside.  [default: the temporary folder]",
)
@json_option
def demo(trials: int, folder: str | None, as_json: bool) -> int:
    """Show plain code losing updates, and storewriter keeping them, on a real commitments store.

    In each setting two writers change different commitments of one file at once: first by plain load-modify-save with
    an atomic rename, as it is usually written, then through storewriter. Every update that was acknowledged is then
    looked up in the file. Nothing is slowed down to force a loss, so how much plain code loses depends on your machine.
    """
    with tempfile.TemporaryDirectory(prefix="storewriter-demo-", dir=folder) as place:
        subject = in_folder(place)
        if as_json:
            runs = _show_nothing(subject, trials)
            click.echo(_as_json(runs, subject))
        else:
            runs = _show_everything(subject, trials)
    return NEGATIVE if any(run.lost for run in runs if run.side == "after") else DONE


def _show_everything(subject: Subject, trials: int) -> list[Run]:
    console = console_for_results()
    report = Report(console)
    report.line(f"Store path: {subject.path}")
    report.line(f"HEAD: storewriter {version('storewriter')} on Python {platform.python_version()}")
    runs: list[Run] = []
    with _progress(console if console.is_terminal else Console(stderr=True), trials) as step:

        def seen(number: int, trial: Trial) -> None:
            report.trial(number, trial)
            step()

        for setting, side in _plan():
            report.announce(setting.title, side, trials)
            runs.append(_run(setting, side, subject, trials, seen))
            report.verdict(runs[-1])
    report.table(runs)
    report.line(_conclusion(runs), "bold")
    return runs


def _show_nothing(subject: Subject, trials: int) -> list[Run]:
    with _progress(Console(stderr=True), trials) as step:
        return [_run(setting, side, subject, trials, lambda _number, _trial: step()) for setting, side in _plan()]


def _plan() -> list[tuple[Setting, Side]]:
    return [(setting, side) for setting in SETTINGS for side in SIDES]


def _run(setting: Setting, side: Side, subject: Subject, trials: int, seen: Callable[[int, Trial], None]) -> Run:
    with setting.trials(subject, side) as run_trial:

        def one() -> Trial:
            subject.restore()
            return run_trial()

        return repeat(one, trials, seen, setting=setting.name, side=side)


@contextmanager
def _progress(console: Console, trials: int) -> Generator[Callable[[], None]]:
    """A progress bar on a terminal, removed at the end; nothing elsewhere."""
    on_same_terminal = not console.stderr
    with Progress(
        console=console,
        transient=True,
        disable=not console.is_terminal,
        redirect_stdout=on_same_terminal,
        redirect_stderr=on_same_terminal,
    ) as progress:
        task = progress.add_task("trials", total=trials * len(_plan()))
        yield lambda: progress.advance(task)


def _conclusion(runs: list[Run]) -> str:
    before = sum(run.lost for run in runs if run.side == "before")
    after = sum(run.lost for run in runs if run.side == "after")
    if after:
        return f"storewriter lost {after} acknowledged updates. This must not happen: please report it."
    if before:
        return f"Plain load-modify-save lost {before} acknowledged updates, storewriter none."
    return "storewriter lost nothing. Nor did plain load-modify-save here, this time: try more --trials."


def _as_json(runs: list[Run], subject: Subject) -> str:
    document = {
        "storewriter": version("storewriter"),
        "python": platform.python_version(),
        "store": subject.path,
        "runs": [run.as_json() for run in runs],
    }
    return json_text(document)
