"""`storewriter get`: print a store's document, or a part of it."""

from __future__ import annotations

from typing import Any

import click

from storewriter.cli.access import Access, codec_option
from storewriter.cli.base.options import STORE_PATH, exit_codes
from storewriter.cli.base.program import LOCK, NEGATIVE, STORE
from storewriter.cli.pointers import at, parts_of
from storewriter.codecs import Codec, EncodeError, JsonCodec

__all__ = ["get"]

_EPILOG = """\b
Examples:
  storewriter get settings.json
  storewriter get --raw settings.json /user/name
  storewriter get --version-only settings.json

""" + exit_codes(
    {NEGATIVE: "nothing is at the pointer, or there is no document", STORE: "the store cannot be read"}, without=[LOCK]
)


@click.command(epilog=_EPILOG, short_help="Print a document, or a part of it.")
@click.argument("store", type=STORE_PATH)
@click.argument("pointer", default="")
@click.option("--raw", is_flag=True, help="Print a text as it is, without quotes and escapes.")
@click.option("--compact", is_flag=True, help="Print on one line.")
@click.option("--version-only", is_flag=True, help="Print the version of the document, for update --version-is.")
@codec_option
def get(store: str, pointer: str, raw: bool, compact: bool, version_only: bool, codec: Codec[Any]) -> None:
    """Print the last committed document of STORE as JSON, or what is at POINTER in it.

    POINTER is a JSON pointer (RFC 6901) such as /users/0/name, or keys with dots: users.0.name. No lock is taken, and
    no writer is waited for. `--version-only` prints `absent` where there is no document.
    """
    target = Access(codec=codec).store(store)
    data, version = target.read_versioned()
    if version_only:
        click.echo(version)
        return
    parts_of(pointer)
    if data is None:
        raise click.ClickException(f"{target.path} has no document yet.")
    value = at(codec.decode(data), pointer)
    if raw and isinstance(value, str):
        click.echo(value)
        return
    click.echo(_json(value, compact=compact), nl=False)


def _json(value: Any, *, compact: bool) -> bytes:
    try:
        return bytes(JsonCodec(indent=None if compact else 2).encode(value))
    except EncodeError as error:
        raise click.ClickException(f"the value cannot be printed as JSON: {error}.") from error
