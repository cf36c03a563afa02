"""The `storewriter` command as a person or a script meets it: help, version, exit codes, life without its extra."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

import storewriter

SOURCES = Path(storewriter.__file__).parent.parent


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "storewriter", *arguments], capture_output=True, text=True, check=False
    )


def test_help_lists_the_commands_and_the_exit_codes() -> None:
    done = run("--help")

    assert done.returncode == 0
    assert "demo" in done.stdout
    assert "status" in done.stdout
    assert "3    a store cannot be read or written; it is as it was" in done.stdout


def test_version_is_that_of_the_package() -> None:
    done = run("--version")

    assert (done.returncode, done.stdout) == (0, f"storewriter {importlib.metadata.version('storewriter')}\n")


@pytest.mark.parametrize(
    "arguments", [(), ("no-such-command",), ("demo", "--trials", "0"), ("demo", "--no-such-option")]
)
def test_wrong_usage_ends_with_2_and_says_why_on_the_error_stream(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)

    assert done.returncode == 2
    assert done.stdout == ""
    assert "Usage: storewriter" in done.stderr or "Try 'storewriter " in done.stderr
    assert "Traceback" not in done.stderr


def test_version_and_usage_errors_do_not_import_the_commands() -> None:
    probe = "import sys; from storewriter.__main__ import run; run(['--version']); print('rich' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "False"


def test_without_its_extra_the_command_says_in_one_line_what_to_install(tmp_path: Path) -> None:
    everything = Path(sysconfig.get_paths()["purelib"])
    for installed in everything.iterdir():
        if not installed.name.startswith(("click", "rich", "json")):
            (tmp_path / installed.name).symlink_to(installed)
    for package in ("storewriter", "commitments", "persistent_dedupe"):  # beside each other in src, or installed
        (tmp_path / package).unlink(missing_ok=True)
        (tmp_path / package).symlink_to(SOURCES / package)
    # -S: the real site-packages stay out of sight.
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}

    done = subprocess.run(
        [sys.executable, "-S", "-m", "storewriter", "demo"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "storewriter: the command line is not installed; run: pip install 'storewriter[cli]'\n"


def test_the_library_itself_needs_neither_click_nor_rich(tmp_path: Path) -> None:
    probe = "import sys; sys.modules.update(click=None, rich=None); import storewriter, commitments; print('fine')"

    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == ("fine\n", "")


def test_the_help_says_what_the_project_is_for_and_what_its_commands_show() -> None:
    summary = "Safe concurrent updates of small shared files: no lost updates, even if a process is killed."
    text = " ".join(run("--help").stdout.split())

    assert summary in text
    assert storewriter.__doc__ is not None
    assert storewriter.__doc__.startswith(summary)
    assert "demo Show plain code losing updates, and storewriter keeping them." in text
    assert "1 negative result: see the command's help" in text
    pyproject = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert pyproject["project"]["description"] == summary


PROGRAMS: dict[str, tuple[str, ...]] = {
    "storewriter": ("", "status", "demo", "bench"),
    "commitments": ("", "list", "dismiss", "sent", "attempt", "snooze", "add"),
    "persistent_dedupe": ("", "check", "list", "forget", "stats"),
}


@pytest.mark.parametrize(("program", "command"), [(name, each) for name, all_ in PROGRAMS.items() for each in all_])
def test_the_help_fits_a_terminal_of_80_columns(program: str, command: str) -> None:
    line = [sys.executable, "-m", program, *command.split(), "--help"]
    shown = subprocess.run(line, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "80"}).stdout
    assert [text for text in shown.splitlines() if len(text) > 80] == []
    assert "\\n" not in shown


@pytest.mark.parametrize(
    "arguments",
    [
        ("storewriter", "status", "a.json"),
        ("commitments", "--store", "a.json"),
        ("persistent_dedupe", "list", "--store", "d"),
    ],
)
def test_a_closed_output_is_no_failure(arguments: tuple[str, ...], tmp_path: Path) -> None:
    line = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-m", *arguments]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_characters_that_the_terminal_lacks_are_shown_as_escapes(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "storewriter", "status", "gr\xfcn.json"]
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=tmp_path, env=env)
    assert done.returncode == 0
    assert "gr\\xfcn.json" in done.stdout
