"""Which tests run a line of the library, in their children too: found once, by coverage; a mutant then costs seconds."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import attrs

HERE: Final = Path(__file__).parent

TESTS: Final = (
    *("turns", "locks", "files", "store", "faults", "watch", "backends", "platform"),
    *("crash/test_killed_processes.py", "torture/test_fuzz.py", "torture/test_cancellation.py"),
    "cli/test_break_command.py",
)
"""Under `tests/`: what is run to find out, and so what can catch a mutant."""

UNTRACED: Final = {
    "_turns": ("turns",),
    "locks": ("locks", "turns"),
    "_files": ("store", "turns"),
    "_commits": ("store",),
    "_backends": ("store",),
}
"""By folder of the library: where the tests are, for all of its lines, that a tracer disturbs (`untraced`)."""

FIRST: Final = 6.0
"""Seconds of the tests that each mutant meets first, each at the duration that it had without a mutant."""
THEN: Final = 60.0
"""The same of those that a mutant meets if it survives the first."""
_LONG: Final = 20.0
"""Seconds of a test that no mutant is given."""

_SETTINGS: Final = """
[run]
source_pkgs = storewriter
parallel = true
data_file = {folder}/data
patch = subprocess, fork, _exit
disable_warnings = no-data-collected, module-not-measured, module-not-imported, trace-changed
"""


def find(repository: Path, folder: Path, python: str, workers: int) -> None:
    """Run the tests in `repository` once, and write what they run to `folder`, one file for each module."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "coverage.ini"
    settings.write_text(_SETTINGS.format(folder=folder))
    tests = [f"tests/{name}" for name in TESTS]
    pytest = ["-m", "pytest", "-q", "-n", str(workers), "--dist", "loadfile", "--timeout", "300", *tests]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(repository / "src"), str(HERE)])}
    tracer = [python, "-m", "coverage", "run", f"--rcfile={settings}"]
    traced = ["-p", "contexts", "-m", "not untraced and not slow", f"--junitxml={folder / 'traced.xml'}"]
    untraced = ["-m", "untraced and not slow", f"--junitxml={folder / 'untraced.xml'}"]
    for words in ([*tracer, *pytest, *traced], [python, *pytest, *untraced]):
        subprocess.run(words, cwd=repository, env=environment, check=False)
    write(folder)


def write(folder: Path) -> None:
    """Combine what coverage has found, and how long the tests took."""
    import coverage

    data = coverage.CoverageData(str(folder / "combined"))
    for file in folder.glob("data.*"):
        one = coverage.CoverageData(str(file))
        one.read()
        data.update(one)
    seconds = _durations(folder / "traced.xml")
    for measured in data.measured_files():
        lines = {
            str(number): [test for test in tests if test in seconds or not test]
            for number, tests in data.contexts_by_lineno(measured).items()
        }
        (folder / _file(measured.rpartition("/storewriter/")[2])).write_text(json.dumps(lines))
    (folder / "seconds.json").write_text(json.dumps(seconds))
    (folder / "untraced.json").write_text(json.dumps(_durations(folder / "untraced.xml")))


def _file(module: str) -> str:
    return module.replace("/", ".") + ".json"


def _durations(file: Path) -> dict[str, float]:
    """By test that passed."""
    seconds: dict[str, float] = {}
    for case in ElementTree.parse(file).getroot().iter("testcase"):
        if case.find("failure") is None and case.find("error") is None and case.find("skipped") is None:
            path = case.get("classname", "").replace(".", "/") + ".py"
            seconds[f"{path}::{case.get('name', '')}"] = float(case.get("time", 0.0))
    return seconds


@attrs.frozen
class Covering:
    """What `find` has written, of one module."""

    module: str
    """Such as `locks/_gate.py`."""
    lines: dict[int, list[str]]
    """By line: the tests that run it. The empty one: it is run by the import."""
    seconds: dict[str, float]
    """By test."""
    untraced: dict[str, float]
    """The same of tests that a tracer disturbs, and of which the lines are not known."""

    @classmethod
    def read(cls, folder: Path, module: str) -> Covering:
        """Of a module that no test imports: no lines."""
        file = folder / _file(module)
        lines = json.loads(file.read_text()) if file.exists() else {}
        return cls(
            module,
            {int(number): tests for number, tests in lines.items()},
            json.loads((folder / "seconds.json").read_text()),
            json.loads((folder / "untraced.json").read_text()),
        )

    def tests(self, source: str, line: int) -> tuple[list[str], list[str]]:
        """Two lists, each with the quickest first: what a mutant in this line meets at once, and what after that."""
        of_line = {test for number in _statement(source, line) for test in self.lines.get(number, ())}
        if of_line and "" not in of_line:
            first = _chosen({test: self.seconds[test] for test in of_line}, FIRST)
        else:
            # The import runs it, or nothing does: a test of each line of the module, and then the others.
            of_each = [tests for tests in self.lines.values() if tests and "" not in tests]
            of_line = {test for tests in of_each for test in tests}
            quickest = {min(tests, key=self.seconds.__getitem__) for tests in of_each}
            first = _chosen({test: self.seconds[test] for test in quickest}, THEN)
        more = {test: self.seconds[test] for test in of_line if test not in first}
        folders = tuple(f"tests/{name}/" for name in UNTRACED[self.module.partition("/")[0]])
        more |= {test: cost for test, cost in self.untraced.items() if test.startswith(folders)}
        return first, _chosen(more, THEN)


def _chosen(costs: dict[str, float], seconds: float) -> list[str]:
    """A quick one of each test file in turn, until they cost too much together."""
    files: dict[str, list[str]] = defaultdict(list)
    for test in sorted((test for test in costs if costs[test] <= _LONG), key=costs.__getitem__, reverse=True):
        files[test.partition("::")[0]].append(test)
    chosen: list[str] = []
    while files:
        for file in sorted(files, key=lambda file: costs[files[file][-1]]):
            test = files[file].pop()
            seconds -= costs[test]
            if seconds < 0:
                return sorted(chosen, key=costs.__getitem__)
            chosen.append(test)
            if not files[file]:
                del files[file]
    return sorted(chosen, key=costs.__getitem__)


def _statement(source: str, line: int) -> Iterable[int]:
    """The lines of the innermost statement around the line, without those of a block in it."""
    found = range(line, line + 1)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or node.lineno):
            block = getattr(node, "body", None)
            last = block[0].lineno - 1 if isinstance(block, list) else node.end_lineno or node.lineno
            if line <= max(last, node.lineno):
                found = range(node.lineno, max(last, node.lineno) + 1)  # the walk goes from outside to the inside
    return found
