"""Whether the document and its backups can be read, and what was left behind beside them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial

from storewriter import PerStoreWriterQueue, Store, StoreCorrupt, StoreWriterError
from storewriter._files.beside import Beside, beside
from storewriter.cli.access import Access
from storewriter.cli.doctor.findings import Finding, Mend, good, note, problem

__all__ = ["check_content"]

_TURN: float = 5.0
"""Seconds to wait for the turn in which something is mended."""


def check_content(path: str, access: Access) -> Iterator[Finding]:
    """The document, its backups, and what lies beside it."""
    files = beside(path)
    backups = [each for each in files if each.use == "a backup"]
    judged = [(each, _fault(each.path, access)) for each in backups]
    yield from _document(path, access, has_good=any(fault is None for _, fault in judged))
    for each, fault in judged:
        text = f"{each}"
        yield good("backup", f"{text}, can be read") if fault is None else note("backup", f"{text}, cannot: {fault}")
    for each in files:
        yield from _left_behind(each, access, path)


def _document(path: str, access: Access, *, has_good: bool) -> Iterator[Finding]:
    try:
        _, version = access.typed_store(path, dict).read_versioned()
    except StoreCorrupt as error:
        mend = None
        if has_good and not error.may_be_intact:
            mend = Mend(f"move {path} aside, and restore its newest good backup", partial(_restore, path, access))
        yield problem("content", str(error), mend)
    except (StoreWriterError, OSError) as error:
        yield problem("content", str(error))
    else:
        if version != "absent":
            yield good("content", f"can be read; version {version}")


def _restore(path: str, access: Access) -> str | None:
    # Never begins empty, and leaves alone what may be intact.
    store = Store[object](path, dict, codec=access.codec, queue=access.queue(), on_corrupt="restore")
    store.read()
    return None


def _fault(name: str, access: Access) -> str | None:
    """Why a backup cannot be read; None: it can."""
    try:
        with open(name, "rb") as file:
            data = file.read()
        access.codec.decode(data)
    except OSError as error:
        return error.strerror or str(error)
    except Exception as error:  # noqa: BLE001 - any error of a codec's `decode` means that the bytes are no document
        return str(error)
    return None


def _left_behind(each: Beside, access: Access, path: str) -> Iterator[Finding]:
    if each.use == "the temporary file":
        mend = Mend(f"remove {each.path}", _removes(each.path, access.queue(), path))
        yield note("leftover", f"{each}; a writer was killed, or is at work now", mend)
    elif each.use == "the journal":
        yield note("leftover", f"{each}; the next update of a store with in_place=True finishes or removes it")
    elif each.use == "the corrupt document that was set aside":
        yield note("leftover", f"{each}; keep it as long as you may want something of it")


def _removes(name: str, queue: PerStoreWriterQueue, path: str) -> Callable[[], str | None]:
    def remove() -> str | None:
        with queue.turn(path, label="storewriter doctor --fix", timeout=_TURN):
            if os.path.lexists(name):
                os.unlink(name)
        return None

    return remove
