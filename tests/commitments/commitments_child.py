"""A process of its own for the tests: reads one command per line, answers each with one line of JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

from commitments import CommitmentsStore
from storewriter import PerStoreWriterQueue

NOW = 1899374400000


def main() -> None:
    store = CommitmentsStore(sys.argv[1], now_ms=lambda: NOW)
    for line in sys.stdin:
        name, *args = json.loads(line)
        print(json.dumps(COMMANDS[name](store, *args)), flush=True)


def dismiss(store: CommitmentsStore, *ids: str) -> list[str]:
    return [id_ for id_ in ids if store.mark_status([id_], "dismissed").changed]


def sent(store: CommitmentsStore, *ids: str) -> list[str]:
    return [id_ for id_ in ids if store.mark_status([id_], "sent").changed]


def attempt(store: CommitmentsStore, id_: str, times: int) -> int:
    return sum(len(store.mark_attempted([id_]).changed) for _ in range(times))


def hold(store: CommitmentsStore) -> str:
    """Hold the store's turn until the next line comes."""
    with PerStoreWriterQueue().turn(store.path, label="a long job"):
        print(json.dumps("held"), flush=True)
        sys.stdin.readline()
    return "released"


COMMANDS: dict[str, Any] = {"dismiss": dismiss, "sent": sent, "attempt": attempt, "hold": hold}

main()
