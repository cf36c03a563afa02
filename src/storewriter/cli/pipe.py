"""`storewriter pipe`: a document through a filter, in a turn."""

from __future__ import annotations

import click

from storewriter._commits.document import version_of
from storewriter.cli.access import Access, access_options
from storewriter.cli.base.options import STORE_PATH, exit_codes, json_option
from storewriter.cli.base.program import NEGATIVE
from storewriter.cli.children import NOT_EXECUTABLE, NOT_FOUND, WithCommand, command_of, output_of
from storewriter.cli.commit import commit_options, report, require_version, show
from storewriter.cli.documents import decoded, in_layout_of

__all__ = ["pipe"]

_EPILOG = """\b
Examples:
  storewriter pipe counters.json -- jq '.visits += 1'
  storewriter pipe --dry-run settings.json -- sed s/staging/production/

""" + exit_codes(
    {
        NEGATIVE: "the filter failed, its output is no document, or another version",
        NOT_EXECUTABLE: "the filter cannot be executed",
        NOT_FOUND: "there is no such filter",
    }
)


@click.command(cls=WithCommand, epilog=_EPILOG, short_help="Pass a document through a filter, in a turn.")
@click.argument("store", type=STORE_PATH)
@click.option("--as-is", is_flag=True, help="Write the output of the filter with its own layout.")
@commit_options
@access_options
@json_option
@click.pass_context
def pipe(
    ctx: click.Context,
    store: str,
    access: Access,
    as_is: bool,
    version_is: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Give the document of STORE to a filter, and commit what it prints, in one turn.

    The store is locked while the filter runs, so keep it short. Nothing is written if the filter ends with another
    exit code than 0, or if its output is no document. The layout of the document is kept. The filter of a store
    without a document gets an empty object.
    """
    command = command_of(ctx)
    target = access.store(store)

    def filtered(data: bytes | None) -> bytes:
        code, output = output_of(command, access.codec.encode({}) if data is None else data)
        if code:
            raise click.ClickException(f"{command[0]!r} ended with exit code {code}. Nothing was written.")
        what = f"the output of {command[0]!r}"
        try:
            if as_is:
                decoded(access.codec, output, what)
                return output
            return in_layout_of(access.codec, data, output, what)
        except click.ClickException as error:
            raise click.ClickException(f"{error.message} Nothing was written.") from error

    if dry_run:
        before, version = target.read_versioned()
        require_version(target, version, version_is)
        show(target, before, filtered(before), as_json=as_json)
        return
    # A transaction and not an update: a filter has effects, and may take longer than other updates should wait for.
    with target.transaction(label=access.label) as turn:
        before = turn.state
        if version_is is not None:
            require_version(target, version_of(before), version_is)
        turn.state = filtered(before)
        after = turn.state
    report(target, before, after, as_json=as_json)
