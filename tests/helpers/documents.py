"""Documents in files, without a store and without a turn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from storewriter._backends.files import FileBackend, Unguarded

__all__ = ["load", "save"]


def load(path: Path, **settings: Any) -> bytes | None:
    """The document, as a reader finds it."""
    return FileBackend(str(path), **settings).read()


def save(path: Path, data: bytes, **settings: Any) -> None:
    """Commit a document and make it durable, as a batch does in its turn."""
    backend = FileBackend(str(path), **settings)
    hold, commit = Unguarded(), backend.new_commit()
    backend.commit(hold, data, backend.load(hold), commit)
    backend.settle(commit)
