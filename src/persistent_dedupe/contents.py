"""Operations on whole namespaces, for threads and tasks: warm up, list, import."""

from __future__ import annotations

import os
from pathlib import Path

from persistent_dedupe import document as documents
from persistent_dedupe.context import UNUSABLE, Call
from persistent_dedupe.document import Document
from persistent_dedupe.keys import ScopedKey
from persistent_dedupe.results import Entry, ImportReport
from storewriter import StoreCorrupt
from storewriter.codecs import DecodeError

__all__ = ["entries", "import_file", "warmup"]


async def warmup(call: Call) -> int:
    """Put the namespace's recent keys into memory; how many there are."""
    file = call.file
    if file is None:
        return 0
    with call.reporting_errors():
        try:
            document = await file.keys.read()
        except UNUSABLE as error:
            call.unusable(file.keys.path, error)
            return 0
    call.report_anomalies(file.keys.path, document, document.times)
    recent = _recent(call, document)
    # The newest last: if memory has not room for all, it keeps those.
    for key, seen_at in recent[max(0, len(recent) - call.context.options.memory_limit) :]:
        call.state.memory.remember(ScopedKey(call.scoped.namespace, key), seen_at, call.now)
    return len(recent)


async def entries(call: Call) -> list[Entry]:
    """The keys of the namespace, newest first, the expired ones included. Raises what the file raises."""
    file = call.file
    if file is None:
        return []
    document = await file.keys.read()
    call.report_anomalies(file.keys.path, document, document.times)
    found = [Entry(key=key, seen_at=at / 1000, recent=call.is_recent(at)) for key, at in document.times.items()]
    return sorted(found, key=lambda entry: entry.seen_at, reverse=True)


async def import_file(call: Call, source: Path, remove: bool) -> ImportReport:
    """Merge another file of this format into the namespace. Raises StoreCorrupt, OSError; then nothing changed."""
    file, work = call.file, call.context.runner.work
    if file is None:
        msg = "an object without files cannot import one"
        raise ValueError(msg)
    if await work(lambda: os.path.realpath(source) == os.path.realpath(file.keys.path)):
        msg = f"{source} is the file of the namespace itself"
        raise ValueError(msg)
    found = await work(lambda: _read(source))
    call.report_anomalies(source, found, found.times)
    recent = dict(_recent(call, found))

    def merge(document: Document) -> int:
        newer = {key: at for key, at in recent.items() if at > document.times.get(key, 0)}
        if newer:
            document.put(newer)
        return len(newer)

    imported = await file.keys.update(merge, f"import {source.name}")
    if remove:
        await work(source.unlink)
    return ImportReport(
        imported=imported,
        expired=len(found.times) - len(recent),
        invalid=len(found.kept),
        already_present=len(recent) - imported,
    )


def _recent(call: Call, document: Document) -> list[tuple[str, float]]:
    """The recent keys, oldest first, with the times that count (`Window.believed`)."""
    believed = [(key, call.context.window.believed(at, call.now)) for key, at in document.times.items()]
    return sorted((entry for entry in believed if call.is_recent(entry[1])), key=lambda entry: entry[1])


def _read(path: Path) -> Document:
    """The document in a file outside of the namespaces. Raises StoreCorrupt, OSError."""
    try:
        return documents.decode(path.read_bytes())
    except DecodeError as error:
        facts = {name: getattr(error, name) for name in ("reason", "line", "column", "position")}
        raise StoreCorrupt(
            f"{path} cannot be read: {error.reason}. It was left as it is.", path=str(path), **facts
        ) from error
