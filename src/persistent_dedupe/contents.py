"""What a namespace holds, as a whole: put into memory, listed, merged with another file."""

from __future__ import annotations

from pathlib import Path

from persistent_dedupe.calls import UNUSABLE, Call
from persistent_dedupe.document import Document
from persistent_dedupe.document_codec import decode
from persistent_dedupe.ground import Ground
from persistent_dedupe.keys import ScopedKey
from persistent_dedupe.results import Entry, ImportReport
from storewriter import StoreCorrupt
from storewriter.codecs import DecodeError

__all__ = ["Contents"]


class Contents:
    """Operations on whole namespaces."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    async def warmup(self, call: Call) -> int:
        """Put the namespace's recent keys into memory; how many there are."""
        ground, namespace = self._ground, call.scoped.namespace
        file = ground.file(namespace)
        if file is None:
            return 0
        with call.telling():
            try:
                document = await file.keys.read()
            except UNUSABLE as error:
                call.unusable(file.path, error)
                return 0
        call.reports.oddities(file.path, document.oddities)
        recent = self._recent(document, call.now)
        # The newest last, so that whatever memory has no room for is older than what it keeps.
        for key, seen_at in recent[max(0, len(recent) - ground.options.memory_limit) :]:
            ground.state.remember(ScopedKey(namespace, key), seen_at, call.now)
        return len(recent)

    async def entries(self, call: Call) -> list[Entry]:
        """The keys of the namespace, newest first, the expired ones included. Raises what the file raises."""
        file = self._ground.file(call.scoped.namespace)
        if file is None:
            return []
        document = await file.keys.read()
        call.reports.oddities(file.path, document.oddities)
        window = self._ground.window
        entries = [
            Entry(key=key, seen_at=seen_at / 1000, recent=window.is_recent(seen_at, call.now))
            for key, seen_at in document.times.items()
        ]
        return sorted(entries, key=lambda entry: entry.seen_at, reverse=True)

    async def import_file(self, call: Call, source: Path, remove: bool) -> ImportReport:
        """Merge another file of this format into the namespace. Raises StoreCorrupt, OSError; then nothing changed."""
        ground = self._ground
        file = ground.file(call.scoped.namespace)
        if file is None:
            msg = "an object without files cannot import one"
            raise ValueError(msg)
        found = await ground.port.work(lambda: _read(source))
        recent = dict(self._recent(found, call.now))

        def merge(document: Document) -> int:
            newer = {key: at for key, at in recent.items() if at > document.times.get(key, 0)}
            document.put(newer)
            return len(newer)

        imported = await file.keys.update(merge, f"import {source.name}")
        if remove:
            await ground.port.work(source.unlink)
        return ImportReport(
            imported=imported,
            expired=len(found.times) - len(recent),
            invalid=len(found.kept),
            already_present=len(recent) - imported,
        )

    def _recent(self, document: Document, now: float) -> list[tuple[str, float]]:
        """The recent keys, oldest first, with the times to reckon with."""
        window = self._ground.window
        believed = ((key, window.believed(seen_at, now)) for key, seen_at in document.times.items())
        return sorted((entry for entry in believed if window.is_recent(entry[1], now)), key=lambda entry: entry[1])


def _read(path: Path) -> Document:
    """The document in a file that is no store of ours. Raises StoreCorrupt, OSError."""
    try:
        return decode(path.read_bytes())
    except DecodeError as error:
        msg = f"{path} cannot be read: {error.reason}. It was left as it is."
        raise StoreCorrupt(
            msg,
            path=str(path),
            reason=error.reason,
            line=error.line,
            column=error.column,
            position=error.position,
        ) from error
