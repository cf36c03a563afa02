"""Completion: what each shell's script asks the program, and what it is told."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.commands import COMMAND


def completed(shell: str, words: str, **environment: str) -> list[str]:
    """What the program answers the shell's script for a command line whose last word is to be completed."""
    count = len(words.split(" ")) - 1
    word = words.split(" ")[-1]
    env = {
        **os.environ,
        "_STOREWRITER_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": word if shell == "fish" else str(count),
        **environment,
    }
    done = subprocess.run(COMMAND, env=env, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_bash_completes_commands_options_and_files() -> None:
    assert {"plain,run", "plain,recover"} <= set(completed("bash", "storewriter r"))
    assert completed("bash", "storewriter update --dr") == ["plain,--dry-run"]
    assert completed("bash", "storewriter run --lock l") == ["plain,lease"]
    assert completed("bash", "storewriter get sett") == ["file,sett"]


def test_zsh_completes_with_descriptions() -> None:
    lines = completed("zsh", "storewriter ed")
    assert lines == ["plain", "edit", "Edit a document in your editor."]
    assert completed("zsh", "storewriter get sett")[:2] == ["file", "sett"]


def test_fish_completes_with_descriptions() -> None:
    (line,) = completed("fish", "storewriter ed")
    assert line.startswith("plain")
    assert "edit" in line
    assert "Edit a document in your editor." in line


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize("program", ["storewriter", "commitments", "persistent-dedupe"])
def test_every_shell_gets_a_script_that_it_accepts(program: str, shell: str) -> None:
    variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
    module = program.replace("-", "_")
    done = subprocess.run(
        [sys.executable, "-m", module],
        env={**os.environ, variable: f"{shell}_source"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert f"{variable}={shell}_complete" in done.stdout
    if shutil.which(shell) is not None:
        subprocess.run([shell, "-n"], input=done.stdout, text=True, check=True)


def test_bash_itself_completes_a_command(tmp_path: Path) -> None:
    program = tmp_path / "storewriter"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m storewriter "$@"\n')
    program.chmod(0o755)
    script = """
eval "$(_STOREWRITER_COMPLETE=bash_source storewriter)"
COMP_WORDS=(storewriter upd); COMP_CWORD=1
_storewriter_completion storewriter
echo "${COMPREPLY[@]}"
"""
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("update\n", "")
