"""What the documentation names is there: tests, modules, files."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "RELEASING.md", *(ROOT / "docs").rglob("*.md")])

TEST_NAME = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")
PLACE = re.compile(r"\]\((?!https?://)([^)#\s]*\.md)?#([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
GUARANTEES = ROOT / "docs" / "guarantees.md"
GLOSSARY = ROOT / "docs" / "glossary.md"


def places_in(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = HEADING.findall(CODE.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def functions_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    named = TEST_NAME.findall(page.read_text())

    missing = [
        f"{path}::{test}"
        for path, test in named
        if not (ROOT / path).is_file() or (test and test not in functions_in(ROOT / path))
    ]

    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    missing = [target for target in LINK.findall(page.read_text()) if not (page.parent / target).exists()]

    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_heading_leads_to_one(page: Path) -> None:
    links = PLACE.findall(page.read_text())

    assert [f"{to}#{place}" for to, place in links if place not in places_in(page.parent / to if to else page)] == []


def test_the_glossary_explains_each_of_its_words_and_says_where_more_is() -> None:
    rows = [row.split(" | ") for row in GLOSSARY.read_text().splitlines() if re.match(r"\| [a-z]", row)][1:]
    words = [row[0].removeprefix("| ") for row in rows]

    assert {"turn", "lane", "gate", "hold", "lease", "fence", "reclaim"} <= set(words)
    assert len(set(words)) == len(words) == 15
    assert [row for row in rows if len(row) != 3 or not LINK.search(row[2])] == []


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md"])
def test_the_glossary_is_found_from_the_pages_that_use_its_words(page: str) -> None:
    targets = [(ROOT / page).parent / target for target in LINK.findall((ROOT / page).read_text())]

    assert GLOSSARY in [target.resolve() for target in targets]


def test_every_promise_names_a_test() -> None:
    promises = re.split(r"^(?=\*\*)", GUARANTEES.read_text(), flags=re.MULTILINE)[1:]

    assert len(promises) > 50
    assert [promise for promise in promises if not TEST_NAME.search(promise)] == []


def test_the_promises_can_be_read_as_text() -> None:
    lines = GUARANTEES.read_text().splitlines()

    assert [line for line in lines if len(line) > 160] == []
    assert [line for line in lines if line.startswith("|")] == []


def test_the_architecture_page_names_every_module_that_has_a_floor() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    floors = " ".join(contracts[0]["layers"])
    page = (ROOT / "docs" / "architecture.md").read_text()

    missing = [name for name in re.findall(r"\w+", floors) if not re.search(rf"\b{name}(\.py|/)", page)]

    assert missing == []
