"""Types as users meet them: mypy and pyright read calls, mistakes, the examples, and the code in the documents.

`make types` runs this; without both checkers (the extra `lint`) it is skipped.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy", reason="the extra `lint` is not installed")
pytest.importorskip("pyright", reason="the extra `lint` is not installed")

ROOT = Path(__file__).parent.parent.parent
HERE = Path(__file__).parent
DOCUMENTS = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])

# Code of a document is read from top to bottom, as a reader does: a later block may define a name anew, and functions
# are not annotated. What they do is checked all the same.
# Of the libraries that a page migrates from, some have no types.
MYPY_DOCUMENTS = [
    "--check-untyped-defs",
    "--disable-error-code=no-redef",
    "--disable-error-code=import-untyped",
    "--allow-redefinition",
]
PYRIGHT_DOCUMENTS = {
    "typeCheckingMode": "standard",
    "reportRedeclaration": False,
    "reportAttributeAccessIssue": "error",
}

pytestmark = [pytest.mark.timeout(600)]


def _mypy(folder: Path, *arguments: object) -> dict[Path, set[int]]:
    """Lines with an error, by file."""
    environment = {**os.environ, "MYPYPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "mypy", "--config-file=", "--no-color-output", "--no-error-summary"]
    command += [f"--cache-dir={folder / 'mypy'}", "--no-pretty", *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    print(done.stdout)
    found: dict[Path, set[int]] = {}
    for path, line in re.findall(r"^(.+?):(\d+): error:", done.stdout, re.MULTILINE):
        found.setdefault((folder / path).resolve(), set()).add(int(line))
    return found


def _pyright(folder: Path, settings: dict[str, object], *files: Path) -> dict[Path, set[int]]:
    """Lines with an error, by file."""
    wanted = [os.path.relpath(file, folder) for file in files]
    config = {"include": wanted, "extraPaths": [str(ROOT / "src")], **settings}
    (folder / "pyrightconfig.json").write_text(json.dumps(config))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(folder)]
    environment = {**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] >= len(files), done.stdout
    found: dict[Path, set[int]] = {}
    for one in report["generalDiagnostics"]:
        if one["severity"] == "error":
            print(f"{one['file']}:{one['range']['start']['line'] + 1}: {one['message']}")
            found.setdefault(Path(one["file"]).resolve(), set()).add(one["range"]["start"]["line"] + 1)
    return found


def _refused_lines() -> set[int]:
    lines = (HERE / "refused_calls.py").read_text().splitlines()
    return {number for number, line in enumerate(lines, 1) if ")  # wrong: " in line}


CORRECT = [HERE / "api.py", HERE / "basic_calls.py", *sorted((ROOT / "examples").glob("*.py"))]


def test_mypy_accepts_what_users_write_and_refuses_their_mistakes(tmp_path: Path) -> None:
    found = _mypy(tmp_path, "--strict", *CORRECT, HERE / "refused_calls.py")

    assert found == {HERE / "refused_calls.py": _refused_lines()}


def test_pyright_accepts_what_users_write_and_refuses_their_mistakes(tmp_path: Path) -> None:
    found = _pyright(tmp_path, {"typeCheckingMode": "strict"}, *CORRECT, HERE / "refused_calls.py")

    assert found == {HERE / "refused_calls.py": _refused_lines()}


def _code_of(document: Path) -> str:
    """The Python blocks of a document, each line where it stands there."""
    lines, inside = [], False
    for line in document.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            inside = line == "```python"
            lines.append("")
        else:
            lines.append(line if inside else "")
    return "\n".join(lines) + "\n"


def _extracted(folder: Path) -> list[Path]:
    """A module for each document with code; the name says which."""
    modules = []
    for document in DOCUMENTS:
        code = _code_of(document)
        if code.strip():
            module = folder / f"{document.stem.replace('-', '_').lower()}_code.py"
            module.write_text(code, encoding="utf-8")
            modules.append(module)
    return modules


@pytest.fixture
def documents(tmp_path: Path) -> list[Path]:
    modules = _extracted(tmp_path)
    assert len(modules) >= 5
    return modules


def test_mypy_accepts_the_code_in_the_documents(documents: list[Path], tmp_path: Path) -> None:
    assert _mypy(tmp_path, *MYPY_DOCUMENTS, *documents) == {}


def test_pyright_accepts_the_code_in_the_documents(documents: list[Path], tmp_path: Path) -> None:
    assert _pyright(tmp_path, PYRIGHT_DOCUMENTS, *documents) == {}
