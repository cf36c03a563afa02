"""`storewriter scan`: find files that are loaded, changed and saved without a lock, in Python source."""

from __future__ import annotations

import os

import attrs
import click

from storewriter.cli.base.options import exit_codes, json_option, say
from storewriter.cli.base.program import DONE, LOCK, NEGATIVE, STORE
from storewriter.cli.base.text import json_text, safe_text
from storewriter.scan import Scan, as_github, as_sarif, as_text, scan

__all__ = ["command"]


@click.command(
    "scan",
    epilog=exit_codes(
        {DONE: "nothing is found", NEGATIVE: "something is found", STORE: "a file cannot be read"}, without=[LOCK]
    ),
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "github", "sarif"]),
    default="text",
    show_default=True,
    help="github: annotations of a workflow. sarif: for code scanning.",
)
@click.option("--tests", is_flag=True, help="Search tests in folders too.")
@json_option
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path())
def command(paths: tuple[str, ...], form: str, tests: bool, as_json: bool) -> int:
    """Find files that are loaded, changed and saved without a lock.

    It reads Python source, files or folders, and imports none of it. A finding is one function that loads a file,
    changes what it has loaded and saves that to the same file, while no lock is held from the load to the save: two
    callers can load the same state, and the later save erases the earlier one. Helpers are followed.

    A comment on the line of the load, of the save or of the function silences a finding, with a reason.

    \b
    Example of such a comment:
      # storewriter: ignore[only the installer runs this]

    \b
    Examples:
      storewriter scan src
      storewriter scan --format sarif src > scan.sarif
    """  # noqa: D301 - \b is click's mark: these lines are kept as they are
    for path in paths:
        if not path.strip("\ufeff \t") or "\0" in path or not os.path.exists(path):
            raise click.BadParameter(f"there is no file or folder {path!r}.", param_hint="PATH")
    seen = scan(paths, tests=tests)
    for unread in seen.unread:
        say(f"left out: {unread}")
    _show(seen, form, as_json=as_json)
    return NEGATIVE if seen.findings else 0


def _show(seen: Scan, form: str, *, as_json: bool) -> None:
    if as_json:
        found = [{**attrs.asdict(each), "why": each.why} for each in seen.findings]
        click.echo(json_text({"findings": found, "files": seen.files, "unread": list(seen.unread)}))
    elif form == "sarif":
        click.echo(as_sarif(seen))
    else:
        text = as_github(seen) if form == "github" else as_text(seen)
        for line in text.splitlines():
            click.echo(safe_text(line))
