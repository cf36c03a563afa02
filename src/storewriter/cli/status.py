"""`storewriter status`: the holder of a store, its waiters, its document, and what its kernel locks exclude."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from storewriter import Owner
from storewriter._backends.addresses import is_url, status_of_url
from storewriter._backends.file_status import FileStatus, file_status
from storewriter._backends.protocol import Status
from storewriter._files.beside import time_text
from storewriter._files.keys import sidecar
from storewriter._platform.liveness import Verdict
from storewriter.cli.access import Access, codec_option, usage_errors
from storewriter.cli.base.options import STORE_PATH, WAIT, exit_codes, json_option, say
from storewriter.cli.base.program import DONE, LOCK, STORE
from storewriter.cli.base.text import json_text, safe_text
from storewriter.cli.base.times import age_text
from storewriter.cli.status_text import (
    age_of_marker,
    holder_text,
    neighbour_text,
    place_text,
    strategy_text,
    trust_text,
)
from storewriter.codecs import Codec
from storewriter.errors import StoreCorrupt, StoreWriterError
from storewriter.locks._marker_file import marker_file
from storewriter.locks.neighbours._detection import advice

__all__ = ["status"]


_EPILOG = """\b
Examples:
  storewriter status state.json
  storewriter status --watch state.json queue.json

""" + exit_codes({STORE: "a store cannot be looked at; the others are shown"}, without=[LOCK])


@click.command(epilog=_EPILOG, short_help="Show the holder of a store, its waiters and its document.")
@click.argument("stores", nargs=-1, required=True, type=STORE_PATH, metavar="STORE...")
@click.option("--watch", "again", is_flag=True, help="Show it again and again, until Ctrl-C.")
@click.option("--every", type=WAIT, default="1s", show_default=True, help="With --watch: how often.")
@codec_option
@json_option
def status(stores: tuple[str, ...], again: bool, every: float, codec: Codec[Any], as_json: bool) -> int:
    """Show the holder of each STORE, the waiters, the strategy, the document, and what its kernel locks exclude.

    Nothing is changed. `--json` prints one JSON object a line for each store. Whether locks work at all is tested on
    the lock file, if there is one, for an instant.
    """
    if not again:
        return _show(stores, codec, as_json=as_json)
    if as_json or not sys.stdout.isatty():
        while True:
            _show(stores, codec, as_json=as_json)
            sys.stdout.flush()  # into a pipe, too: each look is read when it is taken
            time.sleep(every)
    console, terminal = Console(highlight=False), sys.stdout  # rich puts an object of its own in its place
    with Live(console=console, auto_refresh=False, screen=True) as live:
        # A terminal that has been closed is none any more; only the session that it controls gets a SIGHUP, and rich
        # writes nothing then, so that no write fails.
        while terminal.isatty():
            live.update(Group(*_screen(stores, codec)), refresh=True)
            time.sleep(every)
    return DONE


def _show(stores: tuple[str, ...], codec: Codec[Any], *, as_json: bool) -> int:
    console = Console(highlight=False, soft_wrap=True)
    code = DONE
    for number, path in enumerate(stores):
        try:
            found = _seen(path, codec)
        except (StoreWriterError, OSError) as error:
            say(str(error))
            code = STORE
            continue
        if as_json:
            click.echo(json_text(dict(found.as_json()), indent=None))
            continue
        if number:
            console.print()
        for line in _lines(found.rows()):
            console.print(line)
    return code


def _screen(stores: tuple[str, ...], codec: Codec[Any]) -> Iterator[Text]:
    yield Text(time.strftime("%Y-%m-%d %H:%M:%S"), "dim")
    for path in stores:
        yield Text()
        try:
            yield from _lines(_seen(path, codec).rows())
        except (StoreWriterError, OSError) as error:
            yield Text(safe_text(str(error)), "red")


def _seen(store: str, codec: Codec[Any]) -> Status:
    """What there is to show of a store: of a URL, what its engine says."""
    with usage_errors():
        return status_of_url(store) if is_url(store) else _of_file(store, codec)


@attrs.frozen
class _OfFile:
    """What is shown of a document in a file."""

    found: FileStatus
    version: str | None
    """The document's version, `absent` if there is none; None if it cannot be read."""
    unsound: str | None
    """Why the document cannot be read; None: it can, or there is none."""

    def rows(self) -> dict[str, str]:
        """See `Status` of the backends."""
        return _rows(self)

    def as_json(self) -> dict[str, Any]:
        """See `Status` of the backends."""
        return _as_json(self)


