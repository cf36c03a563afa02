"""The figures that README and documentation show are those of `docs/benchmarks/run.json`: `make figures` writes them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="the extra `bench` is not installed")
pytest.importorskip("plotly", reason="the extra `bench` is not installed")

from benchmarks.report import markdown, publish
from benchmarks.report.charts import Bars
from benchmarks.report.pictures import dark_one

from storewriter.cli.bench.results import Run, load

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run() -> Run:
    return load(ROOT / publish.RUN)


@pytest.mark.parametrize("page", publish.PAGES, ids=lambda page: page.path.name)
def test_a_page_shows_the_figures_of_the_run_that_is_published(page: publish.Page, run: Run) -> None:
    shown = publish.between_the_marks((ROOT / page.path).read_text())

    assert shown == f"\n{page.written(run)}", "run `make figures`"


def test_the_pictures_show_the_figures_of_the_run_that_is_published(run: Run) -> None:
    shown = list(publish.published(run))
    assert len(shown) > 10
    for chart in shown:
        light = ROOT / publish.PICTURES / f"{chart.slug}.svg"
        for path in (light, dark_one(light)):
            words = re.findall(r">([^<>]+)</text>", path.read_text())
            wanted = [bar.label for bar in chart.bars] if isinstance(chart, Bars) else []
            assert [label for label in wanted if label not in words] == [], f"{path}: run `make figures`"


def test_no_picture_is_left_that_the_run_does_not_give(run: Run) -> None:
    there = {path.name for path in (ROOT / publish.PICTURES).glob("*.svg")}
    light = {f"{chart.slug}.svg" for chart in publish.published(run)}

    assert there == light | {dark_one(Path(name)).name for name in light}


def test_the_readme_has_five_rows_and_one_picture_with_its_names(run: Run) -> None:
    shown = publish.between_the_marks((ROOT / "README.md").read_text())
    assert shown is not None

    assert len([line for line in shown.splitlines() if line.startswith("| ")]) == 2 + 5 == 2 + len(markdown.ROWS)
    assert shown.count("<img ") == 1
    [chart] = [chart for chart in publish.published(run) if chart.slug == publish.FIRST_SCREEN[1]]
    assert isinstance(chart, Bars)
    assert [bar.name for bar in chart.bars if f"* `{bar.name}`: " not in shown] == []
