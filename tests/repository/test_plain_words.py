"""The check of `make lint` that refuses words for people in comments, docstrings and documents (`.ci/plain-words`)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHECK = ROOT / ".ci" / "plain-words"

pytestmark = pytest.mark.skipif(not CHECK.exists(), reason="the source distribution has no .ci")


def _check(*folders: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, CHECK, *folders], capture_output=True, text=True, check=False)


def _check_text(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    (folder / "module.py").write_text(text)
    return _check(folder)


@pytest.mark.parametrize("word", ["he", "him", "his", "whoever", "whom", "nobody", "somebody", "anybody", "everybody"])
def test_each_word_is_found_with_its_line(word: str, tmp_path: Path) -> None:
    done = _check_text(tmp_path, f"first = 1\nsecond = 2  # the turn of {word}\n")

    assert done.returncode == 1
    assert f"module.py:2: {word!r}: # the turn of {word}" in done.stdout


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("# Nobody waits.\n", 1),
        ('"""A module.\n\nWhoever comes first.\n"""\n', 3),
        ('class Lane:\n    """His turn."""\n', 2),
        ('def wait() -> None:\n    """Wait.\n\n    Somebody may come.\n    """\n', 4),
        ('class Lane:\n    left = 0\n    """How many nobody waits for."""\n', 3),
        ("waiting = [\n    1,  # his\n]\n", 2),
    ],
    ids=["comment", "module", "class", "function", "attribute", "comment in brackets"],
)
def test_it_is_found_in_every_kind_of_comment_and_docstring(text: str, line: int, tmp_path: Path) -> None:
    done = _check_text(tmp_path, text)

    assert done.returncode == 1
    assert f"module.py:{line}: " in done.stdout


@pytest.mark.parametrize(
    "text",
    [
        'message = "nobody waits"\n',
        'message = """\nnobody waits\n"""\n',
        'print(\n    "nobody waits",\n)\n',
        "nobody = 1\nwaiter = nobody  # the null waiter\n",
        "# State NOBODY: `nobody` is set.\n",
        "# The cache and the history; the theme.\n",
    ],
    ids=["string", "long string", "argument", "identifier", "name in a comment", "part of a word"],
)
def test_it_is_not_found_elsewhere(text: str, tmp_path: Path) -> None:
    done = _check_text(tmp_path, text)

    assert (done.returncode, done.stdout) == (0, "")


def test_a_folder_without_files_is_an_error(tmp_path: Path) -> None:
    done = _check(tmp_path)

    assert done.returncode == 2
    assert "no Python files and no documents" in done.stderr


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("Nobody waits.\n", True),
        ("| the holder | his turn |\n", True),
        ("```python\nx = 1  # whoever comes first\n```\n", True),
        ("```python\nnobody = 1\n```\n", False),
        ("```console\n$ whoami\nnobody\n```\n", False),
        ("The user `nobody`.\n", False),
    ],
    ids=["sentence", "table", "comment in code", "code", "output", "code in a sentence"],
)
def test_a_document_is_read_without_its_code(text: str, is_found: bool, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(text)

    assert _check(tmp_path).returncode == (1 if is_found else 0)
    assert _check(tmp_path / "page.md").returncode == (1 if is_found else 0)


def test_the_repository_has_none() -> None:
    folders = [ROOT / name for name in ("src", "tests", "benchmarks", "examples", "docs")]
    done = _check(*folders, *ROOT.glob("*.md"))

    assert (done.returncode, done.stdout) == (0, "")


def test_make_lint_runs_it() -> None:
    assert ".ci/plain-words src tests benchmarks examples docs *.md\n" in (ROOT / "Makefile").read_text()
