"""`python -m benchmarks`: measure, report, compare."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmarks.scenarios import FAMILIES, SCENARIOS, suits
from storewriter.cli.bench.results import load, save

if TYPE_CHECKING:
    from benchmarks.run import Choice

REPOSITORY = Path(__file__).parent.parent
LOCAL = REPOSITORY / "benchmarks" / "results" / "local"
"""Runs of this machine; git ignores them."""
LATEST = LOCAL / "latest.json"
REPORT = LOCAL / "report.html"

existing = click.Path(exists=True, dir_okay=False, path_type=Path)
anywhere = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Measure storewriter beside what its users would pick instead."""


rounds = click.option(
    "--rounds", type=click.IntRange(min=1), help="How often  [3, and 5 what promises compare; quick: 2]"
)
families = click.option("-s", "--scenario", "families", multiple=True, help="Such as S5 or 'S5 8 processes'.")
contenders = click.option("-c", "--contender", "contenders", multiple=True, help="Such as filelock; repeatable.")
seed = click.option("--seed", default=0, show_default=True, help="Of the order in which contenders come.")
window = click.option("--window", type=click.FloatRange(min=0.01), help="Seconds of each measurement, for a look.")
against = click.option("--against", help="A former version beside this: a git revision, or a folder like src.")


@main.command()
@click.option("--quick", is_flag=True, help="Three to four minutes: fewer scenarios, shorter measurements.")
@rounds
@families
@contenders
@seed
@window
@against
@click.option("--folder", type=anywhere, help="On the file system to measure  [below benchmarks/results/local]")
@click.option("-o", "--output", type=anywhere, default=LATEST, help="[benchmarks/results/local/latest.json]")
def run(*, folder: Path | None, output: Path, **chosen: Any) -> None:
    """Measure, and keep what was found out as JSON."""
    _measure(_choice(**chosen), folder or LOCAL, output)


@main.command()
@click.option("--kind", "kinds", multiple=True, type=click.Choice(["ext4", "xfs", "btrfs"]), default=("xfs", "btrfs"))
@rounds
@families
@contenders
@seed
@window
@against
@click.option("--folder", type=anywhere, default=LOCAL, help="Of the images  [benchmarks/results/local]")
def images(*, kinds: tuple[str, ...], folder: Path, **chosen: Any) -> None:
    """Measure what is durable on other file systems, each in an image mounted through a loop device; as root.

    Kept as benchmarks/results/local/KIND.json. If no scenario is named: those whose ratios are promised.
    """
    from benchmarks.images import DURABLE, mounted, refusal

    chosen["families"] = chosen["families"] or DURABLE
    reasons = [reason for kind in kinds if (reason := refusal(kind)) is not None]
    if reasons:
        raise click.ClickException(reasons[0])
    folder.mkdir(parents=True, exist_ok=True)
    for kind in kinds:
        with tempfile.TemporaryDirectory(prefix="images-", dir=folder) as place, mounted(kind, Path(place)) as mount:
            _measure(_choice(**chosen), mount, LOCAL / f"{kind}.json")


def _choice(*, rounds: int | None, quick: bool = False, **chosen: Any) -> "Choice":
    from benchmarks.run import PAIRED, Choice

    choice = Choice(
        quick=quick, rounds=rounds or (2 if quick else 3), paired=0 if quick else rounds or PAIRED, **chosen
    )
    if not choice.scenarios():
        raise click.UsageError("no such scenario; see `python -m benchmarks list`")
    return choice


def _measure(choice: "Choice", parent: Path, output: Path) -> None:
    from benchmarks.run import run

    for needed in (parent, output.parent):
        needed.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="stores-", dir=parent) as stores:
        try:
            found = run(choice, Path(stores))
        except ValueError as error:
            raise click.UsageError(str(error)) from None
    save(found, output)
    click.echo(f"written: {output}")


@main.command()
@click.argument("run", type=existing, default=LATEST)
@click.option("--html", type=anywhere, default=REPORT, help="[benchmarks/results/local/report.html]")
@click.option("--publish", is_flag=True, help="Also refresh docs/benchmarks/*.svg and the tables of the README.")
def report(run: Path, *, html: Path, publish: bool) -> None:
    """Show a run: tables, an interactive page, and pictures for the documentation."""
    from benchmarks.report.page import write_page
    from benchmarks.report.publish import publish as refresh
    from benchmarks.report.terminal import print_report

    found = load(run)
    dropped = set(found.scenarios()) - SCENARIOS.keys()
    if dropped:
        click.echo(f"left out, no longer in the table: {', '.join(sorted(dropped))}", err=True)
        found = found.only(SCENARIOS)
    print_report(found)
    write_page(found, html)
    click.echo(f"written: {html}")
    if publish:
        for path in refresh(found, REPOSITORY):
            click.echo(f"written: {path.relative_to(REPOSITORY)}")


@main.command("list")
def list_() -> None:
    """List scenarios and contenders."""
    from benchmarks.contenders import CONTENDERS

    for family, title in FAMILIES.items():
        click.secho(f"{family:4}{title}", bold=True)
        for scenario in SCENARIOS.values():
            if scenario.family == family:
                names = [name for name, contender in CONTENDERS.items() if suits(contender, scenario)]
                click.echo(f"    {scenario.key}{' (quick)' if scenario.quick else ''}: {', '.join(names)}")
    for name, contender in CONTENDERS.items():
        click.echo(f"{name:22}{contender.about}")


@main.command()
@click.argument("before", type=existing)
@click.argument("after", type=existing)
@click.option("--absolute", is_flag=True, help="Compare figures as they are, not as ratios to a baseline.")
def compare(before: Path, after: Path, *, absolute: bool) -> None:
    """Tell real changes between two runs (or two instruction counts) from noise."""
    from benchmarks.compare import main as compare_runs

    raise SystemExit(compare_runs([str(before), str(after), *(["--absolute"] if absolute else [])]))


@main.command()
@click.option("-o", "--output", type=anywhere, default=LOCAL / "instructions.json")
def instructions(output: Path) -> None:
    """Count instructions with callgrind: a figure that does not depend on the machine's mood."""
    from benchmarks.instructions import measure_instructions

    output.parent.mkdir(parents=True, exist_ok=True)
    measure_instructions(output)
    click.echo(f"written: {output}")


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
