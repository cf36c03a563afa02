"""What there is in a folder or below a URL: one line of figures per namespace."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from urllib.parse import quote

import attrs

from persistent_dedupe.dedupe import PersistentDedupe
from persistent_dedupe.keys import DEFAULT_NAMESPACE, Place, folder_url, namespace_of, place_of
from persistent_dedupe.options import DedupeOptions
from storewriter import StoreWriterError

__all__ = ["NamespaceFigures", "shown_store", "summarize"]


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
    """Bytes of the file; 0 for a document that is no file."""
    open_claims: int = 0
    abandoned_claims: int = 0
    """Those of the open claims that can be taken over."""
    moved_aside: int = 0
    """Bad files that were moved aside and that are still there."""
    problem: str | None = None
    """Why the file cannot be read."""


def summarize(store: Place, options: DedupeOptions, namespace: str | None = None) -> list[NamespaceFigures]:
    """The figures of every namespace in the folder or below the URL, or of one.

    Raises OSError, StoreWriterError if the namespaces cannot be listed, ValueError for a URL that names no store.
    """
    if namespace is not None:
        return [_figures(place_of(store, namespace), namespace, options)]
    if isinstance(store, Path):
        return [_figures(store / name, namespace_of(name), options) for name in _files(store)]
    return [_figures(folder_url(store) + quote(name), namespace_of(f"{name}.json"), options) for name in _names(store)]


def shown_store(store: Place) -> str:
    """The store, as it is shown: a URL without user and password."""
    if isinstance(store, Path):
        return str(store)
    return str(PersistentDedupe(store, DedupeOptions(ttl=0)).path()).removesuffix(DEFAULT_NAMESPACE)


def _names(url: str) -> list[str]:
    """The documents of namespaces below a URL."""
    from storewriter.postgres import names

    return [name for name in names(folder_url(url)) if "/" not in name and not name.endswith("~claims")]


def _files(folder: Path) -> list[str]:
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    return [
        name
        for name in names
        if name.endswith(".json") and not name.startswith(".") and not name.endswith("~claims.json")
    ]


def _figures(place: Place, namespace: str | None, options: DedupeOptions) -> NamespaceFigures:
    dedupe = PersistentDedupe(lambda _: place, options)
    path = dedupe.path()
    figures = NamespaceFigures(namespace=namespace, path=str(path), moved_aside=_moved_aside(path))
    try:
        entries = dedupe.entries()
        claims = dedupe.open_claims()
        size = path.stat().st_size if isinstance(path, Path) and path.exists() else 0
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


def _moved_aside(path: Place | None) -> int:
    if not isinstance(path, Path):
        return 0
    target = path.resolve()
    return len(list(target.parent.glob(f"{glob.escape(target.name)}.corrupt-*")))
