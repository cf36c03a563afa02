"""The report shows what the run holds, opens without a network, and refreshes only what is marked."""

from __future__ import annotations

import re
from pathlib import Path

import attrs
import pytest

pytest.importorskip("plotly")
pytest.importorskip("matplotlib")
pytest.importorskip("rich")
pytest.importorskip("portalocker")
pytest.importorskip("fasteners")
pytest.importorskip("diskcache")
pytest.importorskip("sqlitedict")
pytest.importorskip("tinydb")

from benchmarks.contenders import CONTENDERS
from benchmarks.report import markdown, publish, tables, targets, wording
from benchmarks.report.charts import Bars, Lines, Shares, Timeline, charts, cost_against_size, decades
from benchmarks.report.colours import COLOURS, LOSES, on_dark
from benchmarks.report.page import page, write_page
from benchmarks.report.pictures import dark_one, write_pictures
from benchmarks.report.terminal import print_report
from benchmarks.scenarios import SCENARIOS
from made_up_runs import run_of, small_run

from storewriter.cli.bench.results import Run
from storewriter.cli.bench.statistics import jain

KEY = "S3 1K durable"


@pytest.fixture(scope="module", autouse=True)
def _fonts_are_open(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Matplotlib keeps the fonts open that it has used once; that is not what these tests leave behind."""
    [bars, *_] = charts(small_run(), KEY)
    list(write_pictures(bars, tmp_path_factory.mktemp("fonts") / "first.svg"))


def test_the_page_draws_every_chart_and_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    run = small_run()
    write_page(run, tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text()
    drawn = [chart for key in run.scenarios() for chart in charts(run, key)]
    assert drawn
    assert all(f'id="{chart.slug}"' in html for chart in drawn)
    ours = html.replace(page_script(html), "")
    assert re.findall(r"""(?:src|href)=['"](?!#)[^'"]*""", ours) == []
    assert "Example &lt;CPU&gt;" in ours


def page_script(html: str) -> str:
    """The plotly library, which may name addresses in its comments."""
    return max(re.findall(r"<script[^>]*>.*?</script>", html, re.DOTALL), key=len)


def test_the_page_says_who_is_ahead_of_storewriter_and_why() -> None:
    run = run_of({KEY: {"storewriter-flock": [100.0], "sqlite-batched": [250.0], "filelock": [10.0]}})
    assert "sqlite-batched, 2.5x: all updates that wait in one transaction" in page(run)


def test_every_kind_of_chart_is_there() -> None:
    run = small_run()
    kinds = {key: [type(chart) for chart in charts(run, key)] for key in run.scenarios()}
    assert kinds["S1 sync"] == [Bars]
    assert kinds[KEY] == [Bars, Lines]
    assert kinds["S5 8 processes not durable"] == [Bars, Lines, Shares]
    assert kinds["S10 8 processes"] == [Bars, Timeline]
    cost = cost_against_size(run)
    assert cost is not None
    assert [name for _, name in cost.ticks] == ["1K", "1M"]


def test_a_contender_that_lost_updates_is_drawn_as_one() -> None:
    [bars, *_] = charts(small_run(), KEY)
    assert isinstance(bars, Bars)
    by_name = {bar.name: bar for bar in bars.bars}
    assert (by_name["no-lock"].kind, by_name["no-lock"].label) == ("loses", "50, 7 lost")
    assert (by_name["storewriter-flock"].kind, by_name["storewriter-flock"].label) == ("ours", "95")
    assert (by_name["storewriter-flock"].low, by_name["storewriter-flock"].high) == (90, 100)


def test_pictures_are_the_same_bytes_for_the_same_run(tmp_path: Path) -> None:
    run = small_run()
    for chart in [*charts(run, "S5 8 processes not durable"), *charts(run, "S10 8 processes")]:
        first, second = (list(write_pictures(chart, tmp_path / name)) for name in ("first.svg", "second.svg"))
        assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
        assert all("storewriter-flock" in path.read_text() for path in first)


def test_each_picture_is_there_for_light_and_for_dark_pages(tmp_path: Path) -> None:
    for chart in [*charts(small_run(), KEY), *charts(small_run(), "S10 8 processes")]:
        light, dark = write_pictures(chart, tmp_path / "drawn.svg")
        assert (light.name, dark) == ("drawn.svg", dark_one(light))
        words = [set(re.findall(r">([^<>]+)</text>", path.read_text())) for path in (light, dark)]
        assert words[0] == words[1]
        assert "fill: #ffffff" in light.read_text()
        assert not re.search(r"#ffffff|#000000|fill: black", dark.read_text()), "no white sheet, no black text"


def test_what_lost_updates_is_red_in_every_picture_and_nothing_else_is(tmp_path: Path) -> None:
    for number, chart in enumerate(charts(small_run(), KEY)):
        drawn = [path.read_text() for path in write_pictures(chart, tmp_path / f"{number}.svg")]
        assert LOSES in drawn[0]
        assert on_dark(LOSES) in drawn[1]
    without = run_of({KEY: {"storewriter-flock": [100.0], "filelock": [10.0], "reference": [20.0], "backoff": [30.0]}})
    for chart in charts(without, KEY):
        assert LOSES not in next(write_pictures(chart, tmp_path / "none.svg")).read_text()
    assert LOSES not in COLOURS.values()


def test_a_logarithmic_axis_says_so() -> None:
    wide = run_of({KEY: {"storewriter-flock": [1000.0], "filelock": [10.0]}})
    narrow = run_of({KEY: {"storewriter-flock": [100.0], "filelock": [10.0]}})
    axes = [next(chart.axis for chart in charts(run, KEY) if isinstance(chart, Bars)) for run in (wide, narrow)]
    assert ["logarithmic" in axis for axis in axes] == [True, False]
    cost = cost_against_size(small_run())
    assert cost is not None
    assert "logarithmic" in cost.x_axis
    assert "logarithmic" in cost.y_axis


def test_the_table_ranks_by_median_and_gives_ratios_to_the_baseline() -> None:
    table = tables.table(small_run(), KEY)
    assert list(table.contenders) == ["storewriter-flock", "no-lock", "backoff", "filelock"]
    assert table.header[:4] == ["contender", "per second", "spread", "x filelock"]
    assert list(table.rows[0][:4]) == ["storewriter-flock", "95", "±5%", "9.05x"]


def test_only_what_stands_between_the_marks_is_replaced(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"# Title\n\n{publish.BEGIN}\nold figures\n{publish.END}\n\nThe end.\n")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "benchmarks.md").write_text("no marks here\n")
    written = {path.relative_to(tmp_path).as_posix() for path in publish.publish(small_run(), tmp_path)}
    text = readme.read_text()
    assert text.startswith(f"# Title\n\n{publish.BEGIN}\n|")
    assert text.endswith(f"{publish.END}\n\nThe end.\n")
    assert "old figures" not in text
    assert "| 64 asyncio tasks, 1K, durable | 95/s (**9.05x**)" in text
    assert '<source media="(prefers-color-scheme: dark)" srcset="docs/benchmarks/64-tasks-dark.svg">' in text
    assert 'src="docs/benchmarks/64-tasks.svg">' in text
    assert "* `no-lock`: load, modify, save" in text
    assert (tmp_path / "docs" / "benchmarks.md").read_text() == "no marks here\n"
    assert {"README.md", "docs/benchmarks/run.json", "docs/benchmarks/s10-8-processes-timeline.svg"} <= written
    assert "docs/benchmarks/64-tasks-dark.svg" in written
    assert "docs/benchmarks.md" not in written


