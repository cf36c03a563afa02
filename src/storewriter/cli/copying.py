"""`storewriter copy`: a document from one store to another, byte for byte, in a turn on both."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, Final

import click

from storewriter.cli.base.options import STORE_PATH, WAIT, checked, exit_codes, say
from storewriter.cli.base.program import DONE, NEGATIVE, STORE
from storewriter.codecs._tombstone import tombstone
from storewriter.locks import LockName
from storewriter.per_store_writer_queue import PerStoreWriterQueue
from storewriter.store import Store

__all__ = ["copy"]

_LABEL: Final = "storewriter copy"
_LOCKS: Final = ("flock", "marker", "lease")


class _Bytes:
    """A document as it is."""

    def decode(self, data: bytes) -> bytes:
        """See `Codec`."""
        return data

    def encode(self, state: Any) -> bytes:
        """See `Codec`."""
        if not isinstance(state, bytes):
            raise TypeError("there is no document")
        return state


@click.command(
    short_help="Copy a document from one store to another.",
    epilog=exit_codes({NEGATIVE: "negative result: the target has another document; nothing was written"}),
)
@click.argument("source", metavar="FROM", type=STORE_PATH)
@click.argument("target", metavar="TO", type=STORE_PATH)
@click.option("--replace", is_flag=True, help="Overwrite a document that TO has already.")
@click.option("--tombstone", "leaves_tombstone", is_flag=True, help="Leave a document in FROM that names TO.")
@click.option("--lock", type=click.Choice(_LOCKS), default="flock", show_default=True, help="How files are locked.")
@click.option("--timeout", type=WAIT, default="30s", show_default=True, help="How long to wait for the turns.")
def copy(source: str, target: str, replace: bool, leaves_tombstone: bool, lock: LockName, timeout: float) -> int:
    """Copy a document from one store to another: files and URLs, either way.

    \b
      storewriter copy state.json 'postgresql://db.example/app#state'
      storewriter copy 'postgresql://db.example/app#state' state.json

    Byte for byte, whatever it holds, in a turn on both stores, and read again
    afterwards. Backups are not copied.

    With --tombstone, FROM then says in a line of text where the document is
    now: programs that still use it fail, and their error names TO. Without it,
    they go on with the old document, which nothing updates any more.
    """  # noqa: D301 - \b is click's
    queue = PerStoreWriterQueue(lock=lock, timeout=timeout)
    stores: list[Any] = [
        checked(Store, place, default=_nothing, codec=_Bytes(), queue=queue) for place in (source, target)
    ]
    here, there = stores
    if here.path == there.path:
        raise click.UsageError("FROM and TO are the same store.")
    with ExitStack() as of_source:
        with ExitStack() as of_target:
            # In one order, whichever way it is copied, so that two copies cannot wait for each other.
            turns = {
                store: (of_source if store is here else of_target).enter_context(store.transaction(label=_LABEL))
                for store in sorted(stores, key=lambda store: store.path)
            }
            data, found = turns[here].state, turns[there].state
            refusal = _refusal(here.path, there.path, data, found, replace=replace)
            if refusal is not None or found == data:
                turns[there].discard()
            else:
                turns[there].state = data
        if refusal is None and there.read() != data:
            refusal = STORE, f"{there.path} has another document than was written; {here.path} is as it was"
        if refusal is not None or not leaves_tombstone:
            turns[here].discard()
        else:
            turns[here].state = tombstone(there.path)
    if refusal is not None:
        say(refusal[1])
        return refusal[0]
    assert data is not None
    say(f"{len(data)} bytes copied to {there.path}" + (f"; {here.path} says so" if leaves_tombstone else ""))
    return DONE


def _refusal(
    here: str, there: str, data: bytes | None, found: bytes | None, *, replace: bool
) -> tuple[int, str] | None:
    """Exit code and message, if nothing may be copied."""
    if data is None:
        return STORE, f"{here} does not exist; nothing was copied"
    if found is not None and found != data and not replace:
        return NEGATIVE, f"{there} has a document of its own; nothing was copied (--replace overwrites it)"
    return None


def _nothing() -> None:
    return None
