"""`storewriter recover`: a corrupt document is moved aside, and the newest good backup restored."""

from __future__ import annotations

from typing import Any

import attrs
import click

from storewriter import Recovery, RecoveryRefused, Store, StoreCorrupt
from storewriter.cli.access import Access, access_options
from storewriter.cli.base.options import STORE_PATH, confirmed, exit_codes, json_option, say
from storewriter.cli.base.program import DONE, NEGATIVE, without_warnings
from storewriter.cli.base.text import json_text, safe_text
from storewriter.cli.documents import decoded

__all__ = ["recover"]

_EPILOG = """\b
Examples:
  storewriter recover settings.json
  storewriter recover --yes --default '[]' queue.json

""" + exit_codes({DONE: "done, or there was nothing to do", NEGATIVE: "refused, or not confirmed; nothing was done"})


@click.command(epilog=_EPILOG, short_help="Restore a corrupt document from its newest good backup.")
@click.argument("store", type=STORE_PATH)
@click.option("--yes", is_flag=True, help="Do it without asking.")
@click.option("--force", is_flag=True, help="Also for a document or a backup that may be intact (another format).")
@click.option("--default", default="{}", metavar="JSON", show_default=True, help="Where there is no good backup.")
@access_options
@json_option
def recover(store: str, access: Access, yes: bool, force: bool, default: str, as_json: bool) -> int:
    """Bring a STORE back whose document cannot be read. What will be done is said first, and then asked for.

    The document is moved aside as STORE.corrupt-1, byte for byte, and the newest good backup takes its place; without
    one, the default does. A document that can be read is left alone; one that is missing is restored from its newest
    good backup. What may be intact (another format, a newer version, a typing mistake) is refused without --force.
    Give the --codec of the store if it is not plain JSON.
    """
    try:
        decoded(access.codec, default.encode("utf-8", "surrogateescape"), "--default")
    except click.ClickException as error:
        raise click.UsageError(error.message) from None
    target = access.typed_store(store, lambda: access.codec.decode(default.encode("utf-8", "surrogateescape")))
    plan = _plan(target, default, force=force)
    if plan is None:
        return _report(Recovery(path=target.path, outcome="healthy"), as_json=as_json)
    say(plan)
    if not yes and not _is_wanted():
        return NEGATIVE
    try:
        with without_warnings():  # it is printed
            done = target.recover(force=force, label=access.label)
    except RecoveryRefused as error:
        say(str(error))
        return NEGATIVE
    return _report(done, as_json=as_json)


def _plan(target: Store[Any], default: str, *, force: bool) -> str | None:
    """What recovering will do, in a sentence; None: nothing."""
    try:
        _, version = target.read_versioned()
    except StoreCorrupt as error:
        return _with_default(str(error), default)
    if version != "absent":
        return None
    return f"{target.path} has no document; the newest good backup, if there is one, will take its place"


def _with_default(text: str, default: str) -> str:
    return text.replace("begin empty, with the store's default", f"put {default} there (--default)")


def _is_wanted() -> bool:
    if confirmed("Do it?"):
        return True
    say("nothing was done; --yes does it without asking")
    return False


def _report(done: Recovery, *, as_json: bool) -> int:
    click.echo(json_text(attrs.asdict(done), indent=None) if as_json else safe_text(str(done)))
    return DONE
