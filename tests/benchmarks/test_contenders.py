"""What is measured is what it is called: functions of each shape, and sketches that flush when they say."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

pytest.importorskip("portalocker")
pytest.importorskip("fasteners")
pytest.importorskip("diskcache")
pytest.importorskip("sqlitedict")
pytest.importorskip("tinydb")
pytest.importorskip("rich")

from benchmarks.contenders import CONTENDERS
from benchmarks.peers import functions, saves
from benchmarks.peers.functions import FUNCTIONS
from benchmarks.peers.sketches import SKETCHES
from benchmarks.report.targets import PAIRS, TARGETS
from benchmarks.run import Choice, run
from benchmarks.scenarios import SCENARIOS, suits
from made_up_runs import run_of

from benchmarks import cpu, images, prefetch
from storewriter.cli.bench.conduct import Setting, Step, conduct
from storewriter.cli.bench.document import RECORD_ID, State, adding, create_json, document_of, json_attempts
from storewriter.cli.bench.results import Run
from storewriter.cli.bench.scenarios import Scenario

MEASURES = "benchmarks.measures:MEASURES"
TABLE = "benchmarks.contenders:CONTENDERS"
LONG = 30.0
WRITTEN_BY_HAND = [*FUNCTIONS, *SKETCHES, CONTENDERS["sqlite-batched"]]


def few(key: str) -> Scenario:
    """The scenario with so few calls that they are over at once, and no more than two processes."""
    row = SCENARIOS[key]
    return attrs.evolve(row, limit=2, processes=min(row.processes, 2), size=1_000)


@pytest.mark.parametrize("name", [each.name for each in WRITTEN_BY_HAND])
def test_what_is_written_by_hand_loses_nothing(tmp_path: Path, name: str) -> None:
    contender = CONTENDERS[name]
    if reason := contender.missing():
        pytest.skip(reason)
    keys = ("S2 1K durable", "S3 1K durable", "S4 1K durable", "S5 8 processes durable", "S6 1K durable")
    rows = [few(key) for key in keys if suits(contender, SCENARIOS[key])]
    assert rows
    steps = [Step(row, contender, 0, LONG) for row in rows]
    for measurement, row in zip(
        conduct(steps, Setting(table=TABLE, measures=MEASURES, folder=tmp_path)), rows, strict=True
    ):
        assert measurement.outcome is not None, measurement.failure
        metrics = measurement.outcome.metrics
        assert metrics["acknowledged"] >= 2 * row.callers
        assert (metrics["lost"], metrics["unacknowledged"], metrics["errors"]) == (0, 0, 0)


def test_each_function_makes_the_same_update_and_reaches_what_its_name_says() -> None:
    closure, of_global, of_lambda = adding(1), functions._add_global, functions._lambda()
    method = functions._counter.add
    made: list[Callable[[State], object]] = [closure, of_global, method, of_lambda]
    for function in made:
        state = document_of(1_000)
        function(state)
        expected = document_of(1_000)
        expected["records"][RECORD_ID]["attempts"] = 1
        assert state == expected
    assert [cell.cell_contents for cell in closure.__closure__ or ()] == [1]
    assert "STEPS" in of_global.__code__.co_names
    assert isinstance(functions.STEPS, dict)
    assert method.__self__ is functions._counter  # type: ignore[attr-defined]
    assert of_lambda.__closure__ is None
    assert set(of_lambda.__code__.co_names) <= {"update"}


@pytest.mark.parametrize(
    ("save", "inside", "after"),
    [
        (saves.two_flushes, ["write", "flush file", "rename", "flush folder"], []),
        (saves.folder_after, ["write", "flush file", "rename"], ["flush folder"]),
        (saves.one_flush, ["write", "wait for data", "rename"], ["flush file"]),
    ],
)
def test_a_bare_save_flushes_inside_the_lock_and_after_it_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save: saves.Save, inside: list[str], after: list[str]
) -> None:
    place = saves.Place.of(tmp_path / "state", durable=True)
    done = _recorded(monkeypatch, place.folder)
    after_release = save(place, b"{}")
    assert done == inside
    after_release()
    assert done == [*inside, *after]
    assert place.path.read_bytes() == b"{}"
    place.close()


def _recorded(monkeypatch: pytest.MonkeyPatch, folder: int) -> list[str]:
    """What is done to files from now on."""
    done: list[str] = []
    fsync, rename, write, wait = os.fsync, os.rename, os.write, saves.wait_for_data

    def recorded(name: str | None, call: Callable[..., object]) -> Callable[..., object]:
        def calling(*arguments: object) -> object:
            done.append(name or f"flush {'folder' if arguments == (folder,) else 'file'}")
            return call(*arguments)

        return calling

    monkeypatch.setattr(os, "fsync", recorded(None, fsync))
    monkeypatch.setattr(os, "rename", recorded("rename", rename))
    monkeypatch.setattr(os, "write", recorded("write", write))
    monkeypatch.setattr(saves, "wait_for_data", recorded("wait for data", wait))
    return done


def test_what_a_promised_ratio_compares_is_measured_in_five_rounds_or_more() -> None:
    choice = Choice(rounds=3, paired=5)
    rounds: dict[tuple[str, str], int] = {}
    for step in choice.steps(list(CONTENDERS.values())):
        pair = step.scenario.key, step.contender.name
        rounds[pair] = rounds.get(pair, 0) + 1
    promised = {pair for pair in PAIRS if pair[1] in CONTENDERS}
    assert promised
    assert {pair: rounds.get(pair) for pair in promised} == dict.fromkeys(promised, 5)
    assert rounds["S5 8 processes durable", "portalocker"] == 2
    assert rounds["S3 1K durable", "asyncio-lock"] == 3


def test_contenders_of_promises_exist_and_are_measured_in_their_scenario() -> None:
    for target in TARGETS:
        for figure in filter(None, (target.figure, target.times)):
            if figure.contender != "former":
                assert suits(CONTENDERS[figure.contender], SCENARIOS[figure.scenario]), target.promise


def test_a_former_version_runs_its_own_library_in_the_same_rounds(tmp_path: Path) -> None:
    source, stores = tmp_path / "source", tmp_path / "stores"
    stores.mkdir()
    _copy_with_another_update(source)
    row = "S2 1K not durable"
    choice = Choice(rounds=2, families=(row,), contenders=("storewriter-flock",), window=0.05, against=str(source))
    found = run(choice, stores)
    [first, *_] = found.outcomes(row, "former")
    assert (first.remark, first.metrics["acknowledged"]) == ("RuntimeError: the former one", 0)
    assert found.values(row, "storewriter-flock", "errors") == [0, 0]
    assert [len(found.values(row, name, "errors")) for name in ("former", "storewriter-flock")] == [2, 2]
    assert str(source) not in str(attrs.asdict(found))


def _copy_with_another_update(folder: Path) -> None:
    from benchmarks.former import PRESENT, lay_out

    folder.mkdir()
    lay_out(str(PRESENT), folder)
    with (folder / "storewriter" / "__init__.py").open("a") as file:
        file.write("\n\ndef _update(self, fn):\n    raise RuntimeError('the former one')\n\n\nStore.update = _update\n")


def test_processor_time_is_reported_beside_the_bare_loop() -> None:
    key = "S5 8 processes durable"
    measured = run_of({key: {"storewriter-flock": [1.0, 1.0, 1.0], "bare-two-flushes": [1.0, 1.0, 1.0]}})
    times = {"storewriter-flock": [200e-6, 300e-6, 100e-6], "bare-two-flushes": [100e-6, 100e-6, 100e-6]}
    [line] = cpu.report(_with_user_time(measured, times))
    assert line.split() == ["8", "processes", "bare-two-flushes", "100", "µs", "storewriter-flock", "200", "µs", "(2x)"]


def _with_user_time(measured: Run, times: dict[str, list[float]]) -> Run:
    changed = [
        attrs.evolve(each, outcome=attrs.evolve(
            each.outcome, metrics={**each.outcome.metrics, cpu.METRIC: times[each.contender][each.round]}
        ))
        for each in measured.measurements
        if each.outcome is not None
    ]  # fmt: skip
    return attrs.evolve(measured, measurements=changed)


@pytest.mark.parametrize("way", list(prefetch.WAYS))
def test_each_moment_of_decoding_saves_every_update(tmp_path: Path, way: str) -> None:
    create_json(tmp_path / "state", 1_000)
    place = saves.Place.of(tmp_path / "state", durable=True)
    took = prefetch.WAYS[way](place, prefetch.CODEC.decode, 0.02)
    place.close()
    assert took
    assert json_attempts(tmp_path / "state") == len(took)


def test_ratios_of_the_moments_of_decoding_are_paired() -> None:
    means = {"at the next load": [10.0, 100.0, 1000.0], "beside the flush": [20.0, 200.0, 1000.0]}
    lines = prefetch.report({name: [prefetch.Speed(mean, 7.0) for mean in each] for name, each in means.items()})
    assert "x 2.00 (1.00 to 2.00)" in lines[1]
    assert "x 1.00 (1.00 to 1.00)" in lines[1]


@pytest.mark.skipif(
    images.refusal("ext4") is not None or not Path("/dev/loop-control").exists(), reason="no images can be mounted"
)
def test_an_image_is_a_file_system_of_its_own_and_is_gone_afterwards(tmp_path: Path) -> None:
    with images.mounted("ext4", tmp_path) as place:
        assert place.is_mount()
        assert place.stat().st_dev != tmp_path.stat().st_dev
        (place / "file").write_text("there")
    assert list(tmp_path.iterdir()) == []


def test_without_root_there_are_no_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert images.refusal("xfs") == "only root may mount an image"
