"""What the operations of one object stand on: its options, its stores, and what it knows in this process."""

from __future__ import annotations

import os
from pathlib import Path

import attrs

from persistent_dedupe.calls import Call
from persistent_dedupe.claims_document import ClaimBook, ClaimsCodec
from persistent_dedupe.document import Document
from persistent_dedupe.document_codec import DocumentCodec
from persistent_dedupe.keys import Location, path_for, scope
from persistent_dedupe.openclaw import warn_of_database
from persistent_dedupe.options import DedupeOptions
from persistent_dedupe.port import Port, StorePort
from persistent_dedupe.process_state import ProcessState
from persistent_dedupe.reports import OnError
from persistent_dedupe.window import moment

__all__ = ["Ground", "NamespaceFile"]


@attrs.frozen
class NamespaceFile:
    """The two stores of one namespace."""

    path: Path
    claims_path: Path
    keys: StorePort[Document]
    claims: StorePort[ClaimBook]


class Ground:
    """Shared by the operations of one object."""

    def __init__(self, location: Location | None, options: DedupeOptions, port: Port) -> None:
        self.location = location
        self.options = options
        self.port = port
        self.window = options.window
        self._state = ProcessState(options)
        self._files: dict[str, NamespaceFile] = {}

    @property
    def state(self) -> ProcessState:
        """What this process knows."""
        if self._state.pid != os.getpid():
            self._state = ProcessState(self.options)
        return self._state

    def call(self, key: str, namespace: str | None, now: float | None, on_error: OnError | None) -> Call:
        """A call with its defaults filled in. Raises ValueError for an impossible time."""
        at = moment(self.options.clock() if now is None else now)
        on_error = on_error or self.options.on_disk_error
        return Call(scope(key, namespace), at, on_error, self.options, self.state.reports)

    def file(self, namespace: str) -> NamespaceFile | None:
        """The stores of a namespace; None if this object keeps its keys in memory only."""
        if self.location is None:
            return None
        file = self._files.get(namespace)
        if file is None:
            path = path_for(self.location, namespace)
            # No namespace has a file of this name: what follows a `~` there is a hash.
            claims_path = path.with_name(f"{path.stem}~claims.json")
            warn_of_database(path)
            file = self._files[namespace] = NamespaceFile(
                path,
                claims_path,
                self.port.store(path, Document, DocumentCodec(), has_neighbours=True),
                self.port.store(claims_path, ClaimBook, ClaimsCodec(), has_neighbours=False),
            )
        return file