def test_the_overview_tells_ratios_to_filelock_the_worst_wait_and_what_was_lost() -> None:
    run = run_of(
        {KEY: {"storewriter-flock": [4000.0], "filelock": [100.0], "sqlite-batched": [2000.0]}},
        lost={"sqlite-batched": 3},
    )
    head, _, row = markdown.overview(run).splitlines()[:3]
    assert head == "|  | **storewriter** | filelock | SQLite, batched by hand |"
    cells = [cell.split("<br>") for cell in row.strip("| ").split(" | ")]
    assert cells[0] == ["64 asyncio tasks, 1K, durable"]
    assert [cell[0] for cell in cells[1:]] == ["4,000/s (**40x**)", "100/s", "2,000/s (20x)"]
    assert [len(cell) for cell in cells[1:]] == [2, 2, 3]
    assert cells[3][2] == "3 lost"


def test_the_page_of_the_documentation_has_promises_and_all_tables(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs" / "benchmarks.md"
    page.write_text(f"# Benchmarks\n\n{publish.BEGIN}\n{publish.END}\n")
    run = small_run()
    written = [path.name for path in publish.publish(run, tmp_path)]
    text = page.read_text()
    assert "benchmarks.md" in written
    assert all(f"**{key}**" in text for key in run.scenarios())
    assert "| S1 sync: as fast as filelock | at least 5x | 9.05x | kept |" in text
    assert "](benchmarks/s10-8-processes-timeline.svg)" in text
    assert publish.PLACE not in text


def test_no_two_contenders_have_the_same_colour() -> None:
    assert len(set(COLOURS.values())) == len(CONTENDERS)


def test_a_logarithmic_axis_has_a_tick_at_each_power_of_ten_around_the_values() -> None:
    ticks = decades([0.002, 0.3], wording.duration)
    assert [name for _, name in ticks] == ["1 ms", "10 ms", "100 ms", "1 s"]
    assert [value for value, _ in ticks] == pytest.approx([0.001, 0.01, 0.1, 1.0])
    assert [name for _, name in decades([10.0, 10.0], wording.three_digits)] == ["10", "100"]


def test_a_promise_is_kept_broken_or_not_measured() -> None:
    fast = run_of({KEY: {"storewriter-flock": [6000.0], "filelock": [100.0]}})
    slow = run_of({KEY: {"storewriter-flock": [4900.0], "filelock": [100.0]}})
    other = run_of({"S1 sync": {"filelock": [1.0]}})
    name = "S3 1K durable: as fast as filelock"
    assert [_verdict(run, name).kept for run in (fast, slow, other)] == [True, False, None]
    assert (_verdict(slow, name).bound, _verdict(slow, name).measured) == ("at least 50x", "49x")


def test_a_ratio_is_that_of_each_round_whatever_the_mood_of_the_round() -> None:
    # Each time 60 times; the ratio of the medians would be 6.
    moody = run_of({KEY: {"storewriter-flock": [600.0, 6000.0, 60000.0], "filelock": [10.0, 100.0, 1000.0]}})
    skewed = run_of({KEY: {"storewriter-flock": [600.0, 600.0, 60000.0], "filelock": [10.0, 100.0, 1000.0]}})
    name = "S3 1K durable: as fast as filelock"
    assert [_verdict(run, name).measured for run in (moody, skewed)] == ["60x", "60x"]


def test_how_much_longer_an_update_takes_is_judged_as_time() -> None:
    promise = "S9 1K durable: as long as bare-orjson"
    kept = run_of({"S9 1K durable": {"storewriter-flock": [100.0], "bare-orjson": [119.0]}})
    broken = run_of({"S9 1K durable": {"storewriter-flock": [100.0], "bare-orjson": [121.0]}})
    assert [(_verdict(run, promise).word, _verdict(run, promise).measured) for run in (kept, broken)] == [
        ("kept", "1.19x"),
        ("not kept", "1.21x"),
    ]


def test_a_promise_for_some_file_systems_is_not_judged_on_another() -> None:
    promise = "S2 1K durable: as fast as bare-orjson"
    on_ext4 = run_of({"S2 1K durable": {"storewriter-flock": [111.0], "bare-orjson": [100.0]}})
    on_btrfs = attrs.evolve(on_ext4, machine={**on_ext4.machine, "file_system": "btrfs (rw)"})
    assert [_verdict(run, promise).word for run in (on_ext4, on_btrfs)] == ["kept", "promised on ext4 and xfs"]
    assert _verdict(on_btrfs, promise).kept is None


def test_two_shapes_of_functions_may_differ_by_a_fifth_either_way() -> None:
    key = "S3 50K durable"
    promise = f"{key}: storewriter-flock-method as fast as storewriter-flock-lambda"
    runs = [
        run_of({key: {"storewriter-flock-method": [rate], "storewriter-flock-lambda": [100.0]}})
        for rate in (83.0, 84.0, 119.0, 121.0)
    ]
    assert [_verdict(run, promise).kept for run in runs] == [False, True, True, False]
    assert _verdict(runs[0], promise).bound == "at least 0.83x, at most 1.2x"


def test_promises_about_a_former_version_are_judged_only_where_one_was_measured() -> None:
    key = "S4 1K durable"
    promise = f"{key}: as fast as former"
    beside = run_of({key: {"storewriter-flock": [140.0, 10.0, 260.0], "former": [100.0, 10.0, 200.0]}})
    alone = run_of({key: {"storewriter-flock": [140.0]}})
    assert (_verdict(beside, promise).measured, _verdict(beside, promise).kept) == ("1.3x", True)
    assert [each for each in targets.verdicts(alone) if "former" in each.target.promise] == []


def test_a_caption_says_that_promised_ratios_had_more_rounds() -> None:
    usual, quick = {"rounds": 3, "paired": 5, "quick": False}, {"rounds": 1, "paired": 0, "quick": True}
    assert wording.rounds(usual) == "3 interleaved rounds (5 for the ratios of promises)"
    assert wording.rounds(quick) == "1 interleaved round of a quick run"


def test_fairness_is_judged_over_the_callers_of_all_rounds_and_only_with_turns_enough() -> None:
    key, promise = "S5 8 processes durable", "S5 8 processes durable: Jain's index over processes"
    shares = [[10, 10, 10, 10, 10, 10, 10, 10], [9, 11, 10, 10, 8, 12, 10, 10]]
    enough = _with_shares(run_of({key: {"storewriter-flock": [100.0, 900.0]}}), shares, turns=8 * 100)
    few = _with_shares(run_of({key: {"storewriter-flock": [100.0, 900.0]}}), shares, turns=8 * 99)
    assert _verdict(enough, promise).value == pytest.approx(jain([*shares[0], *shares[1]]))
    assert _verdict(enough, promise).kept is True
    assert (_verdict(few, promise).kept, _verdict(few, promise).word) == (None, "fewer than 100 turns each")


def _with_shares(run: Run, shares: list[list[int]], turns: int) -> Run:
    """The same run in which the processes of each round got these shares."""
    changed = [
        attrs.evolve(each, outcome=attrs.evolve(outcome, metrics={
            **outcome.metrics, "jain_processes": jain(shares[each.round]), "acknowledged": turns,
        }))
        for each in run.measurements
        if (outcome := each.outcome) is not None
    ]  # fmt: skip
    return attrs.evolve(run, measurements=changed)


def test_every_scenario_of_ours_that_a_promise_names_is_in_the_table() -> None:
    named = {each.figure.scenario for each in targets.TARGETS}
    assert named <= SCENARIOS.keys()
    assert {"S11 held elsewhere durable", "S11 5M durable", "S2 1K durable", "S7 SIGKILL", "S8 idle"} <= named


def _verdict(run: object, promise: str) -> targets.Verdict:
    [found] = [each for each in targets.verdicts(run) if each.target.promise == promise]  # type: ignore[arg-type]
    return found


def test_lost_updates_of_ours_are_summed_over_the_run() -> None:
    run = run_of(
        {KEY: {"storewriter-flock": [1.0, 1.0], "no-lock": [1.0]}}, lost={"storewriter-flock": 2, "no-lock": 9}
    )
    assert targets.lost_updates(run) == 4


def test_the_terminal_shows_all_scenarios(capsys: pytest.CaptureFixture[str]) -> None:
    print_report(small_run())
    output = capsys.readouterr().out
    assert all(key in output for key in small_run().scenarios())
    assert "updates lost by storewriter, all measurements together: 0" in output


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 µs"), (1.5e-6, "1.5 µs"), (0.000999, "999 µs"), (0.0015, "1.5 ms"), (0.25, "250 ms"), (2.0, "2 s")],
)
def test_durations_are_worded_in_the_unit_that_fits(seconds: float, words: str) -> None:
    assert wording.duration(seconds) == words


@pytest.mark.parametrize(
    ("value", "words"), [(123456, "123,456"), (99.97, "100"), (12.34, "12.3"), (1.234, "1.23"), (0.5, "0.5"), (0, "0")]
)
def test_numbers_have_three_digits(value: float, words: str) -> None:
    assert wording.three_digits(value) == words
