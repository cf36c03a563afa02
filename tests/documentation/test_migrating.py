"""The page on migrating: old and new versions of its program run at the same time, as processes, and lose nothing."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "migrating.md"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)

TOGETHER = """
import json, multiprocessing, sys
from pathlib import Path

import program

functions = [getattr(program, name) for name in sys.argv[1:]]
Path("state.json").write_text('{"n": 0}')
context = multiprocessing.get_context("fork")
start = context.Barrier(len(functions))

def count_to_100(function):
    start.wait()
    for _ in range(100):
        function()

children = [context.Process(target=count_to_100, args=(function,)) for function in functions]
for child in children:
    child.start()
for child in children:
    child.join()
assert [child.exitcode for child in children] == [0] * len(children)
"""


def _definitions_of(page: Path) -> str:
    """The functions, classes and stores of a page, without what the page does with them."""
    tree = ast.parse("\n".join(BLOCK.findall(page.read_text(encoding="utf-8"))))
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
    return "\n".join(ast.unparse(part) for part in tree.body if isinstance(part, kinds) or _is_store(part))


def _is_store(part: ast.stmt) -> bool:
    return isinstance(part, ast.Assign) and ast.unparse(part.value).startswith("Store(")


def _run_together(folder: Path, *functions: str) -> int:
    """What the document counts after each of these functions of the page has run 100 times, in a process of its own."""
    (folder / "program.py").write_text(_definitions_of(PAGE))
    (folder / "together.py").write_text(TOGETHER)
    subprocess.run([sys.executable, "together.py", *functions], cwd=folder, check=True)
    state = json.loads((folder / "state.json").read_text())
    assert isinstance(state["n"], int)
    return state["n"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("count_under_filelock", "count_in_a_store"),
        ("count_under_portalocker", "count_in_a_store"),
        ("count_under_fasteners", "count_beside_fasteners"),
    ],
)
def test_old_and_new_version_side_by_side_keep_600_of_600_updates(old: str, new: str, tmp_path: Path) -> None:
    for module in ("filelock", "portalocker", "fasteners", "tinydb", "sqlitedict"):
        pytest.importorskip(module)

    assert _run_together(tmp_path, old, old, old, new, new, new) == 600


@pytest.mark.skipif(not (shutil.which("flock") and shutil.which("jq")), reason="flock(1) and jq are not installed")
def test_an_old_shell_script_and_the_new_command_side_by_side(tmp_path: Path) -> None:
    pytest.importorskip("click", reason="the extra `cli` is not installed")
    script = next(line for line in PAGE.read_text(encoding="utf-8").splitlines() if "flock state.json.lock sh" in line)
    (tmp_path / "state.json").write_text('{"n": 0}')
    old = ["sh", "-c", f"for i in $(seq 40); do {script.removeprefix('$ ')}; done"]
    command = f"{sys.executable} -m storewriter pipe --also flock state.json -- jq '.n += 1'"
    new = ["sh", "-c", f"for i in $(seq 10); do {command} || exit 1; done"]

    running = [subprocess.Popen(words, cwd=tmp_path, text=True) for words in (old, old, new, new)]

    assert [one.wait() for one in running] == [0, 0, 0, 0]
    assert json.loads((tmp_path / "state.json").read_text()) == {"n": 100}
