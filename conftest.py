"""The Python blocks of README.md and docs/ are tests, and so are the sessions on the command line in command-line.md.

Each document runs from top to bottom in a folder of its own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from sybil import Example, Sybil
from sybil.integration.pytest import SybilFile
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser


def _enter_folder(namespace: dict[str, Any]) -> None:
    namespace["_folder"] = tempfile.TemporaryDirectory(prefix="storewriter-docs-")
    namespace["_before"] = os.getcwd()
    os.chdir(namespace["_folder"].name)


def _leave_folder(namespace: dict[str, Any]) -> None:
    os.chdir(namespace["_before"])
    namespace["_folder"].cleanup()


def _run_session(example: Example) -> None:
    """Run the lines that begin with `$ `, and compare what they print; `...` stands for any text.

    `[exit code 7]` after the output: it ends so, otherwise with 0.
    """
    for line, expected in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", example.parsed, re.MULTILINE):
        done = subprocess.run(
            ["bash", "-c", f"{_SHIM}\n{line}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        shown = done.stdout + (f"[exit code {done.returncode}]\n" if done.returncode else "")
        pattern = re.escape(expected).replace(re.escape("..."), r"[\s\S]*")
        assert re.fullmatch(pattern, shown), f"{line!r} printed:\n{shown}\ninstead of:\n{expected}"


_SHIM = f"""
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; PATH="$folder:$PATH"
printf '#!/bin/sh\\nexec {sys.executable} -m storewriter "$@"\\n' > "$folder/storewriter"
chmod +x "$folder/storewriter"
"""

_python = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()],
    patterns=["README.md", "docs/*.md", "docs/*/*.md", "docs/*/*/*.md"],
    excludes=["docs/command-line.md"],
    setup=_enter_folder,
    teardown=_leave_folder,
).pytest()

_sessions = Sybil(
    parsers=[CodeBlockParser(language="console", evaluator=_run_session)],
    patterns=["docs/command-line.md"],
    setup=_enter_folder,
    teardown=_leave_folder,
).pytest()


def pytest_collect_file(file_path: Path, parent: Any) -> SybilFile | None:
    """See pytest."""
    return _python(file_path, parent) or _sessions(file_path, parent)
