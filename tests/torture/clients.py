"""How a writer of each API updates the store, and what must be in it afterwards."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from ledger import Operation, Record

from commitments import Candidate, CommitmentsStore, Item, Scope
from persistent_dedupe import DedupeOptions, PersistentDedupe
from scenarios import Scenario
from storewriter import AsyncStore, Store, StoreWriterError
from storewriter.testing import System


class Client(Protocol):
    """One writer's access to the store."""

    def perform(self, writer: str, number: int) -> object:
        """One update. What it returns is noted in the ledger."""
        ...


def counting(writer: str, number: int) -> Callable[[dict[str, Any]], int]:
    """An update that takes the next place in the order of all updates, and checks that none of its own is missing."""

    def fn(state: dict[str, Any]) -> int:
        writers = state.setdefault("writers", {})
        if writers.get(writer, 0) != number - 1:
            raise AssertionError(f"{writer} finds its update {writers.get(writer, 0)} where {number - 1} belongs")
        writers[writer] = number
        state["place"] = state.get("place", 0) + 1
        return int(state["place"])

    return fn


class OfStore:
    """`Store.update`."""

    def __init__(self, scenario: Scenario, path: Path, system: System) -> None:
        self._path = path
        self._plant = scenario.plant
        self.store: Store[dict[str, Any]] = Store(
            path, queue=scenario.queue(), durability=scenario.durability, system=system
        )

    def perform(self, writer: str, number: int) -> object:
        if self._plant == "load before the lock":
            state = self.store.read()
            place = counting(writer, number)(state)
            self.store.transform(lambda _: state)
            return place
        return self.store.update(counting(writer, number))


class OfTransactions(OfStore):
    """`Store.transaction`."""

    def perform(self, writer: str, number: int) -> object:
        with self.store.transaction() as tx:
            return counting(writer, number)(tx.state)


class OfAsyncStore:
    """`AsyncStore.update`; awaited by the writer."""

    def __init__(self, scenario: Scenario, path: Path, system: System) -> None:
        self.store: AsyncStore[dict[str, Any]] = AsyncStore(
            path,
            queue=scenario.queue(),
            durability=scenario.durability,
            isolation=scenario.isolation,
            system=system,
        )

    async def perform(self, writer: str, number: int) -> object:
        return await self.store.update(counting(writer, number))


class OfCommitments:
    """An upsert, and each second one is dismissed."""

    def __init__(self, scenario: Scenario, path: Path) -> None:
        self._store = CommitmentsStore(path, queue=scenario.queue())

    def perform(self, writer: str, number: int) -> object:
        now = int(time.time() * 1000)
        candidate = Candidate(
            kind="open_loop",
            reason="A promise was made.",
            suggested_text="Was it kept?",
            dedupe_key=f"{writer}:{number}",
            confidence=0.95,
            earliest_ms=now + 3_600_000,
            latest_ms=now + 7_200_000,
            timezone="UTC",
        )
        (created,) = self._store.upsert(Item(_SCOPE), [candidate]).created
        if number % 2:
            return f"{created.id} pending"
        (changed,) = self._store.mark_status([created.id], "dismissed").changed
        return f"{changed} dismissed"


NEXT = "next"
_SCOPE = Scope("main", "agent:main:telegram:user-1", "telegram", to="user-1")


class OfDedupe:
    """A key that no other call uses: it must be new, and recorded."""

    def __init__(self, scenario: Scenario, path: Path) -> None:
        self._dedupe = dedupe(scenario, path)

    def perform(self, writer: str, number: int) -> object:
        result = self._dedupe.check_and_record(f"{writer}:{number}", namespace=NAMESPACE)
        if not (result.is_new and result.recorded):
            raise AssertionError(f"{writer}:{number} was answered {result}")
        return "new"


NAMESPACE = "state"


