"""The model of the flush outside the lock: sound as it is, and unsound with each step left out or moved."""

from __future__ import annotations

from typing import get_args

import pytest
from commit_model import CommitModel, Defect
from explorer import explore

COMPANIES = {
    "two processes": CommitModel((0, 1)),
    "two threads of a process": CommitModel((0, 0)),
    "two threads and a process": CommitModel((0, 0, 1)),
    "one finds it said already": CommitModel((0, 1), idle=frozenset({0, 1})),
    "a process beside two that say the same": CommitModel((0, 1, 2), idle=frozenset({0, 1}), may_fail=False),
}


@pytest.mark.parametrize("model", COMPANIES.values(), ids=COMPANIES)
def test_nothing_answered_is_lost_wherever_the_power_fails(model: CommitModel) -> None:
    explored = explore(model)
    assert explored.violation is None, explored.trace


@pytest.mark.parametrize("defect", get_args(Defect))
def test_each_planted_defect_is_found(defect: Defect) -> None:
    found = [
        explore(CommitModel(model.processes, model.idle, defect)).violation for model in list(COMPANIES.values())[:4]
    ]
    assert any(found)
