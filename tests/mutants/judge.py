"""Run the tests that cover the line that cosmic-ray has changed. Ends with 0 if none of them fails: the mutant survives.

Its last line says why: `caught`, `survived`, `no test runs it`, or `timed out`: the tests were still running at a
deadline that is not one of their own, which is not counted as caught.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from covering import Covering

DEADLINE: Final = 300.0


def changed() -> list[tuple[str, int]]:
    """Files and lines that differ from the commit."""
    difference = subprocess.run(
        ["git", "diff", "--unified=0", "--no-color", "--no-ext-diff", "src"], capture_output=True, text=True, check=True
    ).stdout
    found: list[tuple[str, int]] = []
    module = ""
    for line in difference.splitlines():
        if line.startswith("--- a/"):
            module = line.removeprefix("--- a/")
        elif match := re.match(r"@@ -(\d+)(?:,(\d+))? ", line):
            first, count = int(match[1]), int(match[2] or 1)
            found += [(module, number) for number in range(first, first + count)]
    return found


def main() -> int:
    """Judge one mutant."""
    covering = Covering.read(Path(os.environ["COVERING"]))
    tests = list(dict.fromkeys(test for module, line in changed() for test in covering.tests(module, line)))
    if not tests:
        print("JUDGE: no test runs it")
        return 0
    words = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "--tb=line", "-p", "no:xdist", *tests]
    running = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        said, _ = running.communicate(timeout=DEADLINE)
    except subprocess.TimeoutExpired:
        os.killpg(running.pid, signal.SIGKILL)
        running.communicate()
        print("JUDGE: timed out")
        return 1
    print(said[-1500:])
    if running.returncode == 0:
        print(f"JUDGE: survived {len(tests)} tests")
    elif "+++ Timeout +++" in said:
        print("JUDGE: timed out")
    else:
        print("JUDGE: caught")
    return running.returncode


if __name__ == "__main__":
    sys.exit(main())
