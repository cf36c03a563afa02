"""Which other Pythons `make test-all` tests: one of each supported minor version, the newest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FINDER = Path(__file__).parents[2] / ".ci" / "pythons"

pytestmark = pytest.mark.skipif(not FINDER.exists(), reason="the source distribution has no .ci")


def _put(folder: Path, name: str, answer: str) -> Path:
    """A program that answers the question for its version with this."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\n{answer}\n")
    program.chmod(0o755)
    return program


def test_of_each_other_minor_version_the_newest_is_found(tmp_path: Path) -> None:
    versions, on_path = tmp_path / "pyenv" / "versions", tmp_path / "bin"
    _put(versions / "3.98.1" / "bin", "python", "echo True 3 98 1")
    newest = _put(versions / "3.98.2" / "bin", "python", "echo True 3 98 2")
    _put(versions / "3.10.13" / "bin", "python", "echo True 3 10 1")
    _put(versions / "2.7.18" / "bin", "python", "echo '(True, 2, 7)'")
    _put(versions / "pypy3.97" / "bin", "python", "echo False 3 97 1")
    _put(versions / "this" / "bin", "python", f"echo True 3 {sys.version_info.minor} 1")
    _put(on_path, "python3.98", "echo True 3 98 1")
    elsewhere = _put(on_path, "python3.99", "echo True 3 99 1")
    _put(on_path, "python3.96", "echo 'pyenv: command not found' >&2; exit 127")
    _put(on_path, "python3.99-config", "echo True 3 95 1")
    (on_path / "python3.94").write_text("not a program")
    done = subprocess.run(
        [sys.executable, FINDER],
        env={**os.environ, "PYENV_ROOT": str(tmp_path / "pyenv"), "PATH": str(on_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == [f"3.98 {newest}", f"3.99 {elsewhere}"]