def dedupe(scenario: Scenario, path: Path) -> PersistentDedupe:
    """Its file is `state.json` beside."""
    options = DedupeOptions(
        ttl=86400, failure="closed", memory_max_size=0, file_max_entries=1_000_000, queue=scenario.queue()
    )
    return PersistentDedupe(path.parent, options)


def violations(scenario: Scenario, path: Path, record: Record) -> Iterator[str]:
    """What is wrong with the store after a round, in words."""
    yield from record.wrong
    try:
        yield from _of_the_document(scenario, path, record)
    except (ValueError, StoreWriterError) as error:
        yield f"the document at the end: {type(error).__name__}: {error}"


def _of_the_document(scenario: Scenario, path: Path, record: Record) -> Iterator[str]:
    if scenario.api == "commitments":
        yield from _of_commitments(path, record)
    elif scenario.api == "dedupe":
        yield from _of_dedupe(scenario, path, record)
    else:
        yield from _of_counting(json.loads(path.read_bytes()), record)


def _of_counting(state: dict[str, Any], record: Record) -> Iterator[str]:
    for writer, operations in record.by_writer().items():
        last = max((each.number for each in operations if each.outcome == "answered"), default=0)
        may_be_there = {each.number for each in operations if each.outcome in ("open", "uncertain")}
        found = state.get("writers", {}).get(writer, 0)
        if found != last and found not in may_be_there:
            yield f"{writer}: update {last} was answered, and the store has {found}"
    yield from _order(record.answered())


def _order(answered: list[Operation]) -> Iterator[str]:
    """The answers are places in one order, which must agree with time: linearizability of a counter."""
    places = Counter(int(each.result) for each in answered)
    for place, count in places.items():
        if count > 1:
            yield f"place {place} was given to {count} updates"
    ended = sorted(answered, key=lambda each: each.returned or 0)
    began = sorted(answered, key=lambda each: each.called)
    highest, seen = 0, 0
    for operation in began:
        while seen < len(ended) and (ended[seen].returned or 0) < operation.called:
            highest = max(highest, int(ended[seen].result))
            seen += 1
        if int(operation.result) <= highest:
            yield f"{operation.writer} got place {operation.result} after place {highest} had been answered"


def _of_commitments(path: Path, record: Record) -> Iterator[str]:
    stored = {entry["id"]: entry for entry in json.loads(path.read_bytes())["commitments"]}
    keys = Counter(entry["dedupeKey"] for entry in stored.values())
    for key, count in keys.items():
        if count > 1:
            yield f"{key} is there {count} times"
    asked = {f"{each.writer}:{each.number}" for each in record.operations}
    for key in keys.keys() - asked:
        if key.startswith(NEXT):
            continue
        yield f"{key} is there, and was never asked for"
    for operation in record.answered():
        identity, status = operation.result.split()
        found = stored.get(identity, {}).get("status")
        if found != status:
            yield f"{operation.writer}:{operation.number} was answered {status}, and the store has {found}"


def _of_dedupe(scenario: Scenario, path: Path, record: Record) -> Iterator[str]:
    found = {entry.key for entry in dedupe(scenario, path).entries(NAMESPACE)}
    asked = {f"{each.writer}:{each.number}" for each in record.operations}
    for key in found - asked:
        if key.startswith(NEXT):
            continue
        yield f"{key} is there, and was never asked for"
    for operation in record.answered():
        if f"{operation.writer}:{operation.number}" not in found:
            yield f"{operation.writer}:{operation.number} was recorded, and is not there"


def next_one_in(scenario: Scenario, path: Path) -> None:
    """An update by this process: the next writer gets its turn, without help."""
    if scenario.api == "commitments":
        OfCommitments(scenario, path).perform(NEXT, time.monotonic_ns())
    elif scenario.api == "dedupe":
        OfDedupe(scenario, path).perform(NEXT, time.monotonic_ns())
    else:
        store: Store[dict[str, Any]] = Store(path, queue=scenario.queue())
        store.update(lambda state: state.update(place=state.get("place", 0) + 1))
