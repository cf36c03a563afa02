"""`python -m benchmarks` from end to end, on the smallest run there is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("plotly")
pytest.importorskip("matplotlib")
pytest.importorskip("scipy")
pytest.importorskip("portalocker")
pytest.importorskip("fasteners")
pytest.importorskip("diskcache")
pytest.importorskip("sqlitedict")
pytest.importorskip("tinydb")

REPOSITORY = Path(__file__).parent.parent.parent


def benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )


def test_a_run_is_measured_and_reported(tmp_path: Path) -> None:
    run, page = tmp_path / "run.json", tmp_path / "report.html"
    chosen = ["-s", "S2 1K durable", "-c", "storewriter-flock", "-c", "filelock", "--folder", str(tmp_path)]
    measured = benchmarks("run", "--quick", *chosen, "-o", str(run))
    assert measured.returncode == 0, measured.stderr
    content = json.loads(run.read_text())
    assert [each["contender"] for each in content["measurements"]].count("filelock") == 2  # rounds
    assert all(each["outcome"]["metrics"]["lost"] == 0 for each in content["measurements"])
    assert str(tmp_path) not in run.read_text()
    reported = benchmarks("report", str(run), "--html", str(page))
    assert reported.returncode == 0, reported.stderr
    assert "x filelock" in reported.stdout
    assert page.exists()
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


@pytest.mark.parametrize(
    ("option", "value"), [("-s", "S99"), ("-c", "no-such-lock"), ("--against", "no-such-revision")]
)
def test_what_does_not_exist_is_a_usage_error(tmp_path: Path, option: str, value: str) -> None:
    refused = benchmarks("run", option, value, "--folder", str(tmp_path), "-o", str(tmp_path / "run.json"))
    assert refused.returncode == 2
    assert "no such" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "run.json").exists()


def test_the_list_names_every_scenario_and_contender() -> None:
    from benchmarks.contenders import CONTENDERS
    from benchmarks.scenarios import SCENARIOS

    listed = benchmarks("list").stdout
    assert all(name in listed for name in [*SCENARIOS, *CONTENDERS])
