"""Make `benchmarks` and this folder's contenders importable, here and in the processes that measure."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent

for folder in (HERE, REPOSITORY):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


@pytest.fixture(autouse=True)
def _measuring_processes_find_the_contenders(monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [str(HERE), str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(folders))
