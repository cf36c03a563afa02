"""The manual pages: one a command, from the text of its help, and accepted by groff."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import click
import pytest

from storewriter.cli.commands import storewriter
from storewriter.cli.man_pages import main


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("man")
    main(str(folder))
    return folder


def test_every_command_has_a_page(pages: Path) -> None:
    commands = storewriter.list_commands(click.Context(storewriter))
    names = {each.name for each in pages.iterdir()}
    assert {"storewriter.1", "commitments.1", "persistent-dedupe.1"} <= names
    assert {f"storewriter-{name}.1" for name in commands} <= names


@pytest.mark.skipif(shutil.which("groff") is None, reason="no groff(1) on this machine")
def test_groff_has_no_objection(pages: Path) -> None:
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z", *sorted(map(str, pages.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("groff") is None, reason="no groff(1) on this machine")
def test_the_page_says_what_the_help_says(pages: Path) -> None:
    page = ["groff", "-man", "-Tascii", "-P-c", "-P-b", "-P-u", "-rLL=200n", str(pages / "storewriter-run.1")]
    text = " ".join(subprocess.run(page, capture_output=True, text=True, check=True).stdout.split())
    assert "storewriter-run - Run a command in an exclusive turn on stores" in text
    assert "storewriter run [OPTIONS] STORE... -- COMMAND [ARGUMENTS]" in text
    assert "--inherit Let the command inherit the lock, as with flock(1)" in text
    assert "storewriter run state.json -- python nightly.py" in text
    assert "75 timed out waiting for the lock; the command was not run" in text
