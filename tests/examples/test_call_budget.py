"""`examples/call_budget.py`: processes that share a budget never overspend it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "call_budget.py"
PAGE = Path(__file__).parents[2] / "docs" / "writing-a-store.md"

SPENDER = """
import sys
sys.path.insert(0, sys.argv[1])
from call_budget import CallBudget
budget = CallBudget(sys.argv[2], per_day=100)
print("ready", flush=True)
sys.stdin.readline()
print(sum(budget.take("key-1", "2030-03-10") for _ in range(50)))
"""


def test_four_processes_spend_exactly_what_there_is(tmp_path: Path) -> None:
    store = tmp_path / "budget.json"
    command = [sys.executable, "-c", SPENDER, str(EXAMPLE.parent), str(store)]
    spenders = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for spender in spenders:
        assert spender.stdout is not None
        assert spender.stdout.readline() == "ready\n"

    # 200 calls are wanted, 100 allowed.
    granted = sum(int(spender.communicate()[0]) for spender in _started(spenders))

    assert granted == 100
    assert json.loads(store.read_bytes()) == {"2030-03-10": {"key-1": 100}}


def _started(spenders: list[subprocess.Popen[str]]) -> list[subprocess.Popen[str]]:
    """Let all of them run before any is waited for."""
    for spender in spenders:
        assert spender.stdin is not None
        spender.stdin.write("go\n")
        spender.stdin.flush()
    return spenders


def test_as_a_command_it_takes_one_call_and_says_so_by_its_exit_code(tmp_path: Path) -> None:
    store = tmp_path / "budget.json"

    done = subprocess.run([sys.executable, str(EXAMPLE), str(store), "key-1"], check=False)

    assert done.returncode == 0
    assert [list(day.values()) for day in json.loads(store.read_bytes()).values()] == [[1]]


def test_the_page_shows_the_example_as_it_is() -> None:
    source = EXAMPLE.read_text()
    shown = source[source.index("class CallBudget") : source.index("\n\nif __name__")]

    assert shown.strip() in PAGE.read_text()
