"""The page in a real browser without a network: it draws, its bars are as long as their values, and it fits its window."""

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
PEERS = (0xAD, 0xB5, 0xBD)
FAILED = r"CONSOLE.*(?:[Ee]rror|Refused|violates).*"


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
    assert re.findall(FAILED, visited.stderr) == []


def test_the_browser_is_told_to_fetch_nothing(browser: str, report: Path, tmp_path: Path) -> None:
    tempted = tmp_path / "tempted.html"
    tempted.write_text(report.read_text().replace("<main>", "<main><img src='https://example.org/picture.png'>"))
    assert re.findall(FAILED, visit(browser, tempted, "--dump-dom").stderr) != []


@pytest.mark.parametrize("width", [700, 1200])
def test_nothing_is_wider_than_the_window(browser: str, report: Path, tmp_path: Path, width: int) -> None:
    measured = tmp_path / "measured.html"
    tell = "window.addEventListener('load', () => { document.title = document.documentElement.scrollWidth })"
    measured.write_text(report.read_text().replace("</body>", f"<script>{tell}</script></body>"))
    dom = visit(browser, measured, "--dump-dom", f"--window-size={width},1000").stdout
    title = re.search(r"<title>(\d+)</title>", dom)
    assert title is not None
    assert int(title.group(1)) <= width


def test_in_the_screenshot_bars_are_as_long_as_their_values(browser: str, report: Path, tmp_path: Path) -> None:
    screenshot = tmp_path / "report.png"
    visit(browser, report, f"--screenshot={screenshot}", "--window-size=1200,3000")
    with Image.open(screenshot) as image:
        assert image.size == (1200, 3000)
        picture = image.convert("RGB")
    # The first chart is that of S1, and linear: ours makes 95, who loses 50, and backoff 25, the longest of the peers.
    ours, loses, peers = (longest_bar(picture, colour) for colour in (OURS, LOSES, PEERS))
    assert ours > 300
    assert loses / ours == pytest.approx(50 / 95, abs=0.02)
    assert peers / ours == pytest.approx(25 / 95, abs=0.02)


def longest_bar(picture: Image.Image, colour: tuple[int, int, int]) -> int:
    """How many pixels of one colour stand in a row at most, in a block of five rows: above the whisker of a bar."""
    width, height = picture.size
    pixels = bytes(picture.tobytes())
    mark = bytes(colour)
    lengths = [
        max((len(run) for run in runs_of(pixels[3 * width * row : 3 * width * (row + 1)], mark)), default=0)
        for row in range(height)
    ]
    return max(min(lengths[row : row + 5]) for row in range(height - 5))


def runs_of(line: bytes, mark: bytes) -> list[list[int]]:
    """The stretches of one colour in a line of pixels."""
    runs: list[list[int]] = [[]]
    for place in range(0, len(line), 3):
        if line[place : place + 3] == mark:
            runs[-1].append(place)
        elif runs[-1]:
            runs.append([])
    return runs
