"""`storewriter postgres`: the tables that stores in PostgreSQL need, made by an explicit command."""

from __future__ import annotations

import click

from storewriter.cli.base.options import Group, checked, exit_codes, say
from storewriter.cli.base.program import DONE

__all__ = ["postgres"]

_EXTRA = "stores in PostgreSQL need an extra; run: pip install 'storewriter[postgres]'"


@click.group(cls=Group, epilog=exit_codes())
def postgres() -> None:
    """Prepare a PostgreSQL database for stores."""


@postgres.command(epilog=exit_codes())
@click.argument("url", metavar="URL")
@click.option("--print", "only_print", is_flag=True, help="Print the SQL, and connect to no server.")
@click.option("--role", metavar="ROLE", help="Grant this role what writers need, and nothing more.")
@click.option("--notify", is_flag=True, help="With a trigger that wakes watchers at each commit.")
def init(url: str, only_print: bool, role: str | None, notify: bool) -> int:
    """Make the tables for documents in the database at URL.

    \b
      storewriter postgres init postgresql://db.example/app
      storewriter postgres init --print postgresql:///app | less

    Can be run again: it makes what is missing, and changes no document. The
    tables are storewriter.documents and two beside it; `?table=app.state` in
    the URL names others. The URL must be that of a role that may create them;
    with --role, the programs' own role gets by with less.

    --notify wakes watchers at once instead of within a second, but makes the
    commits of the whole database wait for each other.
    """  # noqa: D301 - \b is click's
    try:
        from storewriter.postgres import create, location_of_table, script
    except ImportError:
        raise click.UsageError(_EXTRA) from None
    place, table = checked(location_of_table, url)
    if only_print:
        click.echo(script(table, role=role, notify=notify), nl=False)
        return DONE
    is_new = create(url, role=role, notify=notify)
    say(f"{place}: the table {table} {'was made' if is_new else 'is there, and up to date'}")
    return DONE
