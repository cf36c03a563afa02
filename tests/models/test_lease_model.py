"""The models of `marker` and `lease`: sound as they are, and unsound with each step left out."""

from __future__ import annotations

import pytest
from explorer import explore
from lease_model import Defect, LeaseModel


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("is_lease", [True, False], ids=["lease", "marker"])
def test_no_commit_is_overwritten_unseen_and_no_marker_of_another_is_removed(is_lease: bool, count: int) -> None:
    explored = explore(LeaseModel(count, is_lease))
    assert explored.violation is None, explored.trace


@pytest.mark.parametrize(
    ("defect", "is_lease"),
    [
        ("commit without guard", True),
        ("no look under guard", True),
        ("release without guard", True),
        ("no check", True),
        ("no sidecar lock", False),
    ],
)
def test_each_planted_defect_is_found(defect: Defect, is_lease: bool) -> None:
    explored = explore(LeaseModel(3, is_lease, defect))
    assert explored.violation not in (None, "deadlock")
