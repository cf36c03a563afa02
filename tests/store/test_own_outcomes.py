"""Each caller of a batch gets what its own function did, whatever its neighbours' functions do."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
from test_group_commit import batches, tasks_together, together

from helpers.companies import TOGETHER, Company
from helpers.lines import Worker
from storewriter import AsyncStore, PerStoreWriterQueue, Store
from storewriter._commits import batch
from storewriter.codecs import DecodeError, FunctionCodec, JsonCodec
from storewriter.testing import Call, Fault, intercepted

plain = JsonCodec(shape=dict)


def outcome(worker: Worker) -> Any:
    worker.wait()
    return worker.error if worker.error is not None else worker.result()


def count(state: dict[str, Any]) -> int:
    state["n"] = state.get("n", 0) + 1
    return int(state["n"])


def _decode_with_must(data: bytes) -> Any:
    state = plain.decode(data)
    if "must" not in state:
        raise DecodeError("no 'must'")
    return state


def test_a_document_that_could_not_be_read_back_fails_the_function_that_made_it(
    queue: PerStoreWriterQueue, path: Path
) -> None:
    codec = FunctionCodec(plain.encode, _decode_with_must)
    store = Store(path, default=lambda: {"must": 1}, codec=codec, queue=queue)

    def fail(state: dict[str, Any]) -> None:
        raise ZeroDivisionError

    calls = [count, lambda state: state.pop("must"), fail, count]
    first, culprit, failed, last = together(queue, path, *(lambda fn=fn: store.update(fn) for fn in calls))
    assert (outcome(first), outcome(last)) == (1, 2)
    assert isinstance(outcome(culprit), DecodeError)
    assert isinstance(outcome(failed), ZeroDivisionError)
    assert store.read() == {"must": 1, "n": 2}


def test_no_function_is_repeated_because_of_a_neighbour(queue: PerStoreWriterQueue, path: Path) -> None:
    store = Store(path, queue=queue)
    runs: list[str] = []

    def fails(state: dict[str, Any]) -> None:
        runs.append("fails")
        raise ArithmeticError

    def leaves_nonsense(state: dict[str, Any]) -> None:
        runs.append("leaves nonsense")
        state["bad"] = {1, 2}

    def counts(state: dict[str, Any]) -> int:
        runs.append("counts")
        return count(state)

    calls = [counts, fails, counts, leaves_nonsense, counts]
    workers = together(queue, path, *(lambda fn=fn: store.update(fn) for fn in calls))
    assert [outcome(workers[place]) for place in (0, 2, 4)] == [1, 2, 3]
    assert isinstance(outcome(workers[1]), ArithmeticError)
    assert isinstance(outcome(workers[3]), ValueError)
    assert runs == ["counts", "fails", "counts", "leaves nonsense", "counts"]
    assert store.read() == {"n": 3}


def test_an_interrupt_that_a_function_of_another_thread_raises_hits_its_own_caller(
    queue: PerStoreWriterQueue, path: Path
) -> None:
    store = Store(path, queue=queue)

    def interrupt(state: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    first, culprit, last = together(queue, path, *(lambda fn=fn: store.update(fn) for fn in (count, interrupt, count)))
    assert (outcome(first), outcome(last)) == (1, 2)
    assert isinstance(outcome(culprit), KeyboardInterrupt)


def test_when_the_time_of_a_batch_is_over_the_next_in_line_is_in_the_next_one(
    queue: PerStoreWriterQueue, path: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "APPLY_SECONDS", -1.0)

    async def main() -> None:
        store = AsyncStore[Any](path, queue=queue)
        with batches() as seen:
            outcomes = await tasks_together(queue, path, *(lambda: store.update(count) for _ in range(5)))
        assert outcomes == [1, 2, 3, 4, 5]
        assert [batch.size for batch in seen] == [1] * 5

    run(main)
    store = Store(path, queue=queue)
    with batches() as seen:
        workers = together(queue, path, *(lambda: store.update(count) for _ in range(5)))
    assert [outcome(worker) for worker in workers] == [6, 7, 8, 9, 10]
    assert [batch.size for batch in seen] == [1] * 5


def _yields(state: dict[str, Any]) -> Any:
    state["never"] = True
    yield


async def _yields_too(state: dict[str, Any]) -> Any:
    state["never"] = True
    yield


@pytest.mark.parametrize("fn", [_yields, _yields_too])
def test_a_generator_function_is_refused_because_nothing_of_it_would_be_done(path: Path, run: Any, fn: Any) -> None:
    with pytest.raises(TypeError, match="generator"):
        Store(path).update(fn)

    async def main() -> None:
        with pytest.raises(TypeError, match="generator"):
            await AsyncStore(path).update(fn)

    run(main)
    assert not path.exists()


class Taken(Exception):
    """There is one already."""


def claim(state: dict[str, Any]) -> str:
    if "key" in state:
        raise Taken
    state["key"] = 1
    return "claimed"


@pytest.mark.parametrize("kind", TOGETHER)
@pytest.mark.parametrize("isolation", ["own", "shared"])
def test_none_is_refused_because_of_what_was_not_saved(
    isolation: Any, kind: str, queue: PerStoreWriterQueue, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "APPLY_SECONDS", 60.0)
    path.write_text("{}")
    fault = Fault(OSError(errno.ENOSPC, "no space left"), name="write")
    company = Company(kind, queue, path, isolation=isolation, system=intercepted(fault))
    outcomes = company.apply(claim, claim, claim)
    assert [getattr(outcome, "errno", outcome) for outcome in outcomes] == [errno.ENOSPC] * 3
    assert isinstance(outcomes[1].__context__, Taken)
    assert company.store.read() == {}


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_interrupt_in_a_function_stays_its_callers_although_the_save_fails(
    queue: PerStoreWriterQueue, path: Path, place: int
) -> None:
    """It does not come from what the function has seen of the others, and gives way to no other error."""

    def interrupt(state: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    path.write_text("{}")
    fault = Fault(OSError(errno.ENOSPC, "no space left"), name="write")
    store = Store(path, queue=queue, system=intercepted(fault))
    calls = [count, count]
    calls.insert(place, interrupt)  # type: ignore[arg-type]
    outcomes = [outcome(worker) for worker in together(queue, path, *(lambda fn=fn: store.update(fn) for fn in calls))]
    assert isinstance(outcomes.pop(place), KeyboardInterrupt)
    assert [error.errno for error in outcomes] == [errno.ENOSPC] * 2


@pytest.mark.parametrize("kind", TOGETHER)
def test_one_that_was_refused_begins_anew_with_its_batch(
    kind: str, queue: PerStoreWriterQueue, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program without the lock has written the document, and on that one the neighbour does nothing."""
    monkeypatch.setattr(batch, "APPLY_SECONDS", 60.0)
    path.write_text("{}")
    strangers = ['{"stranger":1}']

    def around(call: Call, proceed: Any) -> Any:
        if call.name == "write" and strangers:
            path.write_text(strangers.pop())
        return proceed()

    def claim_unless_a_stranger_was_there(state: dict[str, Any]) -> str:
        return "nothing" if "stranger" in state else claim(state)

    company = Company(kind, queue, path, system=intercepted(around))
    assert company.apply(claim_unless_a_stranger_was_there, claim) == ["nothing", "claimed"]
    assert company.store.read() == {"stranger": 1, "key": 1}
