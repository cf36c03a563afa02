"""The engine counts what is true: losses, errors, dead processes; and goes on."""

from __future__ import annotations

import random
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import attrs
import bench_contenders
import pytest
from benchmarks.scenarios import SCENARIOS, suits

from storewriter.cli.bench import conduct as conducting
from storewriter.cli.bench import statistics
from storewriter.cli.bench.conduct import Setting, Step, conduct, plan
from storewriter.cli.bench.contender import Contender
from storewriter.cli.bench.machine import describe, file_system
from storewriter.cli.bench.results import Measurement, Outcome, Run, load, save
from storewriter.cli.bench.scenarios import Scenario
from storewriter.cli.bench.strategies import STRATEGIES

OURS = "storewriter.cli.bench.strategies:STRATEGIES"
MEASURES = "benchmarks.measures:MEASURES"
THEIRS = "bench_contenders:CONTENDERS"
LONG = 30.0
"""Seconds of a window that closes because every caller has made its calls, long before."""


def scenario(**changes: object) -> Scenario:
    """One caller, three updates."""
    plain = Scenario(family="S2", variant="test", measure="updates", limit=3)
    return attrs.evolve(plain, **changes)  # type: ignore[arg-type]


def measured(folder: Path, table: str, *steps: tuple[Scenario, Contender], seconds: float = LONG) -> list[Measurement]:
    planned = [Step(row, contender, 0, seconds) for row, contender in steps]
    return list(conduct(planned, Setting(table=table, measures=MEASURES, folder=folder)))


def outcome_of(measurement: Measurement) -> Outcome:
    assert measurement.failure is None
    assert measurement.outcome is not None
    return measurement.outcome


def test_an_update_is_counted_as_lost_whenever_two_callers_load_before_either_saves(tmp_path: Path) -> None:
    row = scenario(family="S4", threads=2, limit=5)
    [only] = measured(tmp_path, THEIRS, (row, bench_contenders.CONTENDERS["meeting"]))
    metrics = outcome_of(only).metrics
    assert metrics["acknowledged"] == 2 * (1 + 5)  # the warm-up counts, too
    assert metrics["lost"] == 6
    assert metrics["errors"] == 0


def test_nothing_is_lost_by_one_caller_of_the_same_code(tmp_path: Path) -> None:
    [only] = measured(tmp_path, THEIRS, (scenario(), bench_contenders.CONTENDERS["exact"]))
    metrics = outcome_of(only).metrics
    assert (metrics["acknowledged"], metrics["lost"], metrics["unacknowledged"]) == (4, 0, 0)


def test_errors_are_counted_and_do_not_name_the_folder(tmp_path: Path) -> None:
    [only] = measured(tmp_path, THEIRS, (scenario(), bench_contenders.CONTENDERS["refusing"]))
    outcome = outcome_of(only)
    assert outcome.metrics["errors"] == 1 + 3
    assert outcome.metrics["acknowledged"] == outcome.metrics["lost"] == 0
    assert outcome.remark == "TimeoutError: could not lock <folder>/state"


def test_a_document_that_cannot_be_read_at_the_end_has_lost_everything(tmp_path: Path) -> None:
    [only] = measured(tmp_path, THEIRS, (scenario(), bench_contenders.CONTENDERS["tearing"]))
    outcome = outcome_of(only)
    assert outcome.metrics["lost"] == outcome.metrics["acknowledged"] == 4
    assert outcome.remark is not None
    assert outcome.remark.startswith("unreadable at the end: JSONDecodeError")


def test_a_contender_that_takes_its_process_with_it_fails_and_the_next_one_runs(tmp_path: Path) -> None:
    contenders = bench_contenders.CONTENDERS
    dead, alive = measured(tmp_path, THEIRS, (scenario(), contenders["dying"]), (scenario(), contenders["exact"]))
    assert dead.outcome is None
    assert dead.failure == "MemberFailed: a member ended with exit code 3"
    assert outcome_of(alive).metrics["acknowledged"] == 4


def test_a_contender_that_hangs_is_ended_and_the_next_one_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conducting, "PATIENCE", 0.5)
    contenders = bench_contenders.CONTENDERS
    stuck, alive = measured(
        tmp_path, THEIRS, (scenario(), contenders["stuck"]), (scenario(), contenders["exact"]), seconds=4.0
    )
    assert stuck.failure == "did not finish within 4.5 s"
    assert outcome_of(alive).metrics["acknowledged"] == 4


