"""`storewriter bench`: it measures every case, says what to use and why, and is honest about what failed."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import attrs
import pytest
from rich.console import Console

from storewriter import Store
from storewriter.__main__ import run
from storewriter._platform.mounts import Trust
from storewriter.cli.bench import answer, command
from storewriter.cli.bench.advice import advise
from storewriter.cli.bench.choices import CASES, DURABILITIES, Figures, in_order, steps_for
from storewriter.cli.bench.results import Measurement, Outcome

COMMAND = [sys.executable, "-m", "storewriter", "bench"]
CALLERS = ["1 caller", "64 tasks", "8 threads", "2 processes", "8 processes", "32 processes", "4 processes x 16 tasks"]
WITHIN_ONE_PROCESS = CALLERS[:3]
MACHINE = {"cores": 2, "system": "Linux 6.0", "python": "CPython 3.11"}


def made_up(**rates: float) -> list[Figures]:
    """Sound figures of strategies that make so many updates a second, for every caller; a tenth of it when durable."""
    return [
        Figures(
            case=case,
            strategy=name,
            per_second=rate / (10 if case.durability == "power" else 1),
            p50=1 / rate,
            p99=2 / rate,
            worst=(30 if case.durability == "power" else 3) / rate,
        )
        for name, rate in rates.items()
        for case in CASES.values()
        if name != "none" or case.callers in WITHIN_ONE_PROCESS
    ]


def spoiled(figures: list[Figures], strategy: str, **changes: Any) -> list[Figures]:
    """The same with one case of a strategy changed."""
    victim = next(each for each in figures if each.strategy == strategy and each.case.callers == "8 processes")
    return [attrs.evolve(each, **changes) if each is victim else each for each in figures]


# Run for real


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two strategies and the shortest windows amount to, for scripts."""
    folder = tmp_path_factory.mktemp("bench")
    done = subprocess.run(
        [*COMMAND, "--only", "flock", "--only", "none", "--window", "50ms", "--json", "--folder", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert list(folder.iterdir()) == [], "it cleans up after itself"
    return json.loads(done.stdout)


def test_every_case_is_measured_and_none_within_one_process_only(document: dict[str, Any]) -> None:
    measured = [(each["durability"], each["callers"], each["strategy"]) for each in document["measurements"]]

    assert measured == [
        (durability, callers, strategy)
        for durability in ("process", "power")
        for callers in CALLERS
        for strategy in ("flock", "none")
        if strategy != "none" or callers in WITHIN_ONE_PROCESS
    ]
    assert document["left_out"] == 0


def test_nothing_acknowledged_is_lost_and_waits_are_known(document: dict[str, Any]) -> None:
    # On a busy machine a window this short may be over before the first call.
    timed = [each for each in document["measurements"] if each["p50"] is not None]

    assert timed != []
    assert all(0 < each["p50"] <= each["p99"] <= each["worst"] for each in timed)
    assert all(0 < each["fairness"] <= 1 for each in document["measurements"])
    assert {(each["lost"], each["errors"], each["trouble"]) for each in document["measurements"]} == {(0, 0, None)}


def test_the_document_says_where_it_was_measured_and_what_to_use(document: dict[str, Any]) -> None:
    assert {"processor", "cores", "file_system", "python", "packages"} <= document["machine"].keys()
    assert document["window"] == 0.05
    assert document["recommendation"]["lock"] == "flock"
    assert any("the moment its holder dies" in reason for reason in document["recommendation"]["reasons"])


def test_an_interrupt_ends_with_130_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "--only", "flock", "--window", "60s", "--folder", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as bench:
        while not list(tmp_path.glob("*/bench-*/state")):
            assert bench.poll() is None
        bench.send_signal(signal.SIGINT)
        printed, errors = bench.communicate()

    assert (bench.returncode, printed, errors.strip()) == (130, "", "")
    assert list(tmp_path.iterdir()) == []


# With measurements made up


def conducted(monkeypatch: pytest.MonkeyPatch, outcomes: dict[str, Outcome | None]) -> None:
    """Let each strategy have one outcome, for every caller."""

    def conduct(steps: list[Any], _setting: object) -> Any:
        for step in steps:
            outcome = outcomes[step.contender.name.removeprefix("storewriter-")]
            failure = None if outcome else "OSError: no locks available"
            yield Measurement(
                scenario=step.scenario.key, contender=step.contender.name, round=0, outcome=outcome, failure=failure
            )

    monkeypatch.setattr(command, "conduct", conduct)


def outcome(rate: float, *, lost: int = 0) -> Outcome:
    waits = {"p50": 0.001, "p99": 0.002, "max": 0.0125}
    return Outcome(metrics={"per_second": rate, "jain": 1.0, "lost": lost, "errors": 0, **waits})


def test_the_tables_show_each_durability_and_the_recommendation_stands_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    conducted(monkeypatch, {"flock": outcome(1234), "marker": outcome(617)})

    code = run(["bench", "--only", "flock", "--only", "marker", "--folder", str(tmp_path)])

    printed = capsys.readouterr().out
    assert code == 0
    assert [f"durability='{each}'" in printed for each in DURABILITIES] == [True, True]
    assert printed.count("| flock  |     1,234 |   1.00 |   2.00 |    12.50 |") == len(CASES)
    assert "\x1b" not in printed
    _, _, advice = printed.partition("\nUse lock='flock'.\n")
    assert "- Over all cases it makes 2 times the updates of 'marker'.\n" in advice


def test_a_lost_update_ends_with_1_whatever_is_recommended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    conducted(monkeypatch, {"flock": outcome(1234, lost=3), "marker": outcome(617)})

    code = run(["bench", "--only", "flock", "--only", "marker", "--folder", str(tmp_path)])

    printed = capsys.readouterr().out
    assert code == 1
    assert "Use lock='marker'." in printed
    assert "'flock' lost 3 acknowledged updates" in printed


def test_a_strategy_that_fails_is_shown_as_failed_and_ends_with_1_if_it_is_the_only_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    conducted(monkeypatch, {"flock": None})

    code = run(["bench", "--only", "flock", "--folder", str(tmp_path)])

    printed = capsys.readouterr().out
    assert code == 1
    assert printed.count("| failed |") == len(CASES)
    assert "No strategy can be recommended here." in printed
    assert "OSError: no locks available" in printed


def test_what_there_is_no_time_for_is_left_out_and_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    conducted(monkeypatch, {"flock": outcome(1234)})
    monkeypatch.setattr(command, "BUDGET", -1.0)

    code = run(["bench", "--only", "flock", "--folder", str(tmp_path)])

    assert code == 0
    assert f"{len(CASES) - 1} measurements were left out" in capsys.readouterr().out


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_an_interrupt_shows_what_was_measured_until_then(
    form: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    conducted(monkeypatch, {"flock": outcome(1234), "marker": outcome(617)})
    whole = command.conduct

    def interrupted(steps: list[Any], setting: Any) -> Any:
        yield from islice(whole(steps, setting), 3)
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "conduct", interrupted)

    code = run(["bench", "--only", "flock", "--only", "marker", "--folder", str(tmp_path), *form])

    printed = capsys.readouterr().out
    missing = 2 * len(CASES) - 3
    assert code == 130
    assert list(tmp_path.iterdir()) == []
    if form:
        said = json.loads(printed)
        assert (len(said["measurements"]), said["interrupted"], said["left_out"]) == (3, True, missing)
    else:
        assert printed.count("| flock  |") + printed.count("| marker |") == 3
        assert f"Interrupted: {missing} measurements are missing" in printed
        assert "Use lock='flock'." in printed


@pytest.mark.parametrize(("kind", "said"), [("tmpfs (rw)", True), ("ext4 (rw)", False)])
def test_a_file_system_in_memory_is_said_to_flush_nothing(
    kind: str, said: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    conducted(monkeypatch, {"flock": outcome(1234)})
    monkeypatch.setattr(command, "describe", lambda *_: {**MACHINE, "file_system": kind})

    run(["bench", "--only", "flock", "--folder", str(tmp_path)])

    assert ("tmpfs is memory, and flushes nothing" in capsys.readouterr().out) is said


def test_the_table_fits_a_terminal_of_80_and_shows_the_fastest_of_each_case_in_green() -> None:
    widest = attrs.evolve(made_up(flock=1234567, lease=1)[-1], p99=1.23456, worst=1.23456)
    figures = in_order([*made_up(flock=1234567, lease=1)[:-1], widest])
    screen = Console(file=io.StringIO(), force_terminal=True, width=80, color_system="standard")

    screen.print(answer._table(figures, terminal=True))

    lines = screen.file.getvalue().splitlines()  # type: ignore[attr-defined]
    rows = [line for line in lines if "flock" in line or "lease" in line]
    assert "…" not in "".join(lines)
    assert len(rows) == len(figures)
    assert [line for line in rows if "\x1b[32m" in line] == [line for line in rows if "flock" in line]


def test_a_measuring_process_that_dies_is_one_line_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def conduct(_steps: list[Any], _setting: object) -> Any:
        yield from ()
        raise RuntimeError("the measuring process ended with exit code 1")

    monkeypatch.setattr(command, "conduct", conduct)

    code = run(["bench", "--only", "flock", "--folder", str(tmp_path)])

    assert (code, capsys.readouterr()) == (1, ("", "storewriter: the measuring process ended with exit code 1\n"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments", [("--only", "hope"), ("--window", "0s"), ("--window", "1.5"), ("--folder", "/no/such/folder")]
)
def test_wrong_usage_ends_with_2(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["bench", *arguments])

    said = capsys.readouterr()
    assert (code, said.out) == (2, "")
    assert "Try 'storewriter bench --help'" in said.err


def test_a_folder_that_cannot_be_written_ends_with_3_and_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["bench", "--folder", "/proc"])  # root may not write there either

    said = capsys.readouterr()
    assert (code, said.out) == (3, "")
    assert "cannot measure here" in said.err
    assert said.err.rstrip().endswith("'/proc'"), "the folder that was named, not one that was tried inside"


def test_help_says_what_is_measured_and_what_the_exit_codes_mean(capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["bench", "--help"])

    printed = capsys.readouterr().out
    assert code == 0
    assert "in under two minutes" in printed
    assert "1    an acknowledged update was lost, or no strategy can be recommended" in printed
    assert "[flock|marker|lease|none]" in printed


def test_the_default_windows_leave_most_of_the_two_minutes_for_everything_around_them() -> None:
    steps = steps_for(["flock", "marker", "lease", "none"], command.WINDOW)

    assert len(steps) == 3 * len(CASES) + 2 * len(WITHIN_ONE_PROCESS)
    assert sum(step.seconds for step in steps) < 60
    assert command.BUDGET < 120


# The recommendation


def test_the_fastest_is_recommended_with_its_lead_over_the_others() -> None:
    advice = advise(made_up(flock=1000, marker=2000, lease=500), Trust.LOCAL)

    assert advice.lock == "marker"
    assert advice.text.splitlines()[:3] == [
        "Use lock='marker'.",
        "- Over all cases it makes 2 times the updates of 'flock' and 4 times the updates of 'lease'.",
        "- With 32 processes at once the longest wait was 15 ms with durability='power' ('flock' 30 ms, 'lease' 60 ms), "
        "and 1.5 ms with durability='process' ('flock' 3 ms, 'lease' 6 ms).",
    ]


def test_the_recommendation_can_be_followed(tmp_path: Path) -> None:
    for name in ("flock", "marker", "lease"):
        advice = advise(made_up(**{name: 1000.0}), Trust.LOCAL)
        assert advice.text.startswith(f"Use lock='{name}'.\n")
        Store(tmp_path / name, lock=advice.lock).update(lambda state: state.update(followed=True))  # type: ignore[arg-type]
        assert Store(tmp_path / name, lock=advice.lock).read() == {"followed": True}  # type: ignore[arg-type]


def test_no_wait_in_a_table_is_longer_than_the_recommendation_says() -> None:
    figures = [attrs.evolve(each, worst=0.441) if _is_crowd(each, "power") else each for each in made_up(flock=1000)]

    (said,) = [reason for reason in advise(figures, Trust.LOCAL).reasons if "longest wait" in reason]

    assert said == (
        "With 32 processes at once the longest wait was 441 ms with durability='power', and 3 ms with durability='process'."
    )


def _is_crowd(figures: Figures, durability: str) -> bool:
    return (figures.case.callers, figures.case.durability) == ("32 processes", durability)


def test_of_two_about_as_fast_the_one_that_recovers_soonest_is_recommended() -> None:
    assert advise(made_up(flock=1000, marker=1050), Trust.LOCAL).lock == "flock"
    assert advise(made_up(flock=1000, marker=1150), Trust.LOCAL).lock == "marker"


def test_what_excludes_no_other_process_is_mentioned_but_not_recommended_beside_what_does() -> None:
    advice = advise(made_up(flock=1000, none=3000), Trust.LOCAL)

    assert advice.lock == "flock"
    assert "Where a single process writes, lock='none' makes 3 times its updates." in advice.reasons


def test_what_makes_no_difference_is_not_told_as_one_times() -> None:
    figures = [attrs.evolve(each, per_second=1000.0) for each in made_up(flock=1000, none=1000)]

    advice = advise(figures, Trust.LOCAL)

    assert "Where a single process writes, lock='none' would gain nothing that could be measured." in advice.reasons
    assert "durability='power' costs nothing that could be measured here." in advice.reasons
    assert "1 times" not in advice.text


def test_alone_what_excludes_no_other_process_is_recommended_with_its_limit() -> None:
    advice = advise(made_up(none=3000), Trust.LOCAL)

    assert advice.lock == "none"
    assert "only right where a single process writes" in advice.text


def test_the_price_of_durability_is_told() -> None:
    advice = advise(made_up(flock=1000), Trust.LOCAL)

    expected = "durability='process' makes 10 times the updates of 'power' with 1 caller, 10 times with 64 tasks."
    assert expected in advice.reasons


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"lost": 7},
            "'flock' lost 7 acknowledged updates with 8 processes (durability 'process'): do not use it here.",
        ),
        (
            {"errors": 2, "trouble": "LockTimeout: late"},
            "'flock' failed with 8 processes (durability 'process'): 2 times, at first with: LockTimeout: late.",
        ),
    ],
)
def test_one_failure_in_one_case_is_enough_to_be_out(changes: dict[str, Any], said: str) -> None:
    advice = advise(spoiled(made_up(flock=9000, marker=1000), "flock", **changes), Trust.LOCAL)

    assert advice.lock == "marker"
    assert said in advice.reasons


