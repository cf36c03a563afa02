"""Every page with a block of Python is collected: the top-level `conftest.py` says which files sybil reads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_blocks_of_every_page_are_tests() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    with_code = {str(page.relative_to(ROOT)) for page in pages if "\n```python\n" in page.read_text(encoding="utf-8")}
    command = [sys.executable, "-m", "pytest", "--collect-only", "-qq", "-p", "no:xdist", "README.md", "docs"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    collected = {line.split(":")[0] for line in done.stdout.splitlines() if ".md" in line}
    assert len(with_code) > 10
    assert with_code - collected == set(), done.stdout