def test_each_measurement_has_a_new_folder_and_removes_it(tmp_path: Path) -> None:
    measured(tmp_path, THEIRS, *[(scenario(), bench_contenders.CONTENDERS["exact"])] * 2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("callers", [{"tasks": 4}, {"threads": 3}, {"processes": 2, "tasks": 2}, {"processes": 3}])
def test_our_default_strategy_loses_nothing_and_every_caller_is_heard(tmp_path: Path, callers: dict[str, int]) -> None:
    row = scenario(**callers)
    [only] = measured(tmp_path, OURS, (row, STRATEGIES["storewriter-flock"]))
    outcome = outcome_of(only)
    assert outcome.metrics["lost"] == outcome.metrics["errors"] == outcome.metrics["unacknowledged"] == 0
    assert outcome.metrics["least"] == outcome.metrics["most"] == 3
    assert outcome.per_process == [3 * row.callers // row.processes] * row.processes
    assert sum(outcome.histogram.values()) == 3 * row.callers


def test_a_turn_without_contention_is_timed_in_both_faces(tmp_path: Path) -> None:
    rows = [scenario(family="S1", measure="turns"), scenario(family="S1", measure="async turns")]
    steps = [(row, STRATEGIES["storewriter-flock"]) for row in rows]
    for measurement in measured(tmp_path, OURS, *steps, seconds=0.02):
        metrics = outcome_of(measurement).metrics
        assert 0 < metrics["fastest"] <= metrics["mean"] < 0.1
        assert metrics["per_second"] == pytest.approx(1 / metrics["mean"])


def test_after_the_holder_was_killed_the_waiter_gets_in(tmp_path: Path) -> None:
    row = scenario(family="S7", measure="recovery")
    [only] = measured(tmp_path, OURS, (row, STRATEGIES["storewriter-flock"]))
    metrics = outcome_of(only).metrics
    assert metrics["never_in"] == 0
    assert 0 < metrics["recovery"] <= metrics["max"]


def test_a_timeline_holds_the_turns_of_every_process_and_no_two_overlap(tmp_path: Path) -> None:
    row = scenario(family="S10", measure="timeline", processes=3)
    [only] = measured(tmp_path, OURS, (row, STRATEGIES["storewriter-flock"]))
    holds = outcome_of(only).holds
    assert len(holds) == 3
    turns = sorted(turn for lane in holds for turn in lane)
    assert len(turns) >= 3
    assert all(before[1] <= after[0] for before, after in pairwise(turns))


@pytest.mark.parametrize("name", ["storewriter-flock", "storewriter-marker"])
def test_callers_on_a_loop_wait_while_another_process_holds_the_lock_and_are_all_answered(
    tmp_path: Path, name: str
) -> None:
    row = scenario(family="S11", measure="stall while held", tasks=2, limit=3)
    [only] = measured(tmp_path, OURS, (row, STRATEGIES[name]), seconds=0.6)
    metrics = outcome_of(only).metrics
    assert metrics["held"] == 0.3
    assert metrics["held"] <= metrics["max"], "the first call of each waits until the holder has let go"
    assert (metrics["acknowledged"], metrics["lost"], metrics["errors"]) == (1 + 2 * 3, 0, 0)
    assert 0 < metrics["loop_stall"] < metrics["held"], "the heartbeat went on meanwhile"


def test_idle_stores_are_touched_one_by_one_and_leave_nothing_open(tmp_path: Path) -> None:
    row = scenario(family="S8", measure="idle", stores=20)
    [only] = measured(tmp_path, OURS, (row, STRATEGIES["storewriter-flock"]))
    metrics = outcome_of(only).metrics
    assert metrics["stores"] == 20
    assert metrics["descriptors"] == metrics["threads"] == 0


def test_a_program_touches_the_same_stores_and_says_what_that_left(tmp_path: Path) -> None:
    row = scenario(family="S8", measure="idle", stores=40)
    [only] = measured(tmp_path, THEIRS, (row, bench_contenders.CONTENDERS["in-a-program"]))
    metrics = outcome_of(only).metrics
    assert (metrics["stores"], metrics["descriptors"], metrics["files_per_store"]) == (40, 7, 2)
    assert metrics["resident_per_store"] == 1000 / 40
    assert metrics["p50"] == 0.001


def test_what_was_begun_is_ended_before_its_folder_is_removed(tmp_path: Path) -> None:
    # It fills the folder for as long as it lives; nothing may be left of either.
    code = (
        "import os, signal, sys, threading\n"
        "from pathlib import Path\n"
        "import bench_contenders\n"
        "from storewriter.cli.bench.conduct import Setting, Step, conduct\n"
        "from storewriter.cli.bench.scenarios import Scenario\n"
        f"folder, row = Path({str(tmp_path)!r}), Scenario(family='S2', variant='test', measure='updates', processes=4)\n"
        "def interrupt():\n"
        "    while len(list(folder.glob('*/clutter-*'))) < 2000:\n"
        "        pass\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "threading.Thread(target=interrupt).start()\n"
        f"steps = [Step(row, bench_contenders.CONTENDERS['cluttering'], 0, {LONG})]\n"
        "try:\n"
        f"    list(conduct(steps, Setting(table={THEIRS!r}, measures={MEASURES!r}, folder=folder)))\n"
        "except KeyboardInterrupt:\n"
        "    sys.exit(130)\n"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (finished.returncode, finished.stderr) == (130, "")
    assert list(tmp_path.iterdir()) == []


def test_an_acknowledgement_without_a_write_is_a_lost_update(tmp_path: Path) -> None:
    [only] = measured(tmp_path, THEIRS, (scenario(processes=2), bench_contenders.CONTENDERS["lying"]))
    metrics = outcome_of(only).metrics
    assert metrics["lost"] == metrics["acknowledged"] == 2 * (1 + 3)


def test_a_plan_repeats_every_pair_in_every_round_and_in_changing_order() -> None:
    rows = [SCENARIOS["S2 1K durable"], SCENARIOS["S4 1K durable"]]
    steps = plan(rows, STRATEGIES.values(), rounds=6, seconds=lambda row: row.seconds, seed=1)
    rounds = [[step for step in steps if step.round == number] for number in range(6)]
    pairs = [{(step.scenario.key, step.contender.name) for step in each} for each in rounds]
    assert all(each == pairs[0] for each in pairs)
    assert {name for key, name in pairs[0] if key == "S2 1K durable"} == set(STRATEGIES)
    assert len({tuple(step.contender.name for step in each) for each in rounds}) > 1


def test_what_excludes_no_other_process_is_not_measured_against_any() -> None:
    within_one_process = STRATEGIES["storewriter-none"]
    crossed = [row.key for row in SCENARIOS.values() if row.processes > 1 and suits(within_one_process, row)]
    assert crossed == []
    assert not suits(within_one_process, SCENARIOS["S7 SIGKILL"])


def test_a_run_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    outcome = Outcome(
        metrics={"per_second": 12.5}, histogram={3: 4, -1: 1}, per_process=[2, 3], holds=[[(0.0, 0.5)], []], remark="r"
    )
    measurements = [
        Measurement(scenario="S2 1K durable", contender="a", round=0, outcome=outcome),
        Measurement(scenario="S2 1K durable", contender="b", round=1, outcome=None, failure="gone"),
    ]
    run = Run(machine={"cores": 2}, settings={"contenders": ["a", "b"]}, measurements=measurements)
    save(run, tmp_path / "run.json")
    again = load(tmp_path / "run.json")
    assert again.outcomes("S2 1K durable", "a")[0].histogram == outcome.histogram
    assert again.measurements[1] == measurements[1]
    assert again.values("S2 1K durable", "a", "per_second") == [12.5]


def test_a_file_that_is_no_run_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text('{"version": 1}')
    with pytest.raises(ValueError, match=r"other\.json is not a run"):
        load(other)


def test_the_machine_is_described_without_naming_it(tmp_path: Path) -> None:
    described = describe(tmp_path, ["filelock", "no-such-package"])
    assert set(described["packages"]) == {"filelock"}
    assert " (" in file_system(tmp_path)
    assert str(tmp_path) not in str(described)


def test_percentiles_fairness_and_bins() -> None:
    values = list(range(1, 101))
    random.Random(0).shuffle(values)
    ordered = sorted(values)
    assert [statistics.percentile(ordered, percent) for percent in (0, 50, 99, 100)] == [1, 50, 99, 100]
    assert statistics.jain([5, 5, 5, 5]) == 1.0
    assert statistics.jain([9, 0, 0]) == pytest.approx(1 / 3)
    assert statistics.jain([0, 0]) == 1.0
    bins = statistics.histogram([1_000, 1_000_000, 1_000_001])
    assert list(bins.values()) == [1, 2]
    assert [statistics.bin_start(index) for index in bins] == pytest.approx([1e-6, 1e-3])
