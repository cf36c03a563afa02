"""Which tests run a line of the library: found once, by coverage, so that a mutant costs seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path
from typing import Final

import attrs

TESTS: Final = ("turns", "locks", "files", "store", "faults", "crash/test_killed_processes.py")
"""Under `tests/`: what is run to find out, and so what can catch a mutant."""
_NOT: Final = ("turns/test_interrupts_everywhere.py", "store/test_short_way.py")
"""Tests with a trace function of their own, which coverage would take away."""
SECONDS: Final = 20.0
"""What the tests of one mutant may cost together, each at the duration that it had under coverage."""

ALSO: Final = {
    "_turns/adapter": ("turns/test_turn_order",),
    "_turns/admission": ("turns/test_deadlines", "turns/test_backpressure"),
    "_turns/ending": ("turns/test_ending_once", "turns/test_interrupted_releases", "turns/test_processes"),
    "_turns/entering": ("turns/test_deadlines", "turns/test_reentrance", "turns/test_several_stores"),
    "_turns/line": (
        "turns/test_paths",
        "turns/test_turn_order",
        "turns/test_lane_model",
        "turns/test_leaving_the_line",
    ),
    "_turns/marks": ("turns/test_reentrance", "turns/test_loops_in_handlers"),
    "_turns/messages": ("turns/test_messages", "locks/test_inherited"),
    "_turns/off_loop": ("turns/test_out_of_means", "turns/test_closed_loops"),
    "_turns/waiters": ("turns/test_waiters", "turns/test_leaving_the_line", "turns/test_loops_in_handlers"),
    "_turns/waiting_thread": (
        "turns/test_closed_loops",
        "turns/test_out_of_means",
        "turns/test_crowds",
        "turns/test_processes",
    ),
    "locks/_access_lists": ("locks/test_users",),
    "locks/_adapter": ("turns/test_own_strategies", "locks/test_contract"),
    "locks/_breaking": ("cli/test_break_command",),
    "locks/_gate": ("locks/test_interleavings", "turns/test_processes"),
    "locks/_guard": ("locks/test_guard", "locks/test_lease"),
    "locks/_holder": ("locks/test_status", "locks/test_inherited"),
    "locks/_lock_file": ("locks/test_lock_file", "locks/test_users"),
    "locks/_marker_attempt": ("locks/test_strategies_under_misfortune", "locks/test_obstacles", "locks/test_contract"),
    "locks/_marker_file": ("locks/test_marker_file", "locks/test_obstacles"),
    "locks/_marker_hold": ("locks/test_strategies_under_misfortune", "locks/test_lease", "locks/test_guard"),
    "locks/_marker_owner": ("locks/test_strategies_under_misfortune", "locks/test_status"),
    "locks/_marker_policy": ("locks/test_strategies_under_misfortune", "locks/test_lease"),
    "locks/_record": ("locks/test_records", "faults/test_limits"),
    "locks/_refusals": ("locks/test_mounts", "locks/test_strategy_mismatch"),
    "locks/_rights": ("locks/test_users",),
    "locks/flock": ("locks/test_contract", "locks/test_lock_file", "locks/test_inherited", "turns/test_processes"),
    "locks/lease": ("locks/test_lease", "turns/test_settings"),
    "locks/marker": ("locks/test_contract", "turns/test_settings"),
    "locks/in_process": ("locks/test_contract",),
    "_files/backups": ("files/test_backups_and_recovery", "files/test_alarms_and_backups"),
    "_files/folder_events": ("watch",),
    "_files/folders": ("turns/test_paths", "crash/test_power_cuts"),
    "_files/in_place": ("files/test_in_place_readers", "faults/test_faults"),
    "_files/keys": ("turns/test_paths", "turns/test_reserved_names"),
    "_files/replace": ("files/test_what_a_replace_keeps", "faults/test_faults", "faults/test_confirmed"),
    "_commits/batch": (
        "store/test_group_commit",
        "store/test_neighbours_without_a_lock",
        "store/test_own_outcomes",
        "store/test_shared_failures",
    ),
    "_commits/document": ("store/test_flushes", "store/test_changed_by_others", "store/test_own_objects"),
    "_commits/draft": ("store/test_updates", "store/test_own_objects", "store/test_shared_states"),
    "_commits/leading": ("store/test_forked_in_a_function", "store/test_deadlines_in_a_batch"),
    "_commits/transactions": ("store/test_transactions", "store/test_failing_release"),
}
"""Test files about a module, which are run as well: coverage does not see what a test does in other processes."""

_SETTINGS: Final = """
[run]
source_pkgs = storewriter
parallel = true
data_file = {folder}/data
dynamic_context = test_function
patch = subprocess
disable_warnings = no-data-collected, module-not-measured, module-not-imported, trace-changed
"""

Lines = dict[str, list[str]]
"""Tests by line number; JSON has no other keys than text."""


def find(repository: Path, folder: Path, python: str, workers: int) -> None:
    """Run the tests in `repository`, and write `folder/covering.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    settings, durations = folder / "coverage.ini", folder / "durations.xml"
    settings.write_text(_SETTINGS.format(folder=folder))
    words = [python, "-m", "coverage", "run", f"--rcfile={settings}", "-m", "pytest", "-q", "-n", str(workers)]
    words += ["--dist", "loadfile", "--timeout", "300", f"--junitxml={durations}"]
    words += [f"tests/{name}" for name in TESTS] + [f"--deselect=tests/{name}" for name in _NOT]
    environment = {**os.environ, "PYTHONPATH": str(repository / "src")}
    subprocess.run(words, cwd=repository, env=environment, check=False)
    write(repository, folder)


def write(repository: Path, folder: Path) -> None:
    """Combine what coverage has found."""
    import coverage

    data = coverage.CoverageData(str(folder / "combined"))
    for file in folder.glob("data.*"):
        one = coverage.CoverageData(str(file))
        one.read()
        data.update(one)
    seconds = _durations(folder / "durations.xml")
    files = {file.stem: file for file in (repository / "tests").rglob("test_*.py") if "node_modules" not in file.parts}
    found: dict[str, Lines] = {}
    for measured in data.measured_files():
        lines: Lines = defaultdict(list)
        for number, contexts in data.contexts_by_lineno(measured).items():
            lines[str(number)] = [test for context in contexts if (test := _test(context, files, repository))]
        found[_module(measured)] = lines
    (folder / "covering.json").write_text(json.dumps({"lines": found, "seconds": seconds}))


def _module(measured: str) -> str:
    return "src/storewriter/" + measured.rpartition("/storewriter/")[2]


def _test(context: str, files: dict[str, Path], repository: Path) -> str | None:
    module, _, name = context.rpartition(".")
    file = files.get(module.rpartition(".")[2])
    return None if file is None else f"{file.relative_to(repository)}::{name}"


def _durations(file: Path) -> dict[str, float]:
    """By test, with all its parameters."""
    seconds: dict[str, float] = defaultdict(float)
    for case in ElementTree.parse(file).getroot().iter("testcase"):
        path = case.get("classname", "").replace(".", "/") + ".py"
        seconds[f"{path}::{case.get('name', '').partition('[')[0]}"] += float(case.get("time", 0.0))
    return seconds


@attrs.frozen
class Covering:
    """What `find` has written."""

    lines: dict[str, Lines]
    seconds: dict[str, float]

    @classmethod
    def read(cls, folder: Path) -> Covering:
        found = json.loads((folder / "covering.json").read_text())
        return cls(found["lines"], found["seconds"])

    def tests(self, module: str, line: int) -> list[str]:
        """Those that run the line: a quick one of each file in turn, until they cost too much together.

        Of a line that only other processes run, or the import: those that run any line of the module.
        """
        files: dict[str, list[str]] = defaultdict(list)
        lines = self.lines.get(module, {})
        for test in lines.get(str(line)) or dict.fromkeys(test for tests in lines.values() for test in tests):
            files[test.partition("::")[0]].append(test)
        for tests in files.values():
            tests.sort(key=self._cost, reverse=True)
        chosen: list[str] = []
        spent = 0.0
        while files:
            for file in _near(module, files):
                test = files[file].pop()
                if not files[file]:
                    del files[file]
                if spent + self._cost(test) <= SECONDS:
                    chosen.append(test)
                    spent += self._cost(test)
        return [*chosen, *_about(module)]

    def _cost(self, test: str) -> float:
        return self.seconds.get(test, 1.0)


def _about(module: str) -> list[str]:
    names = ALSO.get(module.removeprefix("src/storewriter/").removesuffix(".py"), ())
    return [f"tests/{name}.py" if "/" in name else f"tests/{name}" for name in names]


def _near(module: str, files: dict[str, list[str]]) -> list[str]:
    """The test files of the module's own folder come first."""
    folder = module.split("/")[2].lstrip("_")
    return sorted(files, key=lambda file: (f"tests/{folder}/" not in file, file))


if __name__ == "__main__":
    _repository, _folder = map(Path, sys.argv[1:])
    write(_repository, _folder)
