"""A real change is told from noise; what cannot be told is said not to be."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import attrs
import pytest

pytest.importorskip("scipy")

from benchmarks.compare import blind, comparisons, judge, main
from made_up_runs import run_of

from storewriter.cli.bench.results import Measurement, Run, save

KEYS = ("S2 1K durable", "S3 1K durable", "S4 1K durable", "S6 1K durable")
OURS, BASE = "storewriter-flock", "filelock"


def run_with(speed: dict[str, float], *, seed: int, rounds: int = 10, mood: Sequence[float] | None = None) -> Run:
    """Ours is `speed` times as fast as usual in a scenario, give or take 5 %; the mood of a round moves all of it."""
    dice = random.Random(seed)
    moods = mood or [dice.uniform(0.5, 1.5) for _ in range(rounds)]

    def rates(usual: float) -> list[float]:
        return [usual * mood * dice.uniform(0.95, 1.05) for mood in moods]

    return run_of({key: {OURS: rates(1000 * speed.get(key, 1.0)), BASE: rates(100)} for key in KEYS})


def words(before: Run, after: Run, **options: bool) -> dict[str, str]:
    compared = list(comparisons(before, after, absolute=options.get("absolute", False)))
    return {verdict.comparison.scenario: verdict.word for verdict in judge(compared)}


def test_a_slower_scenario_is_found_among_others_whatever_the_mood_of_the_machine() -> None:
    before, after = run_with({}, seed=1), run_with({"S4 1K durable": 0.8}, seed=2)
    assert words(before, after) == {**dict.fromkeys(KEYS, "same"), "S4 1K durable": "worse"}
    assert words(after, before) == {**dict.fromkeys(KEYS, "same"), "S4 1K durable": "better"}


def test_two_runs_of_the_same_program_are_the_same() -> None:
    for seed in range(20):
        assert set(words(run_with({}, seed=seed), run_with({}, seed=100 + seed)).values()) == {"same"}


def test_a_mood_that_moves_everything_is_no_change_but_would_be_one_in_absolute_figures() -> None:
    fast, slow = run_with({}, seed=1, mood=[1.9] * 10), run_with({}, seed=2, mood=[1.0] * 10)
    assert set(words(fast, slow).values()) == {"same"}
    assert set(words(fast, slow, absolute=True).values()) == {"worse"}


def test_a_disk_that_hides_a_slowdown_does_not_hide_its_processor_time() -> None:
    dice = random.Random(3)

    def disturbed(cpu: float) -> Run:
        run = run_of({KEYS[0]: {name: [dice.uniform(100, 2000) for _ in range(10)] for name in (OURS, BASE)}})
        return attrs.evolve(
            run, measurements=[_with_cpu(each, cpu if each.contender == OURS else 1.0) for each in run.measurements]
        )

    verdicts = judge(list(comparisons(disturbed(1.0), disturbed(1.1))))
    assert {(each.comparison.metric, each.word) for each in verdicts} == {
        ("per_second", "same"),
        ("cpu_per_update", "worse"),
    }


def _with_cpu(measurement: Measurement, cpu: float) -> Measurement:
    """The same, but so much processor time for an update, give or take 1 %."""
    outcome = measurement.outcome
    assert outcome is not None
    metrics = {**outcome.metrics, "cpu_per_update": cpu * (1 + measurement.round % 3 / 100)}
    return attrs.evolve(measurement, outcome=attrs.evolve(outcome, metrics=metrics))


def test_a_scenario_that_the_table_no_longer_has_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_with({}, seed=1)
    old = [attrs.evolve(each, scenario="S99 gone") for each in run.measurements]
    save(attrs.evolve(run, measurements=[*run.measurements, *old]), tmp_path / "old.json")
    assert main([str(tmp_path / "old.json"), str(tmp_path / "old.json")]) == 0
    assert "S99" not in capsys.readouterr().out


def test_too_few_rounds_are_said_to_be_too_few() -> None:
    few = list(comparisons(run_with({}, seed=1, rounds=3), run_with({}, seed=2, rounds=3)))
    many = list(comparisons(run_with({}, seed=1), run_with({}, seed=2)))
    assert blind(few)
    assert not blind(many)


def test_the_exit_code_tells_whether_something_got_worse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(run_with({}, seed=1), tmp_path / "before.json")
    save(run_with({"S3 1K durable": 0.7}, seed=2), tmp_path / "after.json")
    files = str(tmp_path / "before.json"), str(tmp_path / "after.json")
    assert main(files) == 1
    assert "S3 1K durable" in capsys.readouterr().out
    assert main(files[::-1]) == 0


def test_counted_instructions_are_compared_without_a_test(tmp_path: Path) -> None:
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    for path, count in ((before, 1000.0), (after, 1030.0)):
        path.write_text(json.dumps({"format": "storewriter-instructions/1", "instructions": {"turn": count}}))
    assert main([str(before), str(after)]) == 1
    assert main([str(after), str(before)]) == 0
    assert main([str(before), str(before)]) == 0
