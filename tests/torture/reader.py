"""A process that never stops reading the store: with `Store.read`, and with a plain `json.load`."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

from ledger import Ledger

from storewriter import Store


def run(path: Path, ledger: Ledger) -> None:
    """Read until SIGTERM. Notes a document that is missing, torn, or older than the one before."""
    is_over = False

    def end(*_: object) -> None:
        nonlocal is_over
        is_over = True

    signal.signal(signal.SIGTERM, end)
    os.nice(10)  # it never stops, and the writers need the processors
    store: Store[dict[str, Any]] = Store(path)
    last, reads, descriptors = 0, 0, len(os.listdir("/proc/self/fd"))
    while not is_over:
        try:
            state = store.read() if reads % 2 else json.loads(path.read_bytes())
            place = state.get("place", 0)
            if place < last:
                ledger.note("w", f"a reader saw place {place} after place {last}")
            last = place
            reads += 1
        except Exception as error:  # noqa: BLE001 - the promise is that there is none
            ledger.note("w", f"a reader saw {type(error).__name__}: {error}")
    if len(os.listdir("/proc/self/fd")) != descriptors:
        ledger.note("w", "a reader has more descriptors open than at its begin")
    ledger.note("n", reads)
