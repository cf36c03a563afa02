"""Whatever runs at once: the results of all callers, and the file, are what some order of one after another gives."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import attrs
from commitments_support import ENABLED, GRACE, ITEM_A, NOW, SCOPE_A, SESSION_A, Face, candidate, ids_of, record
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commitments import changes, queries
from commitments.document import Document, DocumentCodec

CODEC = DocumentCodec()

SEED = [
    record("a", dedupeKey="k0"),
    record("b", dueWindow={"latestMs": NOW - GRACE, "earliestMs": 1}, sourceUserText="CANARY"),
    record("c", status="snoozed", snoozedUntilMs=NOW),
    None,
]


@attrs.frozen
class Step:
    """One call: on a store, and on a document as the model."""

    name: str
    on_store: Callable[[Any], Awaitable[Any]] = attrs.field(repr=False)
    on_model: Callable[[Document], Any] = attrs.field(repr=False)
    told: Callable[[Any], Any] = attrs.field(repr=False)


def outcomes_of(marked: Any) -> Any:
    return [
        (each.id, each.verdict, each.status, None if each.record is None else facts(each.record))
        for each in marked.outcomes
    ]


def facts(found: Any) -> Any:
    """A record without its id and its text: the id of a new one is random."""
    window = (found.due_window.earliest_ms, found.due_window.latest_ms)
    times = (found.updated_at_ms, found.sent_at_ms, found.dismissed_at_ms, found.expired_at_ms, found.snoozed_until_ms)
    return (found.dedupe_key, found.status, found.attempts, found.reason, found.confidence, window, times)


def upserted_facts(upserted: Any) -> Any:
    return [list(map(facts, upserted.created)), list(map(facts, upserted.merged))]


def mark(id_: str, status: Any, now: int) -> Step:
    return Step(
        f"{status} {id_} at {now - NOW}",
        lambda store: store.mark_status([id_], status, now_ms=now),
        lambda document: changes.mark_status(document, [id_], now, every_copy=False, status=status),
        outcomes_of,
    )


def attempt(id_: str, now: int) -> Step:
    return Step(
        f"attempt {id_} at {now - NOW}",
        lambda store: store.mark_attempted([id_], now_ms=now),
        lambda document: changes.mark_attempted(document, [id_], now, every_copy=False),
        outcomes_of,
    )


def snooze(id_: str, now: int) -> Step:
    return Step(
        f"snooze {id_} at {now - NOW}",
        lambda store: store.snooze([id_], now + 5, now_ms=now),
        lambda document: changes.snooze(document, [id_], now, every_copy=False, until_ms=now + 5),
        outcomes_of,
    )


def upsert(key: str, now: int) -> Step:
    given_ = [candidate(key, reason=f"at {now}", confidence=now - NOW)]
    return Step(
        f"upsert {key} at {now - NOW}",
        lambda store: store.upsert(ITEM_A, given_, now_ms=now),
        lambda document: changes.upsert(document, ITEM_A, given_, [f"new-{key}-{len(document.entries)}"], now),
        upserted_facts,
    )


def due(now: int) -> Step:
    def on_model(document: Document) -> Any:
        changes.expire(document, now)
        return queries.due_for_session(document, now, ENABLED, "main", SESSION_A, None)

    return Step(
        f"due at {now - NOW}",
        lambda store: store.due_for_session(ENABLED, "main", SESSION_A, now_ms=now),
        on_model,
        lambda records: list(map(facts, records)),
    )


def pending(now: int) -> Step:
    def on_model(document: Document) -> Any:
        changes.expire(document, now)
        return queries.pending_for_scope(document, now, SCOPE_A, 20)

    return Step(
        f"pending at {now - NOW}",
        lambda store: store.pending_for_scope(SCOPE_A, now_ms=now),
        on_model,
        lambda records: list(map(facts, records)),
    )


ids = st.sampled_from(["a", "b", "c", "nobody"])
times = st.integers(0, 6).map(lambda offset: NOW + offset)
steps = st.one_of(
    st.builds(mark, ids, st.sampled_from(["sent", "dismissed", "expired"]), times),
    st.builds(attempt, ids, times),
    st.builds(snooze, ids, times),
    st.builds(upsert, st.sampled_from(["k0", "k1"]), times),
    st.builds(due, times),
    st.builds(pending, times),
)
programs = st.lists(st.lists(steps, min_size=1, max_size=3), min_size=2, max_size=3)


@given(programs=programs)
@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
def test_any_interleaving_of_operations_equals_some_serial_order(face: Face, programs: list[list[Step]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "commitments.json")
        start = json.dumps({"version": 1, "commitments": SEED}, indent=2).encode()
        path.write_bytes(start)
        told = run_together(face, path, programs)
        assert has_serial_order(start, programs, told, final_facts(CODEC.decode(path.read_bytes()))), told


def run_together(face: Face, path: Path, programs: list[list[Step]]) -> list[list[Any]]:
    """Run each program's calls one after another, the programs at once; what each call told."""
    told: list[list[Any]] = [[] for _ in programs]

    def runner(place: int) -> Callable[[], Awaitable[None]]:
        store = face.open(path)

        async def run() -> None:
            for step in programs[place]:
                told[place].append(step.told(await step.on_store(store)))

        return run

    async def main() -> None:
        await face.together(*map(runner, range(len(programs))))

    face.run(main)
    return told


def final_facts(document: Document) -> Any:
    return sorted(map(repr, map(facts, document.commitments())))


def has_serial_order(before: bytes, programs: list[list[Step]], told: list[list[Any]], final: Any) -> bool:
    """Look for an order in which the model gives the same results and the same end; depth first."""
    if not any(programs):
        return final_facts(CODEC.decode(before)) == final
    for place, program in enumerate(programs):
        if not program:
            continue
        document = CODEC.decode(before)
        if program[0].told(program[0].on_model(document)) != told[place][0]:
            continue
        rest = [each[1:] if other == place else each for other, each in enumerate(programs)]
        left = [each[1:] if other == place else each for other, each in enumerate(told)]
        if has_serial_order(CODEC.encode(document), rest, left, final):
            return True
    return False


def test_the_search_finds_no_order_for_a_lost_update() -> None:
    start = json.dumps({"version": 1, "commitments": SEED}).encode()
    document = CODEC.decode(start)
    step = attempt("a", NOW)
    told = [[step.told(step.on_model(document))]] * 2
    assert not has_serial_order(start, [[step], [step]], told, final_facts(document))
    assert ids_of(list(document.commitments())) == ["a", "b", "c"]
