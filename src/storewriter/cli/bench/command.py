"""`storewriter bench`: it answers which strategy suits this machine and this file system."""

import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from storewriter._platform import mounts
from storewriter.cli.base.options import exit_codes, json_option, parsed
from storewriter.cli.base.program import DONE, INTERRUPTED, LOCK, NEGATIVE, STORE
from storewriter.cli.base.text import json_text
from storewriter.cli.base.times import parse_duration
from storewriter.cli.bench.advice import advise
from storewriter.cli.bench.answer import Answer, show, to_json
from storewriter.cli.bench.choices import Figures, figures_of, in_order, steps_for, strategy_names
from storewriter.cli.bench.conduct import Setting, Step, conduct
from storewriter.cli.bench.machine import describe
from storewriter.cli.bench.results import Measurement

__all__ = ["bench"]

TABLE = "storewriter.cli.bench.strategies:STRATEGIES"

WINDOW = 1.2
"""Seconds that the callers of one measurement call, if nothing else is asked for."""

BUDGET = 105.0
"""Seconds after which no further measurement begins, so that the answer comes within two minutes on slow disks too."""

_PIPE_WIDTH = 110
"""Columns of a table that goes into a file or a pipe, which have none of their own."""


_EXIT_CODES = exit_codes(
    {
        DONE: "a strategy is recommended",
        NEGATIVE: "an acknowledged update was lost, or no strategy can be recommended",
        STORE: "the folder cannot be written",
        INTERRUPTED: "interrupted (Ctrl-C); what was measured until then is shown",
    },
    without=[LOCK],
)


def _window(text: str) -> float:
    """Seconds of one measurement. Raises ValueError."""
    seconds = parse_duration(text)
    if not 0.01 <= seconds <= 60:
        raise ValueError(f"a measurement takes 10ms to 1m, not {text}")
    return seconds


@click.command(epilog=_EXIT_CODES, short_help="Which strategy for this machine and file system?")
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path(),
    help="Folder on the file system to measure; a new folder inside is used, and removed.  [default: the current one]",
)
@click.option(
    "--only",
    "strategies",
    multiple=True,
    type=click.Choice(strategy_names()),
    help="Measure this strategy only; may be given several times.  [default: all]",
)
@click.option(
    "--window",
    type=parsed("DURATION", _window),
    default=f"{WINDOW * 1000:g}ms",
    show_default=True,
    help="Length of each measurement, 10ms to 1m. Longer ones are steadier; the default fits two minutes.",
)
@json_option
def bench(folder: Path, strategies: tuple[str, ...], window: float, as_json: bool) -> int:
    """Measure every lock strategy here, and recommend one, in under two minutes.

    One caller, 64 tasks, 8 threads, 2, 8 and 32 processes, and 4 processes of 16 tasks each update one document of
    1 KB as fast as they can, with either durability. What was acknowledged is then counted in the document.
    """
    console = _console()
    steps = steps_for(strategies or strategy_names(), window)
    with _place_in(folder) as place:
        answer = _measured(steps, place, window, console if console.is_terminal else Console(stderr=True))
    if answer.interrupted and not answer.figures:
        raise KeyboardInterrupt
    if as_json:
        click.echo(json_text(to_json(answer)))
    else:
        show(answer, console)
    if answer.interrupted:
        raise KeyboardInterrupt
    return NEGATIVE if answer.lost or answer.advice.lock is None else DONE


@contextmanager
def _place_in(folder: Path) -> Generator[Path]:
    """A new folder, removed at the end. An error names the folder that the user gave."""
    try:
        place = tempfile.TemporaryDirectory(prefix="storewriter-bench-", dir=folder)
    except OSError as error:
        raise OSError(error.errno, f"cannot measure here: {error.strerror}", str(folder)) from error
    with place as name:
        yield Path(name)


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_PIPE_WIDTH)


def _measured(steps: Sequence[Step], place: Path, window: float, console: Console) -> Answer:
    figures: list[Figures] = []
    deadline = time.monotonic() + BUDGET + len(steps) * max(0.0, window - WINDOW)
    interrupted = True
    with (
        suppress(KeyboardInterrupt),
        _progress(console, len(steps)) as show,
        closing(_figures(steps, place, show)) as measurements,
    ):
        for each in measurements:
            figures.append(each)
            if time.monotonic() > deadline:
                break
        interrupted = False
    return Answer(
        figures=in_order(figures),
        advice=advise(figures, mounts.trust_in(mounts.mount_of(str(place.resolve())))),
        machine=describe(place, ("storewriter", "filelock", "anyio", "orjson")),
        window=window,
        left_out=len(steps) - len(figures),
        interrupted=interrupted,
    )


def _figures(steps: Sequence[Step], place: Path, show: Callable[[int, Step], None]) -> Generator[Figures]:
    try:
        with closing(_conducted(steps, place)) as measurements:
            for number, step in enumerate(steps):
                show(number, step)
                yield figures_of(next(measurements))
    except RuntimeError as error:
        raise click.ClickException(str(error)) from error


def _conducted(steps: Sequence[Step], place: Path) -> Generator[Measurement]:
    yield from conduct(steps, Setting(table=TABLE, folder=place))


@contextmanager
def _progress(console: Console, steps: int) -> Generator[Callable[[int, Step], None]]:
    """A progress bar on a terminal, removed at the end; yields what shows which step begins."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    on_same_terminal = not console.stderr
    with Progress(
        *columns,
        console=console,
        transient=True,
        disable=not console.is_terminal,
        redirect_stdout=on_same_terminal,
        redirect_stderr=on_same_terminal,
    ) as progress:
        task = progress.add_task("", total=steps)
        yield lambda number, step: progress.update(
            task, completed=number, description=f"{step.scenario.variant} {step.contender.name}"
        )
