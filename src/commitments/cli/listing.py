"""A listing as JSON, as columns of fixed width in a pipe, and with colours and the full width on a terminal.

In JSON each value is spelled as in the file. All text in a table was made harmless. An id is never shortened, because
the other commands need it whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import attrs
from rich.cells import cell_len

from commitments.cli.text import fit, safe_text
from commitments.json_text import encode_value, laid_out
from commitments.queries import Listing, Problem
from commitments.record import Commitment
from storewriter.cli.base.times import utc_text

if TYPE_CHECKING:
    from rich.console import Console


_CONTROLS = re.compile("[\x7f-\x9f]")


def object_json(members: Mapping[str, object]) -> str:
    """Return the members as a JSON object."""
    return _harmless(encode_value(members))


def listing_json(listing: Listing, *, status: str | None, agent_id: str | None, store: str) -> str:
    """Return a listing as a JSON object; `problems` is there only if there are any."""
    head = {"count": len(listing.commitments), "status": status, "agentId": agent_id, "store": store}
    members = {name: encode_value(value) for name, value in head.items()}
    members["commitments"] = f"[{','.join(record.raw.decode() for record in listing.commitments)}]"
    if listing.problems:
        members["problems"] = encode_value(list(map(_problem, listing.problems)))
    return _harmless("{" + ",".join(f'"{name}":{text}' for name, text in members.items()) + "}")


def _problem(problem: Problem) -> dict[str, object]:
    fields = attrs.asdict(problem)
    return fields | {"leftOut": fields.pop("left_out")}


def _harmless(text: str) -> str:
    # Outside of strings JSON has no control characters but white space, so every other one may become an escape.
    return _CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", laid_out(text))


_HEADINGS = ("ID", "Status", "Kind", "Due", "Scope", "Suggested text")
_WIDTHS = (16, 10, 16, 24, 28, 90)
_TEXT_NEEDS = 30
_STYLES = {"pending": "yellow", "snoozed": "cyan", "sent": "green"}


def plain_table(records: Sequence[Commitment]) -> str:
    """Return lines of columns, padded with spaces and cut with `…` where they are too long."""
    rows = [_HEADINGS, *map(_cells, records)]
    id_width = max(_WIDTHS[0], *(cell_len(row[0]) for row in rows))
    widths = (id_width, *_WIDTHS[1:])
    return "\n".join(" ".join(map(fit, row, widths)).rstrip() for row in rows)


def print_coloured(records: Sequence[Commitment]) -> None:
    """Print a table on the terminal, or a block for each record where it is too narrow. Needs `rich`."""
    # It needs the extra, and a while to load.
    from rich.console import Console

    console = Console(highlight=False)
    id_width = max(cell_len(safe_text(record.id)) for record in records)
    if console.width < id_width + sum(_WIDTHS[1:5]) + _TEXT_NEEDS:
        _print_blocks(console, records)
    else:
        _print_table(console, records, id_width)


def _print_table(console: Console, records: Sequence[Commitment], id_width: int) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading, width in zip(_HEADINGS, (id_width, *_WIDTHS[1:5], None), strict=True):
        table.add_column(heading, width=width, no_wrap=width is not None, overflow="ellipsis")
    for record in records:
        style = _STYLES.get(record.status, "dim")
        table.add_row(*(Text(cell, style=style if column == 1 else "") for column, cell in enumerate(_cells(record))))
    console.print(table)


def _print_blocks(console: Console, records: Sequence[Commitment]) -> None:
    from rich.text import Text

    for record in records:
        id_, status, kind, due, scope, text = _cells(record)
        console.print(Text(id_, style="bold"), soft_wrap=True)
        console.print(Text.assemble("  ", (status, _STYLES.get(status, "dim")), f"  {kind}  {due}"))
        console.print(Text(f"  {scope}"))
        console.print(Text(f"  {text}"))


def _cells(record: Commitment) -> tuple[str, ...]:
    scope = "/".join((record.agent_id, record.channel, record.to or record.session_key))
    due = utc_text(record.due_window.earliest_ms)
    return tuple(map(safe_text, (record.id, record.status, record.kind, due, scope, record.suggested_text)))
