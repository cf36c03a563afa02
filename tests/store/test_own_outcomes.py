"""Each caller of a batch gets what its own function did, whatever its neighbours' functions do."""

from __future__ import annotations

import functools
import types
from pathlib import Path
from typing import Any

import attrs
import pytest
from test_group_commit import batches, tasks_together, together

from helpers.lines import Worker
from storewriter import AsyncStore, PerStoreWriterQueue, Store, _group_commit
from storewriter._reach import may_share
from storewriter.codecs import DecodeError, FunctionCodec, JsonCodec

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


def _fails_when_repeated(kind: type[BaseException]) -> Any:
    runs = 0

    def fn(state: dict[str, Any]) -> None:
        nonlocal runs
        runs += 1
        if runs > 1:
            raise kind
        state["twice"] = True

    return fn


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, ZeroDivisionError])
def test_whatever_a_function_raises_when_it_is_repeated_is_its_own_callers(
    queue: PerStoreWriterQueue, path: Path, kind: type[BaseException]
) -> None:
    store = Store(path, queue=queue)

    def fail(state: dict[str, Any]) -> None:
        raise ArithmeticError

    calls = [count, _fails_when_repeated(kind), fail, count]
    first, culprit, failed, last = together(queue, path, *(lambda fn=fn: store.update(fn) for fn in calls))
    assert (outcome(first), outcome(last)) == (1, 2)
    assert type(outcome(culprit)) is kind
    assert isinstance(outcome(failed), ArithmeticError)
    assert store.read() == {"n": 2}


def test_an_interrupt_that_a_function_of_another_thread_raises_hits_its_own_caller(
    queue: PerStoreWriterQueue, path: Path
) -> None:
    store = Store(path, queue=queue)

    def interrupt(state: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    first, culprit, last = together(queue, path, *(lambda fn=fn: store.update(fn) for fn in (count, interrupt, count)))
    assert (outcome(first), outcome(last)) == (1, 2)
    assert isinstance(outcome(culprit), KeyboardInterrupt)


def test_one_unencodable_state_among_many_costs_few_decodings(
    queue: PerStoreWriterQueue, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_group_commit, "APPLY_SECONDS", 60.0)
    store = Store(path, queue=queue)
    calls = [count] * 40
    calls[25] = lambda state: state.update(bad={1, 2})  # type: ignore[assignment,return-value,list-item]
    decoded: list[bytes] = []
    real_decode = JsonCodec.decode
    monkeypatch.setattr(JsonCodec, "decode", lambda codec, data: decoded.append(data) or real_decode(codec, data))
    workers = together(queue, path, *(lambda fn=fn: store.update(fn) for fn in calls))
    assert [outcome(worker) for worker in workers[:25] + workers[26:]] == list(range(1, 40))
    assert isinstance(outcome(workers[25]), ValueError)
    assert len(decoded) < 20


def test_those_for_whom_the_time_is_too_short_are_in_the_next_batch_in_order(
    queue: PerStoreWriterQueue, path: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search for a culprit ends with the time of the batch, too."""
    monkeypatch.setattr(_group_commit, "APPLY_SECONDS", -1.0)
    real_apply = _group_commit.Batch.apply

    def apply(batch: Any, requests: Any) -> None:
        monkeypatch.setattr(_group_commit, "APPLY_SECONDS", 60.0)
        real_apply(batch, requests)
        batch._until = -1.0

    monkeypatch.setattr(_group_commit.Batch, "apply", apply)

    async def main() -> None:
        store = AsyncStore[Any](path, queue=queue)
        bad = lambda state: state.update(bad={1, 2})  # noqa: E731
        calls = [count, count, count, bad, count, count, count, count]
        with batches() as seen:
            outcomes = await tasks_together(queue, path, *(lambda fn=fn: store.update(fn) for fn in calls))
        assert outcomes[:3] + outcomes[4:] == list(range(1, 8))
        assert isinstance(outcomes[3], ValueError)
        assert len(seen) > 1
        assert sum(batch.size for batch in seen) == len(calls)

    run(main)


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


# What a function may reach (`_reach.py`)

DEFAULTS: list[str] = []
LIMIT = 3


def _with_module_default(state: Any, tags: list[str] = DEFAULTS) -> None:
    state["tags"] = tags


def _helped(state: Any) -> None:
    _with_module_default(state)


def _imports(state: Any) -> None:
    import test_own_outcomes

    state["tags"] = test_own_outcomes.DEFAULTS


def _decorated(fn: Any) -> Any:
    @functools.wraps(fn)
    def wrapper(state: Any) -> Any:
        return fn(state)

    return wrapper


def _hidden_in_an_attribute(state: Any) -> None:
    state["tags"] = _hidden_in_an_attribute.tags  # type: ignore[attr-defined]


def _with_keyword_default(state: dict[str, Any], *, tags: list[str] = []) -> None:  # noqa: B006 - the point of the test
    state["tags"] = tags


class _Text(str):
    """A text with something mutable about it."""

    def __init__(self, text: str) -> None:
        self.tags: list[str] = []


TEXT = _Text("text")

_hidden_in_an_attribute.tags = []  # type: ignore[attr-defined]
module = types.ModuleType("settings")
module.TAGS = []  # type: ignore[attr-defined]
module.LIMIT = 3  # type: ignore[attr-defined]


def _put(state: Any, mine: Any) -> None:
    state["mine"] = mine


def _closing_over(value: Any) -> Any:
    return lambda state: _put(state, value)


def _closing_over_a_function(fn: Any) -> Any:
    return lambda state: fn(state)


@attrs.define
class _Service:
    items: list[int] = attrs.Factory(list)

    def put(self, state: Any) -> None:
        state["items"] = self.items


@pytest.mark.parametrize(
    "fn",
    [
        _with_module_default,
        _with_keyword_default,
        _helped,
        _imports,
        _decorated(count),  # `functools.wraps` leaves the function in an attribute
        _hidden_in_an_attribute,
        _closing_over([]),
        _closing_over(({"a": 1},)),
        _closing_over_a_function(_helped),
        _closing_over_a_function([].append),
        _closing_over_a_function(functools.partial(_put, mine=[])),
        _Service().put,
        lambda state: module.TAGS.append(1),
        lambda state: _Service().put(state),
        lambda state: state.update(tags=TEXT.tags),
        lambda state: globals()["DEFAULTS"],
    ],
)
def test_what_may_reach_something_mutable_may_share_it(fn: Any) -> None:
    assert may_share(fn, None)
    assert may_share(fn, None), "now that its code is known, too"


@pytest.mark.parametrize(
    "fn",
    [
        count,
        lambda state: state.update(n=min(LIMIT, len(state))),
        lambda state: count(state),
        lambda state: state.update(n=module.LIMIT),
        _closing_over((1, "a", (None, 2.0))),
        _closing_over_a_function(count),
        _closing_over_a_function(len),
    ],
)
def test_what_reaches_only_what_cannot_change_shares_nothing(fn: Any) -> None:
    assert not may_share(fn, None)
    assert not may_share(fn, None), "now that its code is known, too"
    assert may_share(fn, [])
