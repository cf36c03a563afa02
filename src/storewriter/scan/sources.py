"""Which files are scanned, and how they are read."""

from __future__ import annotations

import os
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import attrs

from storewriter.scan.findings import Finding, findings
from storewriter.scan.modules import Project

__all__ = ["Scan", "scan"]

_SKIPPED: Final = frozenset(
    {"__pycache__", "build", "dist", "node_modules", "site-packages", "test", "testing", "tests", "venv"}
)
"""Folders that are not searched: made by tools, of other projects, or tests."""

_TOO_DEEP: Final = "nested too deeply"


@attrs.frozen
class Scan:
    """What a scan has found."""

    findings: tuple[Finding, ...]
    """In the order of files and lines."""
    files: int
    """So many files were read."""
    unread: tuple[str, ...]
    """Files that are not Python or not text, and functions that are nested too deeply: each with the reason."""


def scan(paths: Iterable[str], *, tests: bool = False) -> Scan:
    """Find files that are loaded, changed and saved without a lock, in Python source.

    Args:
        paths: files and folders. Folders are searched for `*.py`, without hidden folders and those that tools make.
        tests: whether tests in these folders are searched as well. A file that is given itself is always read.

    Raises:
        OSError: if a file cannot be read.

    """
    project = Project()
    unread: list[str] = []
    for path in _files(paths, tests=tests):
        try:
            with tokenize.open(path) as file:
                project.add(path, file.read())
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            unread.append(f"{path}: {_reason(error)}")
    found, too_deep = findings(project)
    unread += [f"{each.module.path}: line {each.line or 1}: {each.name} is {_TOO_DEEP}" for each in too_deep]
    return Scan(tuple(found), len(project.modules), tuple(unread))


def _reason(error: Exception) -> str:
    if isinstance(error, SyntaxError) and error.lineno:
        return f"line {error.lineno}: {error.msg}"
    if isinstance(error, (RecursionError, MemoryError)):  # the parser's limits on nesting, not those of the machine
        return _TOO_DEEP
    return str(error)


def _files(paths: Iterable[str], *, tests: bool) -> Iterator[str]:
    seen: set[str] = set()
    for given in paths:
        root = Path(given)
        if not root.is_dir():
            found: list[Path] = [root]
        else:
            found = sorted(path for path in root.rglob("*.py") if _is_searched(path.relative_to(root), tests=tests))
            # Not a FIFO, which would be waited for, a link to nothing, or a folder of that name.
            found = [path for path in found if path.is_file()]
        for path in found:
            real = os.path.realpath(path)
            if real not in seen:
                seen.add(real)
                yield str(path)


def _is_searched(path: Path, *, tests: bool) -> bool:
    for folder in path.parts[:-1]:
        is_test = folder in ("test", "testing", "tests")
        if folder.startswith(".") or (folder in _SKIPPED and not (tests and is_test)):
            return False
    name = path.name
    return tests or not (name.startswith("test_") or name.endswith("_test.py") or name == "conftest.py")
