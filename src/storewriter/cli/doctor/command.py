"""The command itself: a diagnosis in lines, what would mend it, and mending it."""

from __future__ import annotations

from collections.abc import Sequence

import click
from rich.console import Console
from rich.text import Text

from storewriter import StoreWriterError
from storewriter._backends.addresses import is_url
from storewriter._backends.file_status import file_status
from storewriter.cli.access import Access, access_options
from storewriter.cli.base.options import STORE_PATH, checked, exit_codes, json_option
from storewriter.cli.base.program import DONE, NEGATIVE, STORE
from storewriter.cli.base.text import json_text, safe_text
from storewriter.cli.doctor.content import check_content
from storewriter.cli.doctor.database import check_database
from storewriter.cli.doctor.findings import Finding, problem
from storewriter.cli.doctor.locking import check_locking
from storewriter.cli.doctor.rights import check_rights

__all__ = ["doctor"]

_EPILOG = """\b
Examples:
  storewriter doctor settings.json
  storewriter doctor --fix settings.json

""" + exit_codes(
    {
        DONE: "no problem was found, or none is left",
        NEGATIVE: "at least one problem",
        STORE: "the store cannot be looked at",
    }
)

_SIGNS = {"good": ("ok", "green"), "note": ("note", "yellow"), "problem": ("problem", "bold red")}


@click.command(epilog=_EPILOG, short_help="Find what is wrong with a store, and mend it.")
@click.argument("store", type=STORE_PATH)
@click.option("--fix", is_flag=True, help="Mend what can be mended.")
@access_options
@json_option
def doctor(store: str, access: Access, fix: bool, as_json: bool) -> int:
    """Look at everything that STORE depends on: rights, locks, the file system, the document, its backups, leftovers.

    Nothing is changed without --fix, and each line says what --fix would do. It never empties a document, and leaves
    one alone that may be intact; `storewriter recover` goes further. Give the --codec of the store if it is not JSON.
    """
    console = Console(highlight=False, soft_wrap=True)
    findings = _examined(store, access)
    if not as_json:
        _show(console, findings)
    if fix and any(each.mend for each in findings):
        mended = [(each, _mended(each)) for each in findings if each.mend is not None]
        findings = _examined(store, access)
        if not as_json:
            _show_mended(console, mended)
    problems = [each for each in findings if each.level == "problem"]
    if as_json:
        click.echo(json_text([_as_json(each) for each in findings]))
    else:
        console.print(_summary(problems, findings))
    return NEGATIVE if problems else DONE


def _examined(store: str, access: Access) -> list[Finding]:
    path = access.store(store).path
    if is_url(store):
        return list(check_database(store, access))
    findings = list(check_rights(path))
    try:
        findings += check_locking(checked(file_status, path))
    except (StoreWriterError, OSError) as error:
        findings.append(problem("locks", f"cannot be looked at: {error}"))
    return [*findings, *check_content(path, access)]


def _mended(finding: Finding) -> str | None:
    """Mend it; returns why that could not be done."""
    assert finding.mend is not None
    try:
        return finding.mend.do()
    except (StoreWriterError, OSError) as error:
        return str(error)


def _show(console: Console, findings: Sequence[Finding]) -> None:
    width = max(len(each.about) for each in findings) + 2
    for each in findings:
        word, style = _SIGNS[each.level]
        console.print(Text.assemble((f"{word:<9}", style), (f"{each.about:<{width}}", "bold"), safe_text(each.text)))
        if each.mend is not None:
            console.print(Text(f"{'':<{9 + width}}--fix would {safe_text(each.mend.plan)}"))


def _show_mended(console: Console, mended: Sequence[tuple[Finding, str | None]]) -> None:
    for each, why_not in mended:
        plan = "" if each.mend is None else each.mend.plan
        if why_not is None:
            console.print(Text.assemble(("mended   ", "green"), safe_text(plan)))
        else:
            console.print(Text.assemble(("failed   ", "bold red"), safe_text(f"{plan}: {why_not}")))


def _summary(problems: Sequence[Finding], findings: Sequence[Finding]) -> str:
    mendable = sum(each.mend is not None for each in findings)
    count = {0: "no problem", 1: "1 problem"}.get(len(problems), f"{len(problems)} problems")
    return f"{count}{f', {mendable} to mend with --fix' if mendable else ''}"


def _as_json(each: Finding) -> dict[str, object]:
    plan = None if each.mend is None else each.mend.plan
    return {"about": each.about, "level": each.level, "text": each.text, "fix": plan}
