"""Manual pages, made from the text of the commands' own help: `python -m storewriter.cli.man_pages FOLDER`.

One page a program and one a command (`storewriter-run.1`), in man(7)'s macros.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Final

import click

from storewriter import __version__

__all__ = ["main", "man_pages"]

PROGRAMS: Final = {
    "storewriter": "storewriter.cli.commands:storewriter",
    "commitments": "commitments.cli.commands:commitments",
    "persistent-dedupe": "persistent_dedupe.cli.commands:persistent_dedupe",
}
"""By name: `module:name` of the click command."""


def man_pages(program: str, command: click.Command) -> Iterator[tuple[str, str]]:
    """The name of each page, without its section, and its text."""
    context = click.Context(command, info_name=program, max_content_width=80)
    yield program, _page(program, context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found is not None and not found.hidden:
                page = f"{program}-{name}"
                yield page, _page(page, click.Context(found, info_name=name, parent=context, max_content_width=80))


def _page(name: str, context: click.Context) -> str:
    command = context.command
    summary = command.get_short_help_str(limit=200).rstrip(".")
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [
        f'.TH "{_text(name.upper())}" "1" "" "storewriter {__version__}" "User Commands"',
        ".SH NAME",
        f"{_text(name)} \\- {_text(summary)}",
        ".SH SYNOPSIS",
        f"\\fB{_text(context.command_path)}\\fR {_text(usage)}",
        ".SH DESCRIPTION",
        *_paragraphs(command.help or ""),
        ".SH OPTIONS",
        *_options(context),
        *_commands(context),
        *_epilog(command.epilog or ""),
    ]
    return "\n".join(lines) + "\n"


def _paragraphs(text: str) -> Iterator[str]:
    """The paragraphs of a help text; one that begins with click's mark keeps its lines."""
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        lines = [line.strip() for line in paragraph.strip().splitlines()]
        if lines and lines[0] == "\b":
            yield from (".PP", ".nf", *map(_text, lines[1:]), ".fi")
        else:
            yield from (".PP", _text(" ".join(lines)))


def _options(context: click.Context) -> Iterator[str]:
    for parameter in context.command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            yield from (".TP", f"\\fB{_text(record[0])}\\fR", _text(" ".join(record[1].split())))


def _commands(context: click.Context) -> Iterator[str]:
    command = context.command
    if not isinstance(command, click.Group):
        return
    yield ".SH COMMANDS"
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        if found is not None and not found.hidden:
            yield from (".TP", f"\\fB{_text(name)}\\fR", _text(found.get_short_help_str(limit=200)))


def _epilog(text: str) -> Iterator[str]:
    """The parts of an epilog (`Examples:`, `Exit codes:`), each a section of its own."""
    for part in re.split(r"\n\s*\n", text.strip()):
        lines = part.replace("\b", "").strip("\n").splitlines()
        if not lines:
            continue
        heading, *rest = lines
        yield f".SH {_text(heading.rstrip(':').upper())}"
        if heading == "Exit codes:":
            for line in rest:
                code, _, meaning = line.strip().partition(" ")
                yield from (".TP", f"\\fB{_text(code)}\\fR", _text(meaning.strip()))
        else:
            yield from (".nf", *(_text(line.strip()) for line in rest), ".fi")


def _text(text: str) -> str:
    """Text as roff: no backslash, hyphen or first dot of it is a command."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


def main(folder: str) -> None:
    """Write all pages into a folder."""
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    for program, where in PROGRAMS.items():
        module, _, name = where.partition(":")
        for page, text in man_pages(program, getattr(import_module(module), name)):
            (place / f"{page}.1").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
