"""Run the tests of the line that cosmic-ray has changed. Ends with 0 if none of them fails: the mutant survives.

Its last line says what came of it: `caught by` a test, `survived`, or `timed out`: a test was ended by pytest's timeout
or by the deadline here, which are not its own, and none of the other tests failed.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from covering import Covering

DEADLINE: Final = 240.0
"""Seconds for all tests of a mutant together."""
HANGS: Final = 40
"""Seconds after which a test is ended. The queues of the tests have deadlines of their own, of 20 seconds."""


def changed() -> list[tuple[str, int]]:
    """Files and lines that differ from the commit."""
    words = ["git", "diff", "--unified=0", "--no-color", "--no-ext-diff", "src"]
    difference = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    found: list[tuple[str, int]] = []
    module = ""
    for line in difference.splitlines():
        if line.startswith("--- a/"):
            module = line.removeprefix("--- a/")
        elif match := re.match(r"@@ -(\d+)(?:,(\d+))? ", line):
            first, count = int(match[1]), int(match[2] or 1)
            found += [(module, number) for number in range(first, first + max(count, 1))]
    return found


def main() -> int:
    """Judge one mutant."""
    first: list[str] = []
    then: list[str] = []
    for module, line in changed()[:1]:
        source = subprocess.run(["git", "show", f"HEAD:{module}"], capture_output=True, text=True, check=True).stdout
        folder = Path(os.environ["COVERING"])
        first, then = Covering.read(folder, module.removeprefix("src/storewriter/")).tests(source, line)
    end = time.monotonic() + DEADLINE
    hung: list[str] = []
    for tests in (first, then):
        verdict = _run_all(tests, hung, end)
        if verdict is not None:
            print(f"JUDGE: {verdict}")
            return 1
    print(f"JUDGE: timed out in {', '.join(hung)}" if hung else f"JUDGE: survived {len(first) + len(then)} tests")
    return len(hung)


def _run_all(tests: list[str], hung: list[str], end: float) -> str | None:
    """Run them, and after one that hangs those that were to come after it."""
    while tests and len(hung) < 3:
        at = Path("at-test.txt")
        at.write_text("")
        code, said = _run(tests, end - time.monotonic())
        print(said[-1500:])
        if code == 0:
            return None
        if code is not None and "+++ Timeout +++" not in said:
            return _verdict(code, said)
        started = at.read_text().splitlines() or tests[:1]
        hung.append(started[-1])
        tests = [test for test in tests if test not in started]
    return None


def _run(tests: list[str], seconds: float) -> tuple[int | None, str]:
    """None: they were ended."""
    words = ["-q", "-x", "--no-header", "--tb=short", f"--timeout={HANGS}", "-p", "no:xdist", "-p", "started"]
    words += ["-W", "ignore::pytest.PytestAssertRewriteWarning", *tests]
    here, output = Path.cwd(), Path("tests.txt").absolute()
    path = [str(here / "src"), str(here), str(Path(__file__).parent)]
    asked = {"folder": str(here), "path": path, "words": words, "output": str(output)}
    with socket.socket(socket.AF_UNIX) as warm:
        _connect(warm)
        warm.sendall(json.dumps(asked).encode() + b"\n")
        answers = warm.makefile()
        pid = int(answers.readline())
        ready, _, _ = select.select([warm], [], [], max(seconds, 1.0))
        code = int(answers.readline()) if ready else None
        try:
            os.killpg(pid, signal.SIGKILL)  # children that a test has left as well
        except ProcessLookupError:
            pass
        if not ready:
            answers.readline()
    return code, output.read_text(errors="replace")


def _connect(warm: socket.socket) -> None:
    for _ in range(600):
        try:
            return warm.connect(os.environ["WARM"])
        except OSError:
            time.sleep(0.1)  # it is still importing
    raise RuntimeError("warm.py does not answer")


def _verdict(code: int, said: str) -> str:
    match = re.search(r"^(?:FAILED|ERROR) (tests/.+?)(?: - .*)?$", said, re.MULTILINE)
    if code == 1 and match:
        return f"caught by {match[1]}"
    if "While loading conftest" in said or "ImportError while" in said or "ERROR collecting" in said:
        return "caught by the import"
    if code > 128 or code < 0 or "Fatal Python error" in said:
        return f"caught by a process that ended with {code}"
    return f"not run: pytest ended with {code}"


if __name__ == "__main__":
    sys.exit(main())
