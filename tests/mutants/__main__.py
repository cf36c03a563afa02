"""Mutation testing of turns, locks, files and commits: `make mutants SAMPLE=200 SEED=1`.

In copies of the last commit, cosmic-ray changes one place of the code after the other, and the tests that run the
changed line have to fail. The sample is drawn by place, so that a `+`, for which cosmic-ray has eleven replacements,
counts once. Ends with 1 if fewer were caught than `--at-least`.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import re
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Final

import covering
from cosmic_ray.work_db import WorkDB
from cosmic_ray.work_item import MutationSpec, WorkerOutcome, WorkItem, WorkResult

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent.parent
FOLDERS: Final = ("_turns", "locks", "_files", "_commits")
SESSION: Final = "session.sqlite"


def main() -> int:
    """Draw, run, report."""
    given = _arguments()
    folder: Path = given.folder.absolute()
    copies = [folder / f"copy{number}" for number in range(given.workers)]
    if not given.report:
        for copy in copies:
            shutil.rmtree(copy, ignore_errors=True)
            subprocess.run(["git", "clone", "--quiet", str(ROOT), str(copy)], check=True)
        if not (folder / "covering" / "covering.json").exists():
            covering.find(copies[0], folder / "covering", given.python, given.workers)
        _prepare(copies, given)
        _execute(copies, folder)
    return _report(copies, given.at_least)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/mutants", description=__doc__)
    parser.add_argument("--sample", type=int, default=200, help="mutants, as many of each folder")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--python", default=sys.executable, help="the interpreter of the tests")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "mutants")
    parser.add_argument("--report", action="store_true", help="of what was run; run nothing")
    parser.add_argument("--at-least", type=float, default=0.9, help="share that must be caught")
    return parser.parse_args()


def _prepare(copies: list[Path], given: argparse.Namespace) -> None:
    """One session of all mutants; each copy gets it with all but its share marked as skipped."""
    first = copies[0]
    config = (HERE / "cosmic-ray.toml").read_text().replace("{python}", given.python)
    for copy in copies:
        (copy / "cosmic-ray.toml").write_text(config)
    subprocess.run([*_COSMIC_RAY, "init", "cosmic-ray.toml", SESSION], cwd=first, check=True)
    for copy in copies[1:]:
        shutil.copy(first / SESSION, copy / SESSION)
    chosen = _sample(_items(first), given.sample, random.Random(given.seed), first)
    for number, copy in enumerate(copies):
        share = set(chosen[number :: len(copies)])
        work = WorkDB(copy / SESSION, WorkDB.Mode.open)
        skipped = [item.job_id for item in work.work_items if item.job_id not in share]
        work.set_multiple_results(skipped, WorkResult(worker_outcome=WorkerOutcome.SKIPPED))
        work.close()
    print(f"{len(chosen)} mutants of {sum(1 for _ in _items(first))}", flush=True)


_COSMIC_RAY: Final = (str(Path(sys.executable).with_name("cosmic-ray")),)


def _items(copy: Path) -> tuple[WorkItem, ...]:
    work = WorkDB(copy / SESSION, WorkDB.Mode.open)
    try:
        return tuple(work.work_items)
    finally:
        work.close()


def _sample(items: tuple[WorkItem, ...], size: int, rng: random.Random, copy: Path) -> list[str]:
    """As many places of each folder, and of each place one mutant. In an order that mixes the folders."""
    notes = {path: _never_run(copy / path) for path in {item.mutations[0].module_path for item in items}}
    places: dict[str, dict[tuple[str, tuple[int, int]], list[str]]] = defaultdict(lambda: defaultdict(list))
    for item in sorted(items, key=lambda item: _key(item.mutations[0])):
        (mutation,) = item.mutations
        if mutation.start_pos not in notes[mutation.module_path]:
            folder = next(name for name in FOLDERS if name in mutation.module_path.parts)
            places[folder][str(mutation.module_path), mutation.start_pos].append(item.job_id)
    drawn = [rng.sample(list(places[folder].values()), size // len(FOLDERS)) for folder in FOLDERS]
    return [rng.choice(jobs) for of_each in zip(*drawn, strict=True) for jobs in of_each]


def _key(mutation: MutationSpec) -> tuple[str, tuple[int, int], str]:
    return str(mutation.module_path), mutation.start_pos, mutation.operator_name


class _NeverRun(ast.NodeVisitor):
    """Places of annotations, which are text at run time, and of the arguments of decorators like `@overload`."""

    def __init__(self) -> None:
        self.places: set[tuple[int, int]] = set()

    def note(self, node: ast.AST | None) -> None:
        if isinstance(node, ast.expr):
            for line in range(node.lineno, (node.end_lineno or node.lineno) + 1):
                begin = node.col_offset if line == node.lineno else 0
                end = (node.end_col_offset or 0) if line == node.end_lineno else 1000
                self.places.update((line, column) for column in range(begin, end))

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


def _execute(copies: list[Path], folder: Path) -> None:
    environments = [
        {**os.environ, "PYTHONPATH": f"{copy / 'src'}", "COVERING": str(folder / "covering")} for copy in copies
    ]
    running = [
        subprocess.Popen([*_COSMIC_RAY, "exec", "cosmic-ray.toml", SESSION], cwd=copy, env=environment)
        for copy, environment in zip(copies, environments, strict=True)
    ]
    for each in running:
        each.wait()


def _report(copies: list[Path], at_least: float) -> int:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for copy in copies:
        work = WorkDB(copy / SESSION, WorkDB.Mode.open)
        items = {item.job_id: item.mutations[0] for item in work.work_items}
        for job, result in work.results:
            if result.worker_outcome == WorkerOutcome.SKIPPED:
                continue
            verdict = _verdict(result)
            folder = next(name for name in FOLDERS if name in items[job].module_path.parts)
            counts[folder][verdict] += 1
            if verdict != "caught":
                print(f"\n{verdict}: {items[job].module_path}:{items[job].start_pos[0]}, {items[job].operator_name}")
                print(*(line for line in (result.diff or "").splitlines() if re.match(r"[-+][^-+]", line)), sep="\n")
        work.close()
    total = sum(counts.values(), Counter[str]())
    for folder, of_it in [*counts.items(), ("all", total)]:
        print(f"{folder:10} {of_it.total():4} mutants:", ", ".join(f"{n} {what}" for what, n in of_it.most_common()))
    return 0 if total["caught"] >= at_least * total.total() else 1


def _verdict(result: WorkResult) -> str:
    said = re.findall(r"^JUDGE: ([a-z ]+?)(?: \d+ tests)?$", result.output or "", re.MULTILINE)
    return said[-1] if said else "timed out"


if __name__ == "__main__":
    sys.exit(main())
