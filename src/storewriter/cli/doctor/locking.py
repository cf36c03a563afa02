"""Whether the store's locks do what they should: file system, strategy, holder, markers, other programs' locks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

from storewriter._backends.file_status import FileStatus
from storewriter._platform.liveness import Verdict
from storewriter._platform.mounts import Trust
from storewriter.cli.doctor.findings import Finding, Mend, good, note, problem
from storewriter.cli.status_text import holder_text, neighbour_text, place_text, strategy_text, trust_text
from storewriter.locks._breaking import break_marker
from storewriter.locks._marker_file import marker_file

__all__ = ["check_locking"]


def check_locking(found: FileStatus) -> Iterator[Finding]:
    """The locks of a store, as its status shows them."""
    yield _file_system(found)
    yield good("strategy", strategy_text(found))
    yield note("holder", holder_text(found)) if found.holder is not None else good("holder", holder_text(found))
    yield from _marker(found)
    for one in found.neighbours:
        yield note("other program", neighbour_text(found.path, one))
    yield from _database(found.path)


def _file_system(found: FileStatus) -> Finding:
    text = f"{place_text(found)}; kernel locks: {trust_text(found)}"
    if found.trust is Trust.NONE and found.strategy in (None, "flock"):
        return problem("file system", text)
    return note("file system", text) if found.trust in (Trust.HOST_ONLY, Trust.NONE) else good("file system", text)


def _marker(found: FileStatus) -> Iterator[Finding]:
    marker = found.marker
    if marker is None:
        return
    name = marker_file(found.path)
    mend = Mend(f"remove {name}", partial(break_marker, found.path, marker))
    if marker.is_released:
        yield note(
            "marker", f"{name} was given back and could not be removed then; the next contender removes it", mend
        )
    elif marker.owner is None:
        yield problem("marker", f"{name} is damaged; the next contender takes it over after two seconds", mend)
    elif found.verdict is Verdict.GONE:
        yield problem("marker", f"{name}: its holder is gone; the next contender takes it over", mend)
    elif found.verdict is Verdict.UNKNOWN:
        yield note("marker", f"{name}: whether its holder lives cannot be told from here; see `storewriter break`")


def _database(path: str) -> Iterator[Finding]:
    """OpenClaw keeps in its database, since 2026, what it kept in files before."""
    above = os.path.dirname(os.path.dirname(path))
    for folder in (os.path.dirname(path), above):
        database = os.path.join(folder, "state", "openclaw.sqlite")
        if os.path.exists(database):
            yield note(
                "OpenClaw",
                f"{database} is OpenClaw's database: a gateway that has it keeps its commitments and its dedupe there, "
                f"and imports and deletes the file of a former version",
            )
            return
