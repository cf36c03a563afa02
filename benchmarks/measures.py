"""What only these benchmarks measure: turns alone, recovery after a kill, a lock held elsewhere, idle stores."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import attrs

from benchmarks.idle import measure_idle
from benchmarks.modes import HOLD, TIMELINE, WAIT
from storewriter.cli.bench import measures, team
from storewriter.cli.bench.contender import TakeAsyncTurn, TakeTurn, Target
from storewriter.cli.bench.measures import Task, measure_updates, summary, updated_together, verified
from storewriter.cli.bench.results import Outcome
from storewriter.cli.bench.statistics import histogram, percentile, wait_metrics

BATCH = 0.005
"""Seconds that one batch of turns lasts at least, so that reading the clock costs nothing worth measuring."""

KEPT = 1.0
"""Seconds of a timeline that are kept."""

KILLS = 5
"""How often a holder is killed in one measurement."""

RECOVERY_LIMIT = 12.0
"""Seconds after which a waiter counts as never getting in; above the 10 s of proper-lockfile's staleness."""

SLOW_RECOVERY = 5.0
"""Seconds above which one kill is enough."""


def _held_elsewhere(task: Task) -> Outcome:
    """Let callers on an event loop wait for a lock that another process holds through half of the window."""
    scenario, target, contender = task.scenario, task.target, task.contender
    contender.layout.create(target.path, scenario.size)
    loop = team.start(team.Job(contender=contender, target=target, tasks=scenario.tasks), team.UPDATES)
    loop.wait_until_ready()
    holder = team.start(team.Job(contender=contender, target=target), HOLD)
    holder.wait_until_ready()
    try:
        window = team.window_of(task.seconds, scenario.limit)
        loop.go(window)
        held = window.until_start + task.seconds / 2
        time.sleep(held)
        holder.go(window)
        sighting = team.reported(loop)
    finally:
        holder.kill()
    outcome = summary([sighting], task.seconds)
    outcome = attrs.evolve(outcome, metrics={**outcome.metrics, "held": task.seconds / 2})
    return verified(outcome, [sighting], contender, target.path)


# Which process had the turn when


def _timeline(task: Task) -> Outcome:
    outcome, sightings = updated_together(task, TIMELINE)
    return attrs.evolve(outcome, holds=_holds(sightings))


def _holds(sightings: Sequence[team.Sighting]) -> list[list[tuple[float, float]]]:
    origin = min((sighting.holds[0][0] for sighting in sightings if sighting.holds), default=0)

    def since(moment: int) -> float:
        return round((moment - origin) / 1e9, 6)

    return [
        [(since(entered), since(left)) for entered, left in sighting.holds if since(left) < KEPT]
        for sighting in sightings
        if sighting.holds
    ]


# Turns without anything in them


def _turns(task: Task) -> Outcome:
    assert task.contender.turns is not None
    turn = task.contender.turns(task.target.path)

    def batch(turns: int) -> int:
        return _timed_turns(turn, turns)

    return _turn_outcome(_batches(batch, task.seconds), [batch(1) for _ in range(_singles(task.seconds))])


def _timed_turns(turn: TakeTurn, turns: int) -> int:
    repeated = range(turns)
    began = time.perf_counter_ns()
    for _ in repeated:
        with turn():
            pass
    return time.perf_counter_ns() - began


@attrs.frozen
class _Batches:
    per_turn: list[float]
    """Nanoseconds of one turn, by batch."""
    cpu_per_turn: float


def _batches(batch: Callable[[int], int], seconds: float) -> _Batches:
    turns = 1
    while batch(turns) < BATCH * 1e9:  # the last of these is the warm-up
        turns *= 2
    stop, cpu, per_turn = time.monotonic() + seconds, time.process_time_ns(), list[float]()
    while time.monotonic() < stop or not per_turn:
        per_turn.append(batch(turns) / turns)
    return _Batches(per_turn, (time.process_time_ns() - cpu) / turns / len(per_turn))


def _singles(seconds: float) -> int:
    return max(100, round(seconds * 2_000))