def _of_file(path: str, codec: Codec[Any]) -> _OfFile:
    found = file_status(path)
    try:
        return _OfFile(found, Access(codec=codec).typed_store(path, dict).read_versioned()[1], None)
    except StoreCorrupt as error:
        place = f"line {error.line}, column {error.column}: " if error.line is not None else ""
        return _OfFile(found, None, f"{place}{error.reason}")


def _lines(facts: Mapping[str, str]) -> list[Text]:
    width = max(map(len, facts)) + 2
    return [Text.assemble((f"{key:<{width}}", "bold"), safe_text(text)) for key, text in facts.items()]


def _rows(shown: _OfFile) -> dict[str, str]:
    found = shown.found
    return {
        "store": found.path,
        "document": _document_text(shown),
        "last commit": "none yet" if found.committed is None else _commit_text(found.committed),
        "holder": holder_text(found),
        "strategy": strategy_text(found),
        "waiting": "none that can be seen" if not found.waiters else "; ".join(str(one) for one in found.waiters),
        "file system": place_text(found),
        "kernel locks": trust_text(found),
        "lock file": _file_text(sidecar(found.path)),
        "marker": _file_text(marker_file(found.path)),
        **{f"neighbour {number}": neighbour_text(found.path, one) for number, one in enumerate(found.neighbours, 1)},
        **{f"beside {number}": str(one) for number, one in enumerate(found.leftovers, 1)},
    }


def _document_text(shown: _OfFile) -> str:
    if shown.found.size is None:
        return "none yet"
    if shown.unsound is not None:
        return f"{shown.found.size} bytes, cannot be read: {shown.unsound}"
    return f"{shown.found.size} bytes, can be read; version {shown.version}"


def _commit_text(seconds: float) -> str:
    return f"{time_text(seconds)} ({age_text(time.time() - seconds)} ago)"


def _file_text(name: str) -> str:
    return name if os.path.lexists(name) else f"{name} (not there)"


def _as_json(shown: _OfFile) -> dict[str, Any]:
    found = shown.found
    marker = found.marker
    return {
        "path": found.path,
        "size": found.size,
        "version": shown.version,
        "unsound": shown.unsound,
        "committed": found.committed,
        "holder": None if found.holder is None else _owner_json(found.holder, found.verdict),
        "holder_unknown": found.unseen,
        "strategy": found.strategy,
        "waiters": [_owner_json(one, None) for one in found.waiters],
        "filesystem": None if found.mount is None else found.mount.kind,
        "mounted_at": None if found.mount is None else found.mount.point,
        "locks": found.trust.value,
        "locks_tried": found.refused is not None,
        "sidecar": sidecar(found.path),
        "marker": None if marker is None else marker_file(found.path),
        "stale": None if marker is None else marker.stale,
        "unrefreshed": None if marker is None else round(age_of_marker(marker), 3),
        "neighbours": [
            {
                "lock": one.lock,
                "kind": one.kind,
                "owner": None if one.owner is None else _owner_json(one.owner, None),
                "advice": advice(found.path, one),
            }
            for one in found.neighbours
        ],
        "leftovers": [
            {"path": one.path, "use": one.use, "size": one.size, "modified": one.modified} for one in found.leftovers
        ],
    }


def _owner_json(owner: Owner, verdict: Verdict | None) -> dict[str, Any]:
    fields: dict[str, Any] = attrs.asdict(owner, filter=lambda _, value: value is not None)
    held = owner.held_for()
    if held is not None:
        fields["held_for"] = round(held, 3)
    if verdict is not None:
        fields["state"] = verdict.value
    return fields
