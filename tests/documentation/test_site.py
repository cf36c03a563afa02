"""The site that `make docs` builds: it builds without a warning, every link leads somewhere, every public name is in it.

Then a real browser opens it: Chromium and its driver of the system (Debian: `apt install chromium-driver`).
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.public_modules import PUBLIC_MODULES
from storewriter import PerStoreWriterQueue

pytest.importorskip("sphinx", reason="the extra `docs` is not installed")
pytest.importorskip("furo", reason="the extra `docs` is not installed")
pytest.importorskip("myst_parser", reason="the extra `docs` is not installed")

ROOT = Path(__file__).parents[2]
LINK_CHECK = ROOT / ".ci" / "site-links"

pytestmark = pytest.mark.timeout(400)  # the build is one of these tests' fixtures


def _build(source: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going", "--builder", "html"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONWARNINGS": "ignore"}
    return subprocess.run(
        [*command, source, site], env=environment, capture_output=True, text=True, check=False, cwd=ROOT
    )


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The site, built once, whichever workers of pytest-xdist run these tests."""
    base = tmp_path_factory.getbasetemp()
    site = (base if worker_id == "master" else base.parent) / "site"
    with PerStoreWriterQueue(timeout=300).turn(site.with_name("site.built")):
        if not site.with_name("site.built").exists():
            done = _build(ROOT / "docs", site)
            assert done.returncode == 0, done.stdout + done.stderr
            site.with_name("site.built").touch()
    return site


def _follow_links(site: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, LINK_CHECK, site], capture_output=True, text=True, check=False)


@pytest.mark.skipif(not LINK_CHECK.exists(), reason="the source distribution has no .ci")
def test_every_link_leads_somewhere(site: Path) -> None:
    done = _follow_links(site)

    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.skipif(not LINK_CHECK.exists(), reason="the source distribution has no .ci")
@pytest.mark.parametrize(
    ("link", "fault"),
    [
        ("faq.html", "there is no such file"),
        ("#nowhere", "there is no such place on the page"),
        ("../other/index.html", "leads out of the site"),
        ("http://example.org/", "is not https"),
    ],
)
def test_a_dead_link_is_found(link: str, fault: str, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(f'<h1 id="here">x</h1>\n<a href="{link}">dead</a><a href="#here">good</a>')

    done = _follow_links(tmp_path)

    assert done.returncode == 1
    assert done.stdout.splitlines() == [f"index.html:2: {link}: {fault}"]


def _described(site: Path) -> set[str]:
    """The last part of every Python name that has an entry in the reference."""
    packed = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]  # after four lines of text
    entries = [line.split() for line in zlib.decompress(packed).decode().splitlines()]
    return {name.rsplit(".", 1)[-1] for name, kind, *_ in entries if kind.startswith("py:")}


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    described = _described(site)

    missing = [
        f"{module}.{name}"
        for module in PUBLIC_MODULES
        for name in importlib.import_module(module).__all__
        if name not in described
    ]

    assert missing == []


def test_no_page_is_left_out_of_the_menu(site: Path) -> None:
    menu = (site / "index.html").read_text(encoding="utf-8")
    pages = [page.relative_to(ROOT / "docs") for page in (ROOT / "docs").rglob("*.md")]
    top = [page for page in pages if page.parts[:2] != ("reference", "api") and page.name != "index.md"]

    assert [str(page) for page in top if f'href="{page.with_suffix(".html")}"' not in menu] == []


# --- in a browser ---


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(site)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout
        port = re.findall(r"port (\d+)", server.stdout.readline())[0]
        yield f"http://127.0.0.1:{port}"
        server.terminate()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed (extra `docs`)")
    chromium, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no Chromium with its driver here (Debian: apt install chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.add_argument("--window-size=1400,1000")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield browser
    browser.quit()


def _wait(browser: Any, condition: str) -> Any:
    """The value of a JavaScript expression, once it is true."""
    from selenium.webdriver.support.wait import WebDriverWait

    return WebDriverWait(browser, 60).until(lambda b: b.execute_script(f"return {condition}"))


def test_every_page_opens_without_an_error_and_asks_no_other_site(browser: Any, address: str, site: Path) -> None:
    pages = sorted(str(page.relative_to(site)) for page in site.rglob("*.html") if "_modules" not in page.parts)
    browser.get_log("browser")
    browser.get_log("performance")

    for page in pages:
        browser.get(f"{address}/{page}")
        assert browser.execute_script("return document.querySelector('article') !== null"), page
        broken = browser.execute_script(
            "return [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
        )
        assert broken == [], page

    errors = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert errors == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert len(asked) > len(pages)
    assert [url for url in asked if not url.startswith((address, "data:", "chrome:"))] == []


def test_the_search_finds_a_page(browser: Any, address: str) -> None:
    browser.get(f"{address}/search.html?q=StrategyMismatch")

    found = _wait(browser, "[...document.querySelectorAll('#search-results li a')].map(a => a.href).join(' ') || null")

    assert "strategies.html" in found


def test_there_is_a_dark_and_a_light_theme(browser: Any, address: str) -> None:
    browser.get(f"{address}/index.html")
    seen = {}
    for _ in range(3):  # dark, light, as the system has it
        browser.execute_script("document.querySelector('.theme-toggle').click()")
        theme, background, text = browser.execute_script(
            "const style = getComputedStyle(document.body);"
            "return [document.body.dataset.theme, style.backgroundColor, style.color]"
        )
        seen[theme] = (_brightness(background), _brightness(text))

    assert set(seen) >= {"dark", "light"}
    assert seen["dark"][0] < 60 < 180 < seen["dark"][1]
    assert seen["light"][1] < 60 < 180 < seen["light"][0]


def _brightness(colour: str) -> float:
    numbers = [float(part) for part in colour[colour.index("(") + 1 : -1].replace(",", " ").split()[:3]]
    return sum(numbers) / 3


def test_a_link_of_the_menu_leads_to_its_page(browser: Any, address: str) -> None:
    browser.get(f"{address}/index.html")
    browser.execute_script("document.querySelector('.sidebar-tree a[href=\"guarantees.html\"]').click()")

    assert _wait(browser, "location.pathname.endsWith('guarantees.html') && document.readyState == 'complete'")
    assert "guaranteed" in browser.title
