"""For the scanner: `found` scans a source text and returns its findings."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from storewriter.scan import Finding, scan

Found = Callable[..., tuple[Finding, ...]]


@pytest.fixture
def found(tmp_path: Path) -> Found:
    def find(source: str, **others: str) -> tuple[Finding, ...]:
        for name, text in {"main": source, **others}.items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        return scan([str(tmp_path)]).findings

    return find
