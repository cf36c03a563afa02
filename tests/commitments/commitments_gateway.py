"""A gateway process of its own for the tests: brings up what is due, and says on its output what it did."""

from __future__ import annotations

import json
import sys

from commitments import CommitmentsConfig, CommitmentsStore

CONFIG = CommitmentsConfig(enabled=True, max_per_day=1_000_000)


def main() -> None:
    store = CommitmentsStore(sys.argv[1])
    while True:
        for _ in range(20):
            # Without a pause, so that a program that writes without the lock writes into the middle of one of these.
            for id_ in store.mark_attempted(["pulse"]).changed:
                say("attempted", id_, 1)
        for session in store.due_session_keys(CONFIG, "main", limit=10):
            for due in store.due_for_session(CONFIG, "main", session, limit=1):
                for id_ in store.mark_attempted([due.id]).changed:
                    say("attempted", id_, 1)
                for id_ in store.mark_status([due.id], "sent").changed:
                    say("sent", id_, 0)


def say(what: str, id_: str, count: int) -> None:
    print(json.dumps([what, id_, count]), flush=True)


main()
