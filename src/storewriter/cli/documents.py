"""Documents as they are written: a store's bytes, checked by the codec of the store, and the differences between two.

Commands that change a document do it from bytes to bytes, so that a dry run, a commit and an edited text go the same
way: `changed` keeps the layout as far as the store's codec does.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import click

from storewriter.cli.base.text import safe_text
from storewriter.codecs import Codec, DecodeError, EncodeError
from storewriter.codecs._protocol import update_codec

__all__ = ["AsWritten", "changed", "decoded", "in_layout_of", "show_difference", "text_of"]


@attrs.frozen
class AsWritten:
    """A codec whose states are the documents themselves, refused where another codec cannot read them."""

    codec: Codec[Any]

    def decode(self, data: bytes) -> bytes:
        """The document. Raises what the other codec raises."""
        self.codec.decode(data)
        return bytes(data)

    def encode(self, state: bytes | None) -> bytes:
        """The document. Raises EncodeError for None, which stands for no document."""
        if state is None:
            raise EncodeError("there is no document")
        return state


def changed(codec: Codec[Any], data: bytes | None, change: Callable[[Any], Any]) -> bytes:
    """The document that a change of the state makes of a document; its layout is kept where the codec keeps it.

    Where there is no document, the state is an empty object. Raises click.ClickException for a state that the codec
    cannot write, and what `change` raises.
    """
    state, encode = _opened(codec, data)
    after = change(state)
    try:
        return bytes(encode(after))
    except (ValueError, TypeError) as error:
        raise click.ClickException(f"the new state cannot be written: {error}. Nothing was written.") from error


def _opened(codec: Codec[Any], data: bytes | None) -> tuple[Any, Callable[[Any], bytes]]:
    if data is None:
        return {}, codec.encode
    keeping = update_codec(codec)
    return (codec.decode(data), codec.encode) if keeping is None else keeping.decode_for_update(data)


def decoded(codec: Codec[Any], data: bytes, what: str) -> Any:
    """The state of bytes that a person or a program gave. Raises click.ClickException, which names `what` they are."""
    try:
        return codec.decode(data)
    except DecodeError as error:
        place = f"line {error.line}, column {error.column}: " if error.line is not None else ""
        raise click.ClickException(f"{what} cannot be read: {place}{error.reason.rstrip('.')}.") from error
    except Exception as error:  # any error of a codec's `decode` means that these bytes are no document
        raise click.ClickException(f"{what} cannot be read: {error}.") from error


def in_layout_of(codec: Codec[Any], data: bytes | None, new: bytes, what: str) -> bytes:
    """The state of `new`, laid out as the document `data` is. Raises click.ClickException if `new` cannot be read."""
    state = decoded(codec, new, what)
    return changed(codec, data, lambda _: state)


def text_of(data: bytes | None) -> str:
    """A document as text, for people: what is no UTF-8 is replaced."""
    return "" if data is None else data.decode("utf-8", "replace")


_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


def show_difference(before: bytes | None, after: bytes | None, names: tuple[str, str], *, err: bool = False) -> bool:
    """Print a unified diff of two documents, in colours on a terminal unless NO_COLOR is set. False: they are alike."""
    stream = sys.stderr if err else sys.stdout
    is_terminal = stream is not None and stream.isatty()
    has_colours = is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    any_line = False
    for line in _difference(text_of(before), text_of(after), names):
        any_line = True
        heading = line.startswith(("+++", "---"))
        colour = None if heading else _COLOURS.get(line[:1])
        shown = "\t".join(map(safe_text, line.split("\t"))) if is_terminal else line
        click.secho(shown, fg=colour, bold=heading, err=err) if has_colours else click.echo(shown, err=err)
    return any_line


def _difference(before: str, after: str, names: tuple[str, str]) -> Iterator[str]:
    lines = [text.splitlines(keepends=True) for text in (before, after)]
    for line in difflib.unified_diff(lines[0], lines[1], *names):
        yield line.rstrip("\r\n")
        if not line.endswith(("\n", "\r")):
            yield "\\ No newline at end of file"
