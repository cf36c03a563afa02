"""Mutation testing of turns, locks, files and commits: `make mutants SAMPLE=160 SEED=1`.

In copies of the last commit, cosmic-ray changes one place of the code after the other, and the tests that run the
changed line have to fail. The sample is drawn by place, so that a `+`, for which cosmic-ray has eleven replacements,
counts once. A run that was stopped goes on where it was. Ends with 1 if fewer were caught than `--at-least`.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import os
import random
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter, defaultdict
from pathlib import Path
from typing import Final

import covering
from cosmic_ray.commands import init
from cosmic_ray.config import load_config
from cosmic_ray.modules import filter_paths, find_modules
from cosmic_ray.work_db import WorkDB
from cosmic_ray.work_item import MutationSpec, WorkItem, WorkResult

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent.parent
FOLDERS: Final = ("_turns", "locks", "_files", "_commits", "_backends")
SESSION: Final = "session.sqlite"


def main() -> int:
    """Draw, run, report."""
    given = _arguments()
    commit = _said("git", "rev-parse", "--short=12", "HEAD") if given.commit is None else given.commit
    folder: Path = given.folder.absolute() / commit
    run = folder / f"{given.sample}-{given.seed}"
    if not given.report:
        copies = _copies(run, given, commit)
        if not (folder / "covering" / "seconds.json").exists():
            covering.find(copies[0], folder / "covering", given.python, given.workers)
        _execute(copies, folder / "covering", given.python)
    return _report(sorted(run.glob("copy*")), folder / "covering", given)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/mutants", description=__doc__)
    parser.add_argument("--sample", type=int, default=160, help="mutants, as many of each folder")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--commit", help="another one than HEAD")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--python", default=sys.executable, help="the interpreter of the tests")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "mutants")
    parser.add_argument("--report", action="store_true", help="of what was run so far; run nothing")
    parser.add_argument("--at-least", type=float, default=0.9, help="share that must be caught")
    return parser.parse_args()


def _said(*words: str, cwd: Path = ROOT) -> str:
    return subprocess.run(words, cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()


def _copies(run: Path, given: argparse.Namespace, commit: str) -> list[Path]:
    """One for each worker; those of a run that was stopped, without the mutant that it was at."""
    copies = sorted(run.glob("copy*"))
    if copies and all((copy / SESSION).exists() for copy in copies):
        for copy in copies:
            _said("git", "checkout", "--quiet", "src", cwd=copy)
        return copies
    shutil.rmtree(run, ignore_errors=True)
    copies = [run / f"copy{number}" for number in range(given.workers)]
    for copy in copies:
        _said("git", "clone", "--quiet", str(ROOT), str(copy))
        _said("git", "checkout", "--quiet", commit, cwd=copy)
        # By what a module says and not by its time, of which two mutants may have the same.
        words = [given.python, "-m", "compileall", "-q", "--invalidation-mode", "checked-hash", "src"]
        subprocess.run(words, cwd=copy, check=True)
    _prepare(copies, given)
    return copies


def _prepare(copies: list[Path], given: argparse.Namespace) -> None:
    """Draw the mutants, and give each copy a session with its share."""
    config = (HERE / "cosmic-ray.toml").read_text().replace("{python}", given.python).replace("{here}", str(HERE))
    for copy in copies:
        (copy / "cosmic-ray.toml").write_text(config)
    every = copies[0] / "every.sqlite"
    settings = load_config(str(copies[0] / "cosmic-ray.toml"))
    with contextlib.chdir(copies[0]), contextlib.closing(WorkDB(str(every), WorkDB.Mode.create)) as work:
        modules = find_modules([Path(name) for name in settings["module-path"]])
        init(filter_paths(modules, settings["excluded-modules"]), work, {})
        items = tuple(work.work_items)
    chosen = _sample(items, given.sample, random.Random(given.seed), copies[0])
    for number, copy in enumerate(copies):
        with contextlib.closing(WorkDB(str(copy / "part"), WorkDB.Mode.create)) as work:
            work.add_work_items(chosen[number :: len(copies)])
        (copy / "part").rename(copy / SESSION)
    print(f"{len(chosen)} mutants of {len(items)}", flush=True)


_COSMIC_RAY: Final = (str(Path(sys.executable).with_name("cosmic-ray")),)


def _sample(items: tuple[WorkItem, ...], size: int, rng: random.Random, copy: Path) -> list[WorkItem]:
    """As many places of each folder, and of each place one mutant. In an order that mixes the folders."""
    notes = {path: _never_run(copy / path) for path in {item.mutations[0].module_path for item in items}}
    places: dict[str, dict[tuple[str, tuple[int, int]], list[WorkItem]]] = defaultdict(lambda: defaultdict(list))
    for item in sorted(items, key=lambda item: _key(item.mutations[0])):
        (mutation,) = item.mutations
        if mutation.start_pos not in notes[mutation.module_path]:
            folder = next(name for name in FOLDERS if name in mutation.module_path.parts)
            places[folder][str(mutation.module_path), mutation.start_pos].append(item)
    drawn = [rng.sample(list(places[folder].values()), size // len(FOLDERS)) for folder in FOLDERS]
    return [rng.choice(mutants) for of_each in zip(*drawn, strict=True) for mutants in of_each]


def _key(mutation: MutationSpec) -> tuple[str, tuple[int, int], str]:
    return str(mutation.module_path), mutation.start_pos, mutation.operator_name


class _NeverRun(ast.NodeVisitor):
    """Places of annotations, which are text at run time, and of protocols, which no code calls."""

    def __init__(self) -> None:
        self.places: set[tuple[int, int]] = set()

    def note(self, node: ast.AST | None) -> None:
        if isinstance(node, ast.expr):
            for line in range(node.lineno, (node.end_lineno or node.lineno) + 1):
                begin = node.col_offset if line == node.lineno else 0
                end = (node.end_col_offset or 0) if line == node.end_lineno else 1000
                self.places.update((line, column) for column in range(begin, end))

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        bases = {ast.unparse(base).partition("[")[0] for base in node.bases}
        if "Protocol" in bases:
            lines = range(node.lineno + 1, (node.end_lineno or node.lineno) + 1)
            self.places.update((line, column) for line in lines for column in range(1000))
        self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> None:
        self.note(node.annotation)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.note(node.annotation)
        if node.value is not None:
            self.visit(node.value)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.note(node.returns)
        self.generic_visit(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.note(node.returns)
        self.generic_visit(node)


def _never_run(module: Path) -> set[tuple[int, int]]:
    visitor = _NeverRun()
    visitor.visit(ast.parse(module.read_text()))
    return visitor.places


def _execute(copies: list[Path], found: Path, python: str) -> None:
    running = []
    servers = []
    for copy in copies:
        socket = copy / "warm"
        servers.append(subprocess.Popen([python, str(HERE / "warm.py"), str(socket)]))
        paths = os.pathsep.join([str(copy / "src"), str(HERE)])
        environment = {**os.environ, "PYTHONPATH": paths, "COVERING": str(found), "WARM": str(socket)}
        words = [*_COSMIC_RAY, "exec", "cosmic-ray.toml", SESSION]
        running.append(subprocess.Popen(words, cwd=copy, env=environment))
    for each in running:
        each.wait()
    for server in servers:
        server.kill()
        server.wait()


def _report(copies: list[Path], found: Path, given: argparse.Namespace) -> int:
    judged = {(one["file"], one["line"]): one for one in tomllib.loads((HERE / "judged.toml").read_text())["mutant"]}
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    caught_by: Counter[str] = Counter()
    for copy in copies:
        for item, result in _results(copy / SESSION):
            module = item.mutations[0].module_path
            verdict, _, test = _verdict(result).partition(" by ")
            changed = [line for line in (result.diff or "").splitlines() if re.match(r"[-+][^-+]", line)]
            reads = next((line[1:].strip() for line in changed if line.startswith("+")), "")
            if verdict == "caught":
                caught_by[test] += 1
            else:
                print(f"\n{verdict}: {module}:{item.mutations[0].start_pos[0]}, {item.mutations[0].operator_name}")
                print(*changed, sep="\n")
                known = judged.get((str(module).removeprefix("src/storewriter/"), reads))
                if known is not None:
                    print(f"  {known['verdict']}: {known['why']}")
                    verdict = known["verdict"]
            counts[next(name for name in FOLDERS if name in module.parts)][verdict.partition(" ")[0]] += 1
    total = sum(counts.values(), Counter[str]())
    for folder, of_it in [*counts.items(), ("all", total)]:
        print(f"{folder:10} {of_it.total():4} mutants:", ", ".join(f"{n} {what}" for what, n in of_it.most_common()))
    wrong = _fail_anyway(copies[0], found, list(caught_by), given.python)
    for test in wrong:
        print(f"{test} fails without a mutant as well: {caught_by[test]} not counted")
    caught = total["caught"] - sum(caught_by[test] for test in wrong)
    differ = total.total() - total["equivalent"]
    print(f"caught: {caught} of {total.total()}, {caught / max(1, total.total()):.1%}; ", end="")
    print(f"of the {differ} that are not known to be equivalent {caught / max(1, differ):.1%}")
    return 0 if caught >= given.at_least * differ else 1


def _results(session: Path) -> list[tuple[WorkItem, WorkResult]]:
    with contextlib.closing(WorkDB(str(session), WorkDB.Mode.open)) as work:
        items = {item.job_id: item for item in work.work_items}
        return [(items[job], result) for job, result in work.results]


def _verdict(result: WorkResult) -> str:
    said = re.findall(r"^JUDGE: (.+)$", result.output or "", re.MULTILINE)
    return str(said[-1]) if said else "timed out"


def _fail_anyway(copy: Path, found: Path, tests: list[str], python: str) -> list[str]:
    """Those of the tests that fail in a copy without a mutant; nothing is counted as caught by them."""
    _said("git", "checkout", "--quiet", "src", cwd=copy)
    known = found / "passed.txt"
    passed = set(known.read_text().splitlines()) if known.exists() else set()
    open_tests = [test for test in tests if "::" in test and test not in passed]
    if not open_tests:
        return []
    words = [python, "-m", "pytest", "-q", "--no-header", "--tb=no", "-p", "no:xdist", *open_tests]
    environment = {**os.environ, "PYTHONPATH": str(copy / "src")}
    said = subprocess.run(words, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    failed = set(re.findall(r"^(?:FAILED|ERROR) (tests/.+?)(?: - .*)?$", said.stdout, re.MULTILINE))
    if said.returncode not in (0, 1):
        sys.exit(f"{said.stdout}{said.stderr}\nthe tests that caught mutants cannot be run without one")
    known.write_text("".join(f"{test}\n" for test in sorted(passed | set(open_tests) - failed)))
    return [test for test in open_tests if test in failed]


if __name__ == "__main__":
    sys.exit(main())
