"""The page in a real browser without a network: it draws, and the picture is not empty."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("plotly")
pytest.importorskip("PIL")
pytest.importorskip("portalocker")
pytest.importorskip("fasteners")
pytest.importorskip("diskcache")
pytest.importorskip("sqlitedict")
pytest.importorskip("tinydb")

from benchmarks.report.charts import charts, cost_against_size
from benchmarks.report.page import write_page
from made_up_runs import small_run
from PIL import Image

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
OURS = (0x0B, 0x72, 0x85)
LOSES = (0xE0, 0x31, 0x31)


@pytest.fixture(scope="module")
def browser() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    return found


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_page(small_run(), path)
    return path


def visit(browser: str, page: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Load the page with a profile of its own, and with every name of the network unknown."""
    command = [
        browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage",
        f"--user-data-dir={page.parent / 'profile'}", "--host-resolver-rules=MAP * ~NOTFOUND",
        "--enable-logging=stderr", "--virtual-time-budget=20000", *options, page.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)


def test_every_chart_is_drawn_and_no_script_fails(browser: str, report: Path) -> None:
    visited = visit(browser, report, "--dump-dom")
    run = small_run()
    drawn = [chart.slug for key in run.scenarios() for chart in charts(run, key)]
    cost = cost_against_size(run)
    assert cost is not None
    for slug in [*drawn, cost.slug]:
        place = visited.stdout.index(f'id="{slug}"')
        assert 'class="main-svg"' in visited.stdout[place : place + 5_000], f"{slug} is empty"
    assert re.findall(r"CONSOLE.*(?:Error|error).*", visited.stderr) == []


def test_the_screenshot_shows_our_bars_and_those_that_lose(browser: str, report: Path, tmp_path: Path) -> None:
    screenshot = tmp_path / "report.png"
    visit(browser, report, f"--screenshot={screenshot}", "--window-size=1200,4000")
    with Image.open(screenshot) as image:
        assert image.size == (1200, 4000)
        counted = image.convert("RGB").getcolors(maxcolors=1 << 24)
    assert counted is not None
    colours = {colour: number for number, colour in counted}
    # A bar is some hundred pixels long and about 18 high; a line of text has a few dozen pixels of one colour.
    assert colours.get(OURS, 0) > 5_000
    assert colours.get(LOSES, 0) > 1_000