def _turn_outcome(batches: _Batches, singles: Sequence[int]) -> Outcome:
    ordered = sorted(batches.per_turn)
    typical = percentile(ordered, 50)
    metrics = {
        "per_second": 1e9 / typical,
        "mean": typical / 1e9,
        "fastest": ordered[0] / 1e9,
        "cpu_per_update": batches.cpu_per_turn / 1e9,
        **wait_metrics(sorted(singles)),
    }
    return Outcome(metrics=metrics, histogram=histogram(singles))


def _async_turns(task: Task) -> Outcome:
    return asyncio.run(_measure_async_turns(task))


async def _measure_async_turns(task: Task) -> Outcome:
    assert task.contender.async_turns is not None
    turn = task.contender.async_turns(task.target.path)

    async def batch(turns: int) -> int:
        return await _timed_async_turns(turn, turns)

    batches = await _async_batches(batch, task.seconds)
    return _turn_outcome(batches, [await batch(1) for _ in range(_singles(task.seconds))])


async def _timed_async_turns(turn: TakeAsyncTurn, turns: int) -> int:
    repeated = range(turns)
    began = time.perf_counter_ns()
    for _ in repeated:
        async with turn():
            pass
    return time.perf_counter_ns() - began


async def _async_batches(batch: Callable[[int], Awaitable[int]], seconds: float) -> _Batches:
    turns = 1
    while await batch(turns) < BATCH * 1e9:
        turns *= 2
    stop, cpu, per_turn = time.monotonic() + seconds, time.process_time_ns(), list[float]()
    while time.monotonic() < stop or not per_turn:
        per_turn.append(await batch(turns) / turns)
    return _Batches(per_turn, (time.process_time_ns() - cpu) / turns / len(per_turn))


# Recovery


@attrs.frozen
class _Kill:
    recovery: float | None
    """Seconds from the kill until the waiter was in; None if it never was."""
    gave_up: int


def _recovery(task: Task) -> Outcome:
    dice = random.Random(task.seed)
    kills: list[_Kill] = []
    for number in range(KILLS):
        folder = task.folder / str(number)
        folder.mkdir(mode=0o700)  # some contenders refuse a folder that others may read
        kills.append(_kill_one(task, Target(folder / "state", task.scenario.durable), dice))
        if (kills[-1].recovery or RECOVERY_LIMIT) > SLOW_RECOVERY:
            break  # the next ones would not be faster
    return _recovery_outcome(kills)


def _kill_one(task: Task, target: Target, dice: random.Random) -> _Kill:
    task.contender.layout.create(target.path, task.scenario.size)
    job = team.Job(contender=task.contender, target=target)
    holder = team.start(job, HOLD)
    holder.wait_until_ready()
    waiter = team.start(job, WAIT)
    waiter.wait_until_ready()
    time.sleep(dice.uniform(0.1, 0.3))  # pollers are to be caught anywhere between two polls
    killed = holder.kill()
    sighting = waiter.sighting(RECOVERY_LIMIT)
    if sighting is None or sighting.entered is None:
        waiter.kill()
        return _Kill(None, 0)
    return _Kill((sighting.entered - killed) / 1e9, sighting.gave_up)


def _recovery_outcome(kills: Sequence[_Kill]) -> Outcome:
    recovered = sorted(kill.recovery for kill in kills if kill.recovery is not None)
    metrics: dict[str, float] = {
        "never_in": sum(kill.recovery is None for kill in kills),
        "gave_up": sum(kill.gave_up for kill in kills),
    }
    if recovered:
        metrics |= {"recovery": percentile(recovered, 50), "max": recovered[-1]}
    return Outcome(metrics=metrics, remark=None if recovered else f"not in after {RECOVERY_LIMIT:g} s")


MEASURES: Mapping[str, Callable[[Task], Outcome]] = {
    **measures.MEASURES,
    "turns": _turns,
    "async turns": _async_turns,
    "timeline": _timeline,
    "recovery": _recovery,
    "idle": lambda task: measure_idle(task.contender, task.scenario, task.folder),
    "stall": measure_updates,
    "stall while held": _held_elsewhere,
}