def test_a_window_in_which_nobody_called_is_no_fault_but_no_window_with_calls_is() -> None:
    late = {"per_second": 0.0, "p50": None, "p99": None, "worst": None}
    figures = made_up(flock=9000, marker=1000)

    once = advise(spoiled(figures, "flock", **late), Trust.LOCAL)
    always = advise([attrs.evolve(each, **late) if each.strategy == "flock" else each for each in figures], Trust.LOCAL)  # type: ignore[arg-type]

    assert once.lock == "flock"
    assert always.lock == "marker"
    assert "'flock' made no update in time: try a longer --window." in always.reasons


def test_where_kernel_locks_exclude_nobody_speed_does_not_count() -> None:
    advice = advise(made_up(flock=9000, lease=1000), Trust.NONE)

    assert advice.lock == "lease"
    assert "'flock' is out: kernel locks are not effective on this file system." in advice.reasons


def test_where_kernel_locks_end_at_this_host_a_lease_is_named_for_several() -> None:
    on_one_host = advise(made_up(flock=9000, lease=1000), Trust.LOCAL)
    on_several = advise(made_up(flock=9000, lease=1000), Trust.HOST_ONLY)

    assert on_several.lock == "flock"
    assert set(on_several.reasons) - set(on_one_host.reasons) == {
        "If several hosts write, use lock='lease': kernel locks may not exclude other hosts here."
    }


def test_without_figures_nothing_is_recommended() -> None:
    assert advise([], Trust.LOCAL).text == "No strategy can be recommended here.\n- Nothing was measured."


def test_figures_come_in_the_order_in_which_people_read() -> None:
    figures = made_up(marker=1, flock=1)

    ordered = in_order(reversed(figures))

    assert [(each.case, each.strategy) for each in ordered] == [
        (case, name) for case in CASES.values() for name in ("flock", "marker")
    ]
