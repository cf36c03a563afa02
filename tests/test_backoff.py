"""`Backoff`: delays within bounds, never past the deadline, ended by `retries`."""

from __future__ import annotations

import itertools
import math
import pickle
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storewriter import Backoff, LockTimeout, PerStoreWriterQueue
from storewriter._platform.owner import Owner

seconds = st.floats(1e-6, 1e3)


@st.composite
def backoffs(draw: st.DrawFn, **fixed: Any) -> Backoff:
    minimum, maximum = sorted([draw(seconds), draw(seconds)])
    return Backoff(
        **{
            "minimum": minimum,
            "maximum": maximum,
            "factor": draw(st.floats(1.0, 1e12)),
            "retries": draw(st.integers(0, 200)),
            "jitter": draw(st.sampled_from(["none", "full", "proportional"])),
            "seed": draw(st.integers(0, 1000)),
            **fixed,
        }
    )


@given(backoffs())
def test_every_delay_is_between_minimum_and_maximum_and_there_are_as_many_as_retries(backoff: Backoff) -> None:
    delays = list(backoff.delays())
    assert len(delays) == backoff.retries
    slack = 1 + 1e-12
    assert all(backoff.minimum / slack <= delay <= backoff.maximum * slack for delay in delays)


@given(backoffs(jitter="none"))
def test_without_jitter_delays_never_shrink_and_follow_the_formula(backoff: Backoff) -> None:
    delays = list(backoff.delays())
    assert delays == sorted(delays)
    for place, delay in enumerate(delays):
        logarithm = math.log(backoff.minimum) + place * math.log(backoff.factor)
        expected = backoff.maximum if logarithm >= math.log(backoff.maximum) else math.exp(logarithm)
        assert delay == pytest.approx(expected, rel=1e-6)


@given(backoffs(retries=None), st.floats(0.0, 50.0), st.lists(st.floats(0.0, 0.5), max_size=5))
def test_no_sleep_ends_after_the_deadline(backoff: Backoff, patience: float, work: list[float]) -> None:
    """The caller sleeps each delay, and does some work between them: the clock says when it is over."""
    now = 100.0
    deadline = now + patience
    working = itertools.chain(work, itertools.repeat(0.0))
    for delay in itertools.islice(backoff.delays(deadline, clock=lambda: now), 1000):
        assert now < deadline
        assert now + delay <= deadline + 1e-9
        now += delay
        now += next(working)


@given(backoffs())
def test_the_same_seed_gives_the_same_delays(backoff: Backoff) -> None:
    assert list(backoff.delays()) == list(pickle.loads(pickle.dumps(backoff)).delays())


def test_the_reference_policy_waits_for_as_long_as_the_original_does() -> None:
    bare = attrs.evolve(Backoff.reference(), jitter="none")
    assert [round(delay * 1000) for delay in bare.delays()] == [8, 11, 15, 20, 27, 36]
    totals = [sum(Backoff.reference(seed=seed).delays()) for seed in range(200)]
    assert min(totals) >= 0.116
    assert max(totals) <= 0.232


@pytest.mark.parametrize(
    "settings",
    [
        {"minimum": 0},
        {"minimum": -1},
        {"minimum": float("nan")},
        {"maximum": float("inf")},
        {"minimum": 2, "maximum": 1},
        {"factor": 0.9},
        {"factor": float("inf")},
        {"retries": -1},
        {"retries": 1.5},
        {"retries": True},
        {"jitter": "some"},
    ],
)
def test_what_makes_no_sense_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        Backoff(**settings)


def test_it_is_a_value() -> None:
    assert Backoff() == Backoff()
    assert hash(Backoff()) == hash(Backoff())
    with pytest.raises(AttributeError):
        Backoff().minimum = 1  # type: ignore[misc]


@attrs.frozen
class NeverFree:
    """A lock that another process holds for ever, and that no kernel wakes for."""

    asked: list[int] = attrs.field(factory=list, eq=False)
    name = "never"
    is_quick = True

    def attempt(self, path: str, label: str | None) -> None:
        self.asked.append(1)

    def owner(self, path: str) -> Owner | None:
        return None


def test_after_the_last_retry_the_wait_ends_deadline_or_not(path: Any, run: Any) -> None:
    backoff = Backoff(minimum=0.0001, maximum=0.0001, retries=4, jitter="none")

    async def main() -> None:
        lock = NeverFree()
        with pytest.raises(LockTimeout):
            async with PerStoreWriterQueue(lock=lock, backoff=backoff, timeout=None).turn(path):
                pass
        assert 5 <= len(lock.asked) <= 6  # the first is made before the line is waited in

    lock = NeverFree()
    with pytest.raises(LockTimeout), PerStoreWriterQueue(lock=lock, backoff=backoff, timeout=None).turn(path):
        pass
    assert 5 <= len(lock.asked) <= 6
    run(main)


def test_a_polled_lock_is_given_up_at_the_deadline(path: Any) -> None:
    queue = PerStoreWriterQueue(lock=NeverFree(), timeout=0.05)
    with pytest.raises(LockTimeout) as caught, queue.turn(path):
        pass
    assert caught.value.waited < 5
