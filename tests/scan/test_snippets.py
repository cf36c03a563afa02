"""Sixty labelled snippets, written before the scanner: what it finds of them, and what it wrongly reports."""

from __future__ import annotations

from pathlib import Path

import pytest

from storewriter.scan import scan

SNIPPETS = sorted((Path(__file__).parent / "snippets").glob("*.py"))
RACY = [path for path in SNIPPETS if path.name.startswith("racy")]
SAFE = [path for path in SNIPPETS if path.name.startswith("safe")]


def test_the_set_is_what_the_docs_say() -> None:
    assert (len(RACY), len(SAFE)) == (30, 30)
    for path in SNIPPETS:
        assert path.read_text().startswith(f"# {path.name[:4]}: ")


@pytest.mark.parametrize("path", RACY, ids=lambda path: path.stem)
def test_a_racy_snippet_is_found(path: Path) -> None:
    assert scan([str(path)]).findings


@pytest.mark.parametrize("path", SAFE, ids=lambda path: path.stem)
def test_a_safe_snippet_is_not_reported(path: Path) -> None:
    assert scan([str(path)]).findings == ()


def test_recall_and_precision() -> None:
    found = [path for path in RACY if scan([str(path)]).findings]
    wrong = [path for path in SAFE if scan([str(path)]).findings]
    assert len(found) / len(RACY) >= 0.9
    assert len(found) / (len(found) + len(wrong)) >= 0.9
