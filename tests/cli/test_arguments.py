"""Any arguments, any command: a documented exit code, never a traceback, and the store of this user is not touched."""

from __future__ import annotations

import contextlib
import io
import os
import re
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import commitments.__main__
import persistent_dedupe.__main__
import storewriter.__main__

DOCUMENTED = {0, 1, 2, 3, 4, 130, 141}

PROGRAMS: dict[str, Callable[[Sequence[str]], int]] = {
    "storewriter": storewriter.__main__.run,
    "commitments": commitments.__main__.run,
    "persistent-dedupe": persistent_dedupe.__main__.run,
}

SETTINGS = settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of a user who has a store of each kind; a command that is run here works in another folder."""
    found = tmp_path / "home"
    for store, content in (
        (".openclaw/commitments/commitments.json", '{"version": 1, "commitments": []}'),
        (".local/state/persistent-dedupe/global.json", '{"evt-1": 1000}'),
    ):
        path = found / store
        path.parent.mkdir(parents=True)
        path.write_text(content)
    monkeypatch.setenv("HOME", str(found))
    for name in ("OPENCLAW_STATE_DIR", "XDG_STATE_HOME", "PERSISTENT_DEDUPE_STORE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return found


def everything_in(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below a folder: inode and content."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_ino, path.read_bytes()) for path in files}


@contextlib.contextmanager
def places() -> Iterator[dict[str, str]]:
    """By name: a path of every kind that there is, each new. `None` of them is the store of this user."""
    with tempfile.TemporaryDirectory() as made, socket.socket(socket.AF_UNIX) as bound:
        folder = Path(made)
        (folder / "folder").mkdir()
        (folder / "unreadable").write_text("{}")
        (folder / "unreadable").chmod(0)
        (folder / "damaged").write_bytes(b"{\x00")
        (folder / "read-only").write_text('{"version": 1, "commitments": []}')
        (folder / "read-only").chmod(0o444)
        (folder / "link").symlink_to("link")
        os.mkfifo(folder / "FIFO")
        bound.bind(str(folder / "socket"))
        found = {name: str(folder / name) for name in os.listdir(folder)}
        yield found | {
            "new": str(folder / "new"),
            "below a file": str(folder / "damaged" / "x"),
            "too long": str(folder / ("x" * 300)),
            "device": "/dev/null",
            "root": "/",
            "dot": ".",
            "empty": "",
            "blank": " \t",
            "NUL": str(folder / "a\0b"),
            "not UTF-8": str(folder / "caf\udce9"),
            "with a control character": str(folder / "a\x1b[2Jb\n"),
            "home": "~no-such-user/x",
        }


PLACES = (
    "folder", "unreadable", "damaged", "read-only", "link", "FIFO", "socket", "new", "below a file", "too long", "device",
    "root", "dot", "empty", "blank", "NUL", "not UTF-8", "with a control character", "home",
)  # fmt: skip

ODD = st.one_of(
    st.sampled_from(
        [
            *(
                "",
                " ",
                "\0",
                "-",
                "--",
                "-1",
                "0",
                "1",
                "9" * 400,
                "1e999",
                "nan",
                "inf",
                "-0.0",
                "+6h",
                "0s",
                "999999999d",
            ),
            *(
                "0001-01-01T00:00",
                "9999-12-31T23:59:59+00:00",
                "2030-03-10T09:00+23:59",
                "99999999999",
                "999999999999999",
            ),
            *("UTC", "../../etc/passwd", "/etc", "Europe/Lisbon", "\udcff", "\x1b]0;x\x07", "\u202e", "٣h", "forever"),
        ]
    ),
    st.text(max_size=8),
)

Words = st.SearchStrategy[list[str]]


def options(takes_value: Sequence[str], flags: Sequence[str]) -> Words:
    """Some options with odd values, flags, and stray words."""
    with_value = st.tuples(st.sampled_from(takes_value), ODD).map(list)
    return st.lists(
        st.one_of(with_value, st.sampled_from(flags).map(lambda flag: [flag]), ODD.map(lambda word: [word])), max_size=4
    ).map(lambda parts: [word for part in parts for word in part])


def outcome(program: str, arguments: Sequence[str]) -> tuple[int, str]:
    """Run a program in this process; its exit code and all that it printed."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = PROGRAMS[program](arguments)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
    return code, out.getvalue() + err.getvalue()


