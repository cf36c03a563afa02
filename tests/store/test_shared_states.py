"""`isolation="shared"`: the functions of one batch go on with one state object, by their callers' word."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.companies import TOGETHER, Company
from storewriter import PerStoreWriterQueue, Store
from storewriter._commits.draft import Draft


@pytest.fixture(params=TOGETHER)
def company(request: pytest.FixtureRequest, queue: PerStoreWriterQueue, path: Path) -> Company:
    return Company(str(request.param), queue, path, isolation="shared")


def mark(name: str, seen: list[Any] | None = None) -> Callable[[dict[str, Any]], str]:
    def fn(state: dict[str, Any]) -> str:
        if seen is not None:
            seen.append(state)
        state[name] = state.get(name, 0) + 1
        return name

    return fn


def fail_after(name: str) -> Callable[[dict[str, Any]], None]:
    def fn(state: dict[str, Any]) -> None:
        state[name] = 1
        raise ZeroDivisionError

    return fn


def spoil(state: dict[str, Any]) -> None:
    state["spoilt"] = object()


def test_the_functions_of_a_batch_get_one_object(company: Company) -> None:
    seen: list[Any] = []
    assert company.apply(mark("a", seen), mark("b", seen), mark("c", seen)) == ["a", "b", "c"]
    assert seen[0] is seen[1] is seen[2]
    assert company.store.read() == {"a": 1, "b": 1, "c": 1}


def test_the_next_batch_gets_another_one(company: Company) -> None:
    seen: list[Any] = []
    company.apply(mark("a", seen))
    company.apply(mark("b", seen))
    assert seen[0] is not seen[1]
    assert seen[0] == {"a": 1}


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("bad", [fail_after("failed"), spoil])
def test_one_that_fails_fails_alone(place: int, bad: Callable[[Any], Any], company: Company) -> None:
    """Those before it are applied a second time, each to a state of its own; its neighbours' results are the last ones."""
    changes: list[Callable[[Any], Any]] = [mark("a"), mark("b")]
    changes.insert(place, bad)
    outcomes = company.apply(*changes)
    assert isinstance(outcomes.pop(place), ZeroDivisionError if bad is not spoil else ValueError)
    assert outcomes == ["a", "b"]
    assert company.store.read() == {"a": 1, "b": 1}


def test_all_that_fail_fail_and_the_others_do_not(company: Company) -> None:
    outcomes = company.apply(spoil, mark("a"), fail_after("x"), mark("b"), spoil, mark("c"))
    assert [isinstance(outcome, Exception) for outcome in outcomes] == [True, False, True, False, True, False]
    assert company.store.read() == {"a": 1, "b": 1, "c": 1}


def test_the_price_a_kept_piece_is_a_neighbours_too(company: Company, path: Path) -> None:
    """Documented: what a function keeps or puts in is shared with the rest of its batch, and with that only."""
    mine: list[str] = []
    company.apply(lambda state: state.update(mine=mine), lambda state: state["mine"].append("neighbour"))
    assert mine == ["neighbour"]
    mine.append("outside")
    company.apply(mark("a"))
    assert company.store.read() == {"mine": ["neighbour"], "a": 1}


def test_what_transform_gets_and_returns_is_its_callers_own(queue: PerStoreWriterQueue, path: Path) -> None:
    """Before it and behind it, updates share a state; it has none of them."""
    from helpers.lines import held, lined_up

    store: Store[Any] = Store(path, queue=queue, isolation="shared")
    seen: list[Any] = []

    def transformed(state: dict[str, Any]) -> dict[str, Any]:
        seen.append(state)
        return {**state, "t": 1, "list": []}

    with held(queue, path) as holding:
        workers = lined_up(
            queue,
            path,
            lambda: store.update(mark("a", seen)),
            lambda: store.transform(transformed),
            lambda: store.update(lambda state: (seen.append(state), state["list"].append(1), mark("b")(state))[-1]),
        )
        holding.release()
        results = [worker.result() for worker in workers]
    assert len({id(state) for state in seen}) == 3
    assert results[1] == {"a": 1, "t": 1, "list": []}
    results[1]["list"].append("outside")
    store.update(mark("c"))
    assert store.read() == {"a": 1, "t": 1, "list": [1], "b": 1, "c": 1}


def test_an_expectation_is_judged_alone(queue: PerStoreWriterQueue, path: Path) -> None:
    store: Store[Any] = Store(path, queue=queue, isolation="shared")
    _, version = store.read_versioned()
    assert store.update(mark("a"), expect=version) == "a"
    assert store.read() == {"a": 1}


def test_stores_with_different_words_do_not_share_a_batch(queue: PerStoreWriterQueue, path: Path) -> None:
    """One caller's word does not count for another one's functions."""
    from helpers.lines import held, lined_up

    shared: Store[Any] = Store(path, queue=queue, isolation="shared")
    own: Store[Any] = Store(path, queue=queue)
    seen: list[Any] = []
    with held(queue, path) as holding:
        workers = lined_up(
            queue, path, lambda: shared.update(mark("a", seen)), lambda: own.update(mark("b", seen)),
            lambda: shared.update(mark("c", seen)),
        )  # fmt: skip
        holding.release()
        for worker in workers:
            worker.result()
    assert len({id(state) for state in seen}) == 3
    assert own.read() == {"a": 1, "b": 1, "c": 1}


@pytest.mark.parametrize("isolation", ["none", "", None, True])
def test_another_word_is_refused(isolation: Any, path: Path) -> None:
    with pytest.raises(ValueError, match="isolation"):
        Store(path, isolation=isolation)


@pytest.mark.parametrize("behind", [[], ["c"]])
def test_what_a_function_left_half_done_is_not_saved_although_starting_over_is_interrupted(
    behind: list[str], company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the error of a signal handler, right behind that of the function."""

    class Stopped(Exception):
        pass

    start_over = Draft._start_over
    interrupted: list[bool] = []

    def interrupted_once(draft: Draft, shared: Any) -> Any:
        if not interrupted:
            interrupted.append(True)
            raise Stopped
        return start_over(draft, shared)

    monkeypatch.setattr(Draft, "_start_over", interrupted_once)
    first, failed, *others = company.apply(mark("a"), fail_after("half"), *map(mark, behind))
    assert [first, *others] == ["a", *behind]
    assert isinstance(failed, (Stopped, ZeroDivisionError))
    assert company.store.read() == dict.fromkeys(["a", *behind], 1)
