"""Bad input, every command: a clear error that names the store, the promised exit code, and the file as it was."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storewriter.cli.demo import subject

NOBODY = 65534

READING = {"list": ["list"]}
WRITING = {
    "dismiss": ["dismiss", "cm_o8izlz40_3bfc269594"],
    "sent": ["sent", "cm_o8izlz40_3bfc269594"],
    "attempt": ["attempt", "cm_o8izlz40_3bfc269594"],
    "snooze": ["snooze", "cm_o8izlz40_3bfc269594", "--for", "6h"],
    "add": [
        *("add", "--agent", "main", "--session", "s", "--channel", "telegram"),
        *("--text", "How was it?", "--reason", "They said so.", "--due", "+1h"),
    ],
}
COMMANDS = READING | WRITING

AS_NOBODY = f"""
import os, pkgutil, sys
import click, commitments.__main__, filelock, storewriter.cli
# All that a command may import, before the interpreter's own files are out of reach.
for package in (commitments, storewriter.cli):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        __import__(module.name)
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})
sys.exit(commitments.__main__.run(sys.argv[1:]))
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that other users can look into, unlike pytest's."""
    with tempfile.TemporaryDirectory() as made:
        os.chmod(made, 0o755)
        yield Path(made)


@pytest.fixture
def valid() -> bytes:
    """A good store."""
    with tempfile.TemporaryDirectory() as made:
        return subject.in_folder(made).original


def commitments(arguments: list[str], store: Path, *, as_nobody: bool = False) -> subprocess.CompletedProcess[str]:
    program = ["-c", AS_NOBODY] if as_nobody and os.geteuid() == 0 else ["-m", "commitments"]
    command = [sys.executable, *program, *arguments, "--store", str(store)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def assert_refused(done: subprocess.CompletedProcess[str], store: Path) -> None:
    assert done.returncode == 3, done.stderr
    assert done.stdout == ""
    assert str(store) in done.stderr
    assert done.stderr.startswith("commitments: ")
    assert "Traceback" not in done.stderr


def leftovers(store: Path) -> list[str]:
    """What is beside the store, apart from its lock."""
    return [each.name for each in store.parent.iterdir() if each.name not in (store.name, f".{store.name}.lock")]


def truncated(good: bytes) -> bytes:
    return good[: len(good) // 2]


def not_utf8(good: bytes) -> bytes:
    return good.replace("✈".encode(), b"\xe9")


def empty(good: bytes) -> bytes:
    return b""


def blank(good: bytes) -> bytes:
    return b" \n"


def only_nul_bytes(good: bytes) -> bytes:
    return b"\0" * len(good)


def an_array_at_the_top(good: bytes) -> bytes:
    return json.dumps(json.loads(good)["commitments"]).encode()


def the_text_null(good: bytes) -> bytes:
    return b"null\n"


def commitments_no_array(good: bytes) -> bytes:
    return b'{"version": 1, "commitments": {}}\n'


def no_version(good: bytes) -> bytes:
    return json.dumps({"commitments": json.loads(good)["commitments"]}).encode()


def a_future_version(good: bytes) -> bytes:
    return good.replace(b'"version": 1', b'"version": 2')


def two_documents(good: bytes) -> bytes:
    return good + good


DAMAGE: list[Callable[[bytes], bytes]] = [
    truncated,
    not_utf8,
    empty,
    blank,
    only_nul_bytes,
    an_array_at_the_top,
    the_text_null,
    commitments_no_array,
    no_version,
    a_future_version,
    two_documents,
]


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_store_that_cannot_be_understood_is_refused_and_stays_as_it_is(
    command: str, damage: Callable[[bytes], bytes], folder: Path, valid: bytes
) -> None:
    store = folder / "commitments.json"
    bad = damage(valid)
    assert bad != valid
    store.write_bytes(bad)

    done = commitments(COMMANDS[command], store)

    assert_refused(done, store)
    assert store.read_bytes() == bad
    assert leftovers(store) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_a_directory_in_place_of_the_store_is_refused(command: str, folder: Path) -> None:
    store = folder / "commitments.json"
    store.mkdir()

    done = commitments(COMMANDS[command], store)

    assert_refused(done, store)
    assert "folder" in done.stderr
    assert list(store.iterdir()) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_a_fifo_in_place_of_the_store_is_refused_and_not_waited_for(command: str, folder: Path) -> None:
    store = folder / "commitments.json"
    os.mkfifo(store)

    assert_refused(commitments(COMMANDS[command], store), store)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_store_that_we_may_not_read_is_refused(command: str, folder: Path, valid: bytes) -> None:
    store = folder / "commitments.json"
    store.write_bytes(valid)
    store.chmod(0)
    folder.chmod(0o777)

    done = commitments(COMMANDS[command], store, as_nobody=True)

    assert_refused(done, store)
    store.chmod(0o600)
    assert store.read_bytes() == valid
    assert leftovers(store) == []


@pytest.mark.parametrize("command", WRITING)
def test_a_store_in_a_folder_that_we_may_not_write_to_is_refused(command: str, folder: Path, valid: bytes) -> None:
    store = folder / "commitments.json"
    store.write_bytes(valid)
    store.chmod(0o666)
    folder.chmod(0o555)

    done = commitments(WRITING[command], store, as_nobody=True)

    folder.chmod(0o755)
    assert_refused(done, store.parent)
    assert store.read_bytes() == valid
    assert leftovers(store) == []


def test_looking_needs_no_right_to_write(folder: Path, valid: bytes) -> None:
    store = folder / "commitments.json"
    store.write_bytes(valid)
    store.chmod(0o444)
    folder.chmod(0o555)

    done = commitments(["list"], store, as_nobody=True)

    folder.chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert "cm_o8izlz40_3bfc269594" in done.stdout
    assert store.read_bytes() == valid


@pytest.mark.parametrize("command", WRITING)
def test_a_read_only_store_is_refused_not_replaced(command: str, folder: Path, valid: bytes) -> None:
    store = folder / "commitments.json"
    store.write_bytes(valid)
    store.chmod(0o444)

    done = commitments(WRITING[command], store)

    assert_refused(done, store)
    assert "read-only" in done.stderr
    assert store.read_bytes() == valid
    assert leftovers(store) == []


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 64 KB."""
    if shutil.which("mount") is None:
        pytest.skip("no mount(8) on this machine")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k,mode=0755", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"mounting needs privileges: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("command", WRITING)
def test_a_full_disk_is_told_and_the_store_stays(command: str, small_disk: Path, valid: bytes) -> None:
    store = small_disk / "commitments.json"
    store.write_bytes(valid)
    filler = small_disk / "filler"
    _fill(filler)

    done = commitments(WRITING[command], store)

    assert_refused(done, store)
    assert "No space left on device" in done.stderr
    assert store.read_bytes() == valid
    assert leftovers(store) == ["filler"]

    filler.unlink()
    assert commitments(WRITING[command], store).returncode == 0, "with room again, the next one works"


def _fill(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):  # ENOSPC, when it is full
        while True:
            file.write(b"x" * 4096)


@pytest.mark.parametrize(
    "arguments", [["dismiss"], ["list", "--status", "paused"], ["snooze", "x"], ["no-such-command"]]
)
def test_wrong_usage_ends_with_2_and_touches_nothing(arguments: list[str], folder: Path) -> None:
    store = folder / "inside" / "commitments.json"

    done = commitments(arguments, store)

    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert list(folder.iterdir()) == []