def assert_ends_well(program: str, arguments: Sequence[str], home: Path, *, own_store: bool) -> None:
    before = everything_in(home)
    code, printed = outcome(program, arguments)
    assert code in DOCUMENTED, (arguments, code)
    assert "Traceback" not in printed
    assert not {"\x1b", "\x07", "\u202e"} & set(printed), printed
    if not own_store:
        assert everything_in(home) == before
        assert str(home) not in printed


def without_watch(arguments: list[str]) -> list[str]:
    """`--watch`, in short or abbreviated, would never end."""
    return [word for word in arguments if not word.startswith("--w")]


ADD = ["add", "--agent", "a", "--session", "s", "--channel", "c", "--text", "t", "--reason", "r", "--due", "+1h"]

OF_COMMITMENTS = st.tuples(
    st.sampled_from([[], ["list"], ["dismiss"], ["sent"], ["attempt"], ["snooze"], ["add"], ADD, ["nothing"], [""]]),
    options(
        [
            *("--until", "--for", "--status", "--agent", "--due", "--latest", "--timezone", "--kind", "--confidence"),
            *("--key", "--session", "--to", "--text", "--message-id", "--run-id"),
        ],
        ["--json", "--all", "--every-copy", "--help", "--version"],
    ),
).map(lambda parts: without_watch([*parts[0], *parts[1]]))


@SETTINGS
@given(arguments=OF_COMMITMENTS, place=st.sampled_from(PLACES))
@example(arguments=["list"], place="empty")
@example(arguments=ADD, place="blank")
@example(arguments=[*ADD, "--due", "0001-01-01T00:00", "--timezone", "Europe/Lisbon"], place="new")
def test_commitments(arguments: list[str], place: str, home: Path) -> None:
    with places() as paths:
        assert_ends_well("commitments", [*arguments, "--store", paths[place]], home, own_store="--" in arguments)


OF_DEDUPE = st.tuples(
    st.sampled_from(
        [[], ["check"], ["list"], ["forget"], ["stats"], ["check", "k"], ["forget", "k"], ["nothing"], [""]]
    ),
    options(
        ["--namespace", "--ttl", "--max-entries"],
        ["--json", "--all", "--claims", "-q", "--fail-open", "--move-bad-file-aside", "--help", "--version"],
    ),
).map(lambda parts: [*parts[0], *parts[1]])


@SETTINGS
@given(arguments=OF_DEDUPE, place=st.sampled_from(PLACES))
@example(arguments=["check", "k"], place="empty")
@example(arguments=["list", "--ttl", "9" * 400 + "d"], place="new")
def test_persistent_dedupe(arguments: list[str], place: str, home: Path) -> None:
    with places() as paths:
        assert_ends_well("persistent-dedupe", [*arguments, "--store", paths[place]], home, own_store="--" in arguments)


OF_STOREWRITER = st.tuples(
    st.sampled_from([[], ["status"], ["nothing"], [""], ["demo", "--trials", "0"], ["bench", "--window", "0"]]),
    options(["--folder", "--trials", "--window", "--only"], ["--json", "--help", "--version", "-h"]),
).map(lambda parts: [*parts[0], *parts[1]])


@SETTINGS
@given(arguments=OF_STOREWRITER, place=st.sampled_from(PLACES))
@example(arguments=["status"], place="empty")
@example(arguments=["status"], place="device")
def test_storewriter(arguments: list[str], place: str, home: Path) -> None:
    with places() as paths:
        # The last value counts: neither command begins to work.
        stop = {"demo": ["--trials", "0"], "bench": ["--window", "0"]}.get(arguments[0] if arguments else "", [])
        assert_ends_well("storewriter", [*arguments, *stop, paths[place]], home, own_store=False)


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_has_the_same_exit_codes_in_its_help(program: str) -> None:
    code, text = outcome(program, ["--help"])
    assert code == 0
    assert [int(found) for found in re.findall(r"^ *(\d+)  +\S", text, re.MULTILINE)] == sorted(DOCUMENTED)
    assert re.search(r"^ *1 +negative result", text, re.MULTILINE)
