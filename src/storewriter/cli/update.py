"""`storewriter update`: change a document in one commit, from options."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import click
import jsonpatch
from jsonpointer import JsonPointerException

from storewriter.cli.access import Access, access_options
from storewriter.cli.base.options import STORE_PATH, exit_codes, json_option
from storewriter.cli.base.program import NEGATIVE
from storewriter.cli.base.text import shortened
from storewriter.cli.commit import commit_options, committed
from storewriter.cli.documents import changed, decoded
from storewriter.cli.pointers import delete_at, is_array, is_object, parts_of, put_at
from storewriter.codecs import JsonCodec

__all__ = ["merged", "update"]

Change = Callable[[Any], Any]

_EPILOG = """\b
Examples:
  storewriter update settings.json --set limits.max=10 --delete limits.min
  storewriter update settings.json --set-text user.name="Ada"
  storewriter update settings.json --merge '{"user": {"id": null}}' --dry-run
  storewriter update settings.json --patch changes.json

""" + exit_codes({NEGATIVE: "a change does not apply, or the version is another one"})


class _InOrder(click.Command):
    """Remembers in which order the options were given: the changes are made in that order."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        _, _, order = self.make_parser(ctx).parse_args(list(args))
        ctx.meta[_ORDER] = [param.name for param in order]
        return super().parse_args(ctx, args)


_ORDER = "storewriter.order"


@click.command(cls=_InOrder, epilog=_EPILOG, short_help="Change a document in one commit.")
@click.argument("store", type=STORE_PATH)
@click.option("--set", "sets", multiple=True, metavar="KEY=JSON", help="Put a JSON value at a place.")
@click.option("--set-text", "texts", multiple=True, metavar="KEY=TEXT", help="Put a text at a place, as it is.")
@click.option("--delete", "deletes", multiple=True, metavar="KEY", help="Delete what is at a place.")
@click.option("--merge", "merges", multiple=True, metavar="JSON", help="Merge an object (RFC 7396); null deletes.")
@click.option(
    "--patch",
    "patches",
    multiple=True,
    type=click.File("rb"),
    metavar="FILE",
    help="Apply a JSON patch (RFC 6902); -: standard input.",
)
@commit_options
@access_options
@json_option
@click.pass_context
def update(
    ctx: click.Context,
    /,
    store: str,
    access: Access,
    version_is: str | None,
    dry_run: bool,
    as_json: bool,
    **options: Sequence[Any],
) -> None:
    """Change the document of STORE in one commit: all changes, in the order in which they are given, or none.

    KEY is keys with dots (users.0.name; objects on the way are made), or a JSON pointer (/users/0/name; needed for a
    key with a dot). `-` as the last key appends to an array. The layout of the document is kept. The change is
    durable when the command returns.
    """
    steps = _steps(ctx.meta[_ORDER], options)
    if not steps:
        raise click.UsageError("say what to change: --set, --set-text, --delete, --merge or --patch.")

    def change(data: bytes | None) -> bytes:
        return changed(access.codec, data, lambda state: _applied(steps, state))

    committed(store, access, change, version_is=version_is, dry_run=dry_run, as_json=as_json)


def _applied(steps: Sequence[Change], state: Any) -> Any:
    for step in steps:
        state = step(state)
    return state


def _steps(order: Sequence[str], options: dict[str, Sequence[Any]]) -> list[Change]:
    makers: dict[str, Callable[[Any], Change]] = {
        "sets": _set,
        "texts": _set_text,
        "deletes": _delete,
        "merges": _merge,
        "patches": _patch,
    }
    given = {name: iter(values) for name, values in options.items()}
    return [makers[name](next(given[name])) for name in order if name in makers]


def _set(text: str) -> Change:
    place, value = _parted(text, "--set")
    try:
        found = decoded(
            JsonCodec(), value.encode("utf-8", "surrogateescape"), f"the value {shortened(repr(value))} of {place}"
        )
    except click.ClickException as error:
        raise click.UsageError(f"{error.message} It must be JSON; for a text use --set-text {place}=TEXT.") from None
    return lambda state: put_at(state, place, found)


def _set_text(text: str) -> Change:
    place, value = _parted(text, "--set-text")
    return lambda state: put_at(state, place, value)


def _parted(text: str, option: str) -> tuple[str, str]:
    try:
        text = text.encode("utf-8", "surrogateescape").decode()  # in the locale C, UTF-8 arrives as single bytes
    except UnicodeError:
        raise click.UsageError(f"{option} {shortened(repr(text))} is no UTF-8.") from None
    place, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"{option} needs KEY=VALUE, got {text!r}.")
    if not parts_of(place):
        raise click.UsageError(
            f"{option} {shortened(repr(text))} has no KEY (an empty variable of a script?), and would replace the "
            "whole document; `storewriter pipe` and --patch can do that."
        )
    return place, value


def _delete(place: str) -> Change:
    if not parts_of(place):
        raise click.UsageError("the whole document cannot be deleted; delete keys of it.")
    return lambda state: delete_at(state, place)


def _merge(text: str) -> Change:
    try:
        patch = decoded(JsonCodec(), text.encode("utf-8", "surrogateescape"), f"--merge {shortened(repr(text))}")
    except click.ClickException as error:
        raise click.UsageError(error.message) from None
    return lambda state: merged(state, patch)


def merged(target: Any, patch: Any) -> Any:
    """What a merge patch makes of a value (RFC 7396, section 2)."""
    if not is_object(patch):
        return patch
    found = target if is_object(target) else {}
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = merged(found.get(key), value)
    return found


def _patch(file: Any) -> Change:
    name = f"the patch {file.name}"
    operations = decoded(JsonCodec(), file.read(), name)
    if not is_array(operations):
        raise click.ClickException(f"{name} is no JSON patch: it must be an array of operations (RFC 6902).")

    def apply(state: Any) -> Any:
        try:
            return jsonpatch.apply_patch(state, operations)
        except (jsonpatch.JsonPatchException, JsonPointerException) as error:
            raise click.ClickException(f"{name} does not apply: {_text(error)}. Nothing was written.") from error

    return apply


def _text(error: Exception) -> str:
    text = str(error.args[0] if error.args else error) or type(error).__name__
    return _TYPE.sub("", text).rstrip(".")


_TYPE: Final = re.compile(r" \(<class '\w+'>\)")
