"""What a store's folder holds: one line of figures per namespace."""

from __future__ import annotations

import os
from pathlib import Path

import attrs

from persistent_dedupe.dedupe import PersistentDedupe
from persistent_dedupe.keys import file_name, namespace_of
from persistent_dedupe.options import DedupeOptions
from storewriter import StoreWriterError

__all__ = ["NamespaceFigures", "summarize"]


@attrs.frozen(kw_only=True)
class NamespaceFigures:
    """What there is of one namespace."""

    namespace: str | None
    """None if its name was too long to be kept in the file's."""
    path: str
    entries: int = 0
    recent: int | None = 0
    """None if no window was given."""
    invalid: int = 0
    """Entries that are no record, and kept."""
    oldest: float | None = None
    """First sighting of the oldest key, in seconds since the epoch."""
    newest: float | None = None
    size: int = 0
    """Bytes of the file."""
    open_claims: int = 0
    abandoned_claims: int = 0
    """Those of the open claims that can be taken over."""
    moved_aside: int = 0
    """Bad files that were moved aside and that are still there."""
    problem: str | None = None
    """Why the file cannot be read."""


def summarize(folder: Path, options: DedupeOptions, namespace: str | None = None) -> list[NamespaceFigures]:
    """The figures of every namespace in the folder, or of one. Raises OSError if the folder cannot be read."""
    names = _names(folder) if namespace is None else [file_name(namespace)]
    return [_figures(folder / name, namespace or namespace_of(name), options) for name in names]


def _names(folder: Path) -> list[str]:
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    return [
        name
        for name in names
        if name.endswith(".json") and not name.startswith(".") and not name.endswith("~claims.json")
    ]


def _figures(path: Path, namespace: str | None, options: DedupeOptions) -> NamespaceFigures:
    dedupe = PersistentDedupe(lambda _: path, options)
    figures = NamespaceFigures(namespace=namespace, path=str(path), moved_aside=_moved_aside(path))
    try:
        entries = dedupe.entries()
        claims = dedupe.open_claims()
        size = path.stat().st_size if path.exists() else 0
    except (OSError, StoreWriterError) as error:
        return attrs.evolve(figures, problem=str(error))
    return attrs.evolve(
        figures,
        entries=len(entries),
        recent=sum(entry.recent for entry in entries),
        invalid=dedupe.counters.invalid_entries,
        oldest=entries[-1].seen_at if entries else None,
        newest=entries[0].seen_at if entries else None,
        size=size,
        open_claims=len(claims),
        abandoned_claims=sum(claim.gone for claim in claims),
    )


def _moved_aside(path: Path) -> int:
    target = Path(os.path.realpath(path))
    try:
        names = os.listdir(target.parent)
    except (FileNotFoundError, NotADirectoryError):
        return 0
    return sum(name.startswith(f"{target.name}.corrupt-") for name in names)
