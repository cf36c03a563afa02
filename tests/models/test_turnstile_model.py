"""The model of the turnstile: sound as it is, and unsound with each rule left out."""

from __future__ import annotations

import pytest
from explorer import explore
from turnstile_model import Defect, TurnstileModel


@pytest.mark.parametrize("count", [2, 3])
def test_one_holder_and_no_deadlock_whichever_process_is_stopped_or_killed(count: int) -> None:
    explored = explore(TurnstileModel(count))
    assert explored.violation is None, explored.trace


@pytest.mark.parametrize(("count", "bound"), [(2, 2), (3, 3)])
def test_a_waiter_is_overtaken_a_bounded_number_of_times(count: int, bound: int) -> None:
    """By those before it at the gate, and by one that has tested the gate before it came."""
    explored = explore(TurnstileModel(count, bound, may_stop=False))
    assert explored.violation is None, explored.trace


@pytest.mark.parametrize("defect", ["no bypass", "gate not tested", "gate left before the lock", "kept without a look"])
def test_each_planted_defect_is_found(defect: Defect) -> None:
    bounded = explore(TurnstileModel(3, 3, may_stop=False, defect=defect))
    stopped = explore(TurnstileModel(3, defect=defect))
    assert bounded.violation or stopped.violation
