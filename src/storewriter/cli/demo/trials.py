"""One trial, a run of them, and what they amount to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import attrs

Side = Literal["before", "after"]


@attrs.frozen(kw_only=True)
class Trial:
    """What two writers had acknowledged, and what is in the file afterwards."""

    first: str
    """What became of commitment A, in words."""
    second: str
    """What became of commitment B, in words."""
    acknowledged: int
    """Updates whose calls returned without an error."""
    lost: int
    """How many of those are not in the file."""


@attrs.frozen(kw_only=True)
class Run:
    """The trials of one setting on one side."""

    setting: str
    side: Side
    trials: tuple[Trial, ...]

    @property
    def losing(self) -> int:
        """Trials that lost at least one update."""
        return sum(1 for trial in self.trials if trial.lost)

    @property
    def verdict(self) -> str:
        """The run in one line."""
        count = len(self.trials)
        return f"{self.losing}/{count} trials lost a write ({count - self.losing}/{count} clean)"

    @property
    def acknowledged(self) -> int:
        """Updates that were acknowledged in all trials."""
        return sum(trial.acknowledged for trial in self.trials)

    @property
    def lost(self) -> int:
        """How many of those were lost."""
        return sum(trial.lost for trial in self.trials)

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "setting": self.setting,
            "side": self.side,
            "verdict": self.verdict,
            "trialsLost": self.losing,
            "trialsClean": len(self.trials) - self.losing,
            "updatesAcknowledged": self.acknowledged,
            "updatesLost": self.lost,
            "trials": [
                {
                    "trial": number,
                    "outcome": "LOSS" if trial.lost else "OK",
                    "A": trial.first,
                    "B": trial.second,
                    "acknowledged": trial.acknowledged,
                    "lost": trial.lost,
                }
                for number, trial in enumerate(self.trials, 1)
            ],
        }


def repeat(
    trial: Callable[[], Trial], times: int, seen: Callable[[int, Trial], None], *, setting: str, side: Side
) -> Run:
    """Run `trial` so many times, showing each to `seen` with its number."""
    trials: list[Trial] = []
    for number in range(1, times + 1):
        trials.append(trial())
        seen(number, trials[-1])
    return Run(setting=setting, side=side, trials=tuple(trials))
