"""The committed states of a store, one after another, as they come."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from commitments.document import Document
from storewriter import Store

POLL_SECONDS = 0.25
"""How often the file is looked at: a look takes no lock, and reads one small file."""


def committed_states(store: Store[Document], pause: threading.Event | None = None) -> Iterator[Document]:
    """Yield the state now, and again whenever its content has changed; states in between may be left out.

    Ends when `pause`, which is waited for between two looks, is set. Raises what reading the store raises.
    """
    pause = pause or threading.Event()
    seen = ""
    while True:
        document, version = store.read_versioned()
        if version != seen:
            seen = version
            yield document
        if pause.wait(POLL_SECONDS):
            return
