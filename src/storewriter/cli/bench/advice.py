"""A recommendation in words: which strategy, and why.

How   What lost an update or refused one is out. Where kernel locks are not effective, so is `flock`. Then speed over
      all cases decides, and among strategies that are about as fast, the one that recovers soonest.
"""

from collections.abc import Mapping, Sequence

import attrs

from storewriter._platform.mounts import Trust
from storewriter.cli.bench.choices import ALONE, CASES, DURABILITIES, Figures, strategy_names, typical_ratio

AS_FAST = 1.1
"""Up to this ratio two strategies count as equally fast: windows this short cannot resolve more."""

_VIRTUES = {
    "flock": "the kernel releases the lock the moment its holder dies, and waiters queue in order",
    "marker": "it needs no kernel locks, and a holder that died on this machine is recognised and replaced",
    "lease": "it needs no kernel locks, works across hosts, and outlasts a holder that died or is stuck",
    ALONE: "it costs least, and excludes no other process: only right where a single process writes",
}


@attrs.frozen(kw_only=True)
class Advice:
    """Which strategy to use, and why."""

    lock: str | None
    """What to pass as `lock`; None if nothing measured can be recommended."""
    reasons: list[str]
    """Sentences."""

    @property
    def text(self) -> str:
        """All of it, as lines."""
        first = f"Use lock='{self.lock}'." if self.lock else "No strategy can be recommended here."
        return "\n".join([first, *(f"- {reason}" for reason in self.reasons)])


def advise(figures: Sequence[Figures], trust: Trust) -> Advice:
    """Judge the figures of strategies, measured where kernel locks are worth `trust`."""
    measured = [name for name in strategy_names() if any(each.strategy == name for each in figures)]
    sound = [name for name in measured if _is_sound([each for each in figures if each.strategy == name])]
    chosen = _chosen(figures, [name for name in sound if _excludes(name, trust)])
    reasons = [_fault(figures, name) for name in measured if name not in sound]
    reasons += [_unfit(name) for name in sound if name == "flock" and not _excludes(name, trust)]
    if chosen is None:
        return Advice(lock=None, reasons=reasons or ["Nothing was measured."])
    reasons = [*_praise(figures, chosen, sound), *reasons, *_limits(chosen, trust)]
    return Advice(lock=chosen, reasons=reasons)


def _is_sound(figures: Sequence[Figures]) -> bool:
    return all(each.is_sound for each in figures) and any(each.per_second for each in figures)


def _excludes(name: str, trust: Trust) -> bool:
    return name != "flock" or trust is not Trust.NONE


def _chosen(figures: Sequence[Figures], candidates: Sequence[str]) -> str | None:
    """The fastest; of those about as fast, the first in the table. 'none' only if there is no other."""
    serious = [name for name in candidates if name != ALONE] or candidates
    for name in serious:
        ratios = (typical_ratio(figures, other, name) for other in serious)
        if all(ratio is None or ratio <= AS_FAST for ratio in ratios):
            return name
    return next(iter(serious), None)


def _fault(figures: Sequence[Figures], name: str) -> str:
    bad = next((each for each in figures if each.strategy == name and not each.is_sound), None)
    if bad is None:
        return f"'{name}' made no update in time: try a longer --window."
    where = f"with {bad.case.callers} (durability '{bad.case.durability}')"
    if bad.lost:
        return f"'{name}' lost {bad.lost} acknowledged updates {where}: do not use it here."
    times = f"{bad.errors} times, at first with: " if bad.errors else ""
    return f"'{name}' failed {where}: {times}{bad.trouble}."


def _unfit(name: str) -> str:
    return f"'{name}' is out: kernel locks are not effective on this file system."


def _praise(figures: Sequence[Figures], chosen: str, sound: Sequence[str]) -> list[str]:
    rivals = [_comparison(figures, chosen, other) for other in sound if other not in (chosen, ALONE)]
    reasons = [f"Over all cases it makes {' and '.join(filter(None, rivals))}."] if any(rivals) else []
    reasons += _worst_wait(figures, chosen, sound)
    reasons.append(f"{_capitalised(_VIRTUES[chosen])}.")
    return [*reasons, *_price_of_durability(figures, chosen), *_price_of_others(figures, chosen, sound)]


def _comparison(figures: Sequence[Figures], one: str, other: str) -> str | None:
    ratio = typical_ratio(figures, one, other)
    return None if ratio is None else f"{_times(ratio)} the updates of '{other}'"


def _worst_wait(figures: Sequence[Figures], chosen: str, sound: Sequence[str]) -> list[str]:
    """The longest wait in the crowd, with either durability: one alone would be contradicted by the other's table."""
    found = [(durability, _crowd_waits(figures, durability, sound)) for durability in reversed(list(DURABILITIES))]
    waits = [_wait_text(durability, each, chosen) for durability, each in found if chosen in each]
    return [f"With {_CROWD} at once the longest wait was {', and '.join(waits)}."] if waits else []


_CROWD = "32 processes"


def _crowd_waits(figures: Sequence[Figures], durability: str, sound: Sequence[str]) -> dict[str, float]:
    return {
        each.strategy: each.worst
        for each in figures
        if each.strategy in sound
        and each.worst is not None
        and (each.case.callers, each.case.durability) == (_CROWD, durability)
    }


def _wait_text(durability: str, waits: Mapping[str, float], chosen: str) -> str:
    others = [f"'{name}' {_milliseconds(wait)}" for name, wait in waits.items() if name != chosen]
    beside = f" ({', '.join(others)})" if others else ""
    return f"{_milliseconds(waits[chosen])} with durability='{durability}'{beside}"


def _price_of_durability(figures: Sequence[Figures], chosen: str) -> list[str]:
    rates = {each.case: each.per_second for each in figures if each.strategy == chosen and each.per_second}
    prices = {
        case.callers: rates[case] / rates[attrs.evolve(case, durability="power")]
        for case in CASES.values()
        if case.durability == "process" and {case, attrs.evolve(case, durability="power")} <= rates.keys()
    }
    if not {"1 caller", "64 tasks"} <= prices.keys():
        return []
    if max(prices["1 caller"], prices["64 tasks"]) < AS_FAST:
        return ["durability='power' costs nothing that could be measured here."]
    one, many = _times(prices["1 caller"]), _times(prices["64 tasks"])
    return [f"durability='process' makes {one} the updates of 'power' with 1 caller, {many} with 64 tasks."]


def _price_of_others(figures: Sequence[Figures], chosen: str, sound: Sequence[str]) -> list[str]:
    if ALONE not in sound or chosen == ALONE:
        return []
    ratio = typical_ratio(figures, ALONE, chosen)
    if ratio is None:
        return []
    if ratio < AS_FAST:
        return [f"Where a single process writes, lock='{ALONE}' would gain nothing that could be measured."]
    return [f"Where a single process writes, lock='{ALONE}' makes {_times(ratio)} its updates."]


def _limits(chosen: str, trust: Trust) -> list[str]:
    if chosen in ("flock", "marker") and trust in (Trust.HOST_ONLY, Trust.NONE):
        return ["If several hosts write, use lock='lease': kernel locks may not exclude other hosts here."]
    return []


def _times(ratio: float) -> str:
    return f"{ratio:.2g} times" if ratio < 10 else f"{ratio:.0f} times"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.2g} s"


def _capitalised(text: str) -> str:
    return text[0].upper() + text[1:]
