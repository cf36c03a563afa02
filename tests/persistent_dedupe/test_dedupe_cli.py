"""The command `persistent-dedupe`, run as people run it: in a process of its own."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from persistent_dedupe import DedupeOptions, PersistentDedupe
from persistent_dedupe.__main__ import run as run_here
from persistent_dedupe.cli.commands import parse_ttl
from storewriter.cli.base.text import json_text, safe_text
from storewriter.cli.base.times import age_text, parse_duration, utc_text

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def command(tmp_path: Path) -> Command:
    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "persistent_dedupe", *arguments],
            capture_output=True,
            encoding="utf-8",
            env={**os.environ, "PERSISTENT_DEDUPE_STORE": str(tmp_path), **environment},
            timeout=60,
        )
        assert "Traceback" not in done.stderr
        return done

    return run


def test_check_says_new_once_and_then_seen_before(command: Command, tmp_path: Path) -> None:
    first = command("check", "evt-1")
    assert (first.returncode, first.stdout, first.stderr) == (0, "new\n", "")
    second = command("check", " evt-1 ")
    assert second.returncode == 1
    assert second.stdout.startswith("seen before ")
    assert command("check", "evt-1", "--namespace", "other").returncode == 0
    assert sorted(path.name for path in tmp_path.glob("*.json")) == ["global.json", "other.json"]


def test_check_can_be_silent_and_can_speak_json(command: Command, tmp_path: Path) -> None:
    assert command("check", "-q", "k").stdout == ""
    done = command("check", "--json", "k")
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert (answer["key"], answer["new"], answer["recorded"]) == ("k", False, False)
    assert answer["file"] == str(tmp_path / "global.json")


def test_a_key_counts_for_as_long_as_the_command_says(command: Command, tmp_path: Path) -> None:
    (tmp_path / "global.json").write_text('{"old": 1000}')
    assert command("check", "old", "--ttl", "forever").returncode == 1
    assert command("check", "old", "--ttl", "1d12h").returncode == 0


def test_the_command_and_the_library_share_their_files(command: Command, tmp_path: Path) -> None:
    dedupe = PersistentDedupe(tmp_path, DedupeOptions(ttl=3600))
    assert dedupe.check_and_record("from the library", namespace="Team/A")
    assert command("check", "from the library", "--namespace", "Team/A").returncode == 1
    assert command("check", "from the command").returncode == 0
    assert not dedupe.check_and_record("from the command")


def test_list_shows_the_recent_keys_newest_first(command: Command, tmp_path: Path) -> None:
    dedupe = PersistentDedupe(tmp_path, DedupeOptions(ttl=0))
    dedupe.check_and_record("expired", now=1000.0)
    command("check", "--ttl", "forever", "a")
    command("check", "--ttl", "forever", "b")
    lines = command("list", "--ttl", "24h").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["Key", "b", "a"]
    assert "in 23h 59m" in lines[1]
    listed = json.loads(command("list", "--all", "--json", "--ttl", "24h").stdout)
    assert [entry["key"] for entry in listed["keys"]] == ["b", "a", "expired"]
    assert listed["keys"][2] == {"key": "expired", "seenAt": "1970-01-01T00:16:40.000Z", "recent": False}
    assert "never" in command("list", "--ttl", "forever").stdout
    assert command("list", "--namespace", "nothing").stdout == "No keys.\n"


def test_without_the_ttl_of_the_checks_nothing_is_said_of_expiry(command: Command, tmp_path: Path) -> None:
    """The file records when a key was seen, not for how long it counts."""
    PersistentDedupe(tmp_path, DedupeOptions(ttl=0)).check_and_record("old", now=1000.0)
    command("check", "--ttl", "forever", "kept")
    shown = command("list").stdout
    assert [line.split()[0] for line in shown.splitlines()] == ["Key", "kept", "old"]
    assert "Expires" not in shown
    assert " in " not in shown
    assert [key["recent"] for key in json.loads(command("list", "--json").stdout)["keys"]] == [None, None]
    assert command("stats").stdout.splitlines()[1].split()[:3] == ["global", "2", "-"]
    assert json.loads(command("stats", "--json").stdout)["namespaces"][0]["recent"] is None


def test_list_shows_open_claims_and_whose_they_are(command: Command, tmp_path: Path, start_child: Any) -> None:
    assert command("list", "--claims").stdout == "No open claims.\n"
    child = start_child()
    assert child.ask("claim", "k") == "claimed"
    lines = command("list", "--claims").stdout.splitlines()
    assert lines[1].split()[0] == "k"
    assert f"pid {child.process.pid}" in lines[1]
    child.kill()
    [claim] = json.loads(command("list", "--claims", "--json").stdout)["claims"]
    assert (claim["key"], claim["pid"], claim["abandoned"]) == ("k", child.process.pid, True)


def test_forget_makes_a_key_new_again_and_says_what_was_not_there(command: Command) -> None:
    command("check", "a")
    done = command("forget", "a", "b")
    assert (done.returncode, done.stdout) == (1, "forgotten: a\n")
    assert done.stderr == "persistent-dedupe: not there: b\n"
    assert command("check", "a").returncode == 0
    assert command("forget", "a").returncode == 0
    assert json.loads(command("forget", "a", "--json").stdout) == {"forgotten": [], "notThere": ["a"]}


def test_stats_shows_every_namespace_and_what_needs_looking_after(command: Command, tmp_path: Path) -> None:
    assert command("stats").stdout == f"No namespaces in {tmp_path}.\n"
    (tmp_path / "global.json").write_text('{"a": 1000, "odd": null}')
    command("check", "k", "--namespace", "Team/A")
    (tmp_path / "x.json").write_text("[]")
    done = command("stats", "--ttl", "24h")
    assert done.returncode == 3
    assert f"{tmp_path}/x.json cannot be read" in done.stderr
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()[1:]}
    assert rows["global"][:4] == ["1", "0", "1", "1970-01-01T00:00:01.000Z"]
    assert rows["Team/A"][:3] == ["1", "1", "0"]
    assert rows["x"][0] == "unreadable"
    command("check", "k", "--namespace", "x", "--move-bad-file-aside")
    figures = json.loads(command("stats", "--json", "--namespace", "x").stdout)["namespaces"]
    assert [(each["namespace"], each["entries"], each["movedAside"]) for each in figures] == [("x", 1, 1)]


def test_on_a_terminal_a_key_is_shown_whole_and_harmless(tmp_path: Path) -> None:
    key = "k" * 100 + "\x1b]0;title\x07"
    PersistentDedupe(tmp_path, DedupeOptions(ttl=0)).check_and_record(key)
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "persistent_dedupe", "list", "--store", str(tmp_path)]
    with subprocess.Popen(command, stdout=slave, env={**os.environ, "COLUMNS": "90", "TERM": "xterm"}) as process:
        assert process.wait() == 0
    os.close(slave)
    shown = os.read(master, 65536).decode()
    os.close(master)
    assert "".join(shown.split()).count("k") >= 100
    assert "\x1b]0" not in shown
    assert "\\x1b]0;title\\x07" in "".join(line.split()[0] if line.split() else "" for line in shown.splitlines())


# -- how it ends


@pytest.mark.parametrize("data", [b'{"evt-1": 18992808', b"[1]", b'{"caf\xe9": 1}', b""])
@pytest.mark.parametrize("arguments", [["check", "k"], ["forget", "k"], ["list"], ["stats"]])
def test_a_file_that_cannot_be_understood_is_left_as_it_is(
    command: Command, tmp_path: Path, data: bytes, arguments: list[str]
) -> None:
    path = tmp_path / "global.json"
    path.write_bytes(data)
    done = command(*arguments)
    assert done.returncode == 3
    assert str(path) in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert path.read_bytes() == data
    assert list(tmp_path.glob("*.corrupt-*")) == []


def test_a_bad_file_is_moved_aside_when_the_command_says_so(command: Command, tmp_path: Path) -> None:
    (tmp_path / "global.json").write_text("[1]")
    assert "--move-bad-file-aside" in command("check", "k").stderr
    done = command("check", "k", "--move-bad-file-aside")
    assert (done.returncode, done.stdout) == (0, "new\n")
    [moved] = tmp_path.glob("global.json.corrupt-*")
    assert moved.read_text() == "[1]"
    assert str(moved) in done.stderr


def test_a_store_that_cannot_be_used_is_an_error_or_by_choice_new(command: Command) -> None:
    done = command("check", "k", "--store", "/dev/null/store")
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1
    opened = command("check", "k", "--store", "/dev/null/store", "--fail-open")
    assert (opened.returncode, opened.stdout) == (0, "new, but it could not be recorded\n")
    assert "not recorded: " in opened.stderr


def test_a_lock_that_does_not_come_exits_with_4_and_names_its_holder(command: Command, start_child: Any) -> None:
    holder = start_child()
    assert holder.ask("hold") == "held"
    done = command("check", "k", "--timeout", "50ms")
    assert done.returncode == 4
    assert f"pid {holder.process.pid}" in done.stderr
    assert "a long job" in done.stderr
    assert command("list").returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["check"],
        ["check", ""],
        ["check", "  "],
        ["check", "k", "--ttl", "5"],
        ["check", "k", "--ttl", "0s"],
        ["check", "k", "--ttl", "-1h"],
        ["check", "k", "--max-entries", "0"],
        ["check", "k", "--timeout", "forever"],
        ["forget"],
        ["forget", " "],
        ["unknown"],
        ["list", "extra"],
    ],
)
def test_wrong_usage_exits_with_2_and_one_line(command: Command, tmp_path: Path, arguments: list[str]) -> None:
    done = command(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("persistent-dedupe: ")
    assert len(done.stderr.splitlines()) == 1
    assert os.listdir(tmp_path) == []


def test_without_a_command_its_help_is_shown_as_lines(command: Command) -> None:
    done = command()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == command("--help").stdout
    assert "\\n" not in done.stderr


@pytest.mark.parametrize("store", ["", " "])
@pytest.mark.parametrize("arguments", [["check", "k"], ["list"], ["forget", "k"], ["stats"]])
def test_a_blank_store_is_wrong_usage_and_the_one_of_this_user_is_not_touched(
    command: Command, tmp_path: Path, store: str, arguments: list[str]
) -> None:
    done = command(*arguments, "--store", store, XDG_STATE_HOME=str(tmp_path), PERSISTENT_DEDUPE_STORE="")
    assert (done.returncode, done.stdout) == (2, "")
    assert "names no store" in done.stderr
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("arguments", [["check", "k"], ["list"], ["forget", "k"], ["stats"]])
def test_a_blank_namespace_is_wrong_usage(command: Command, tmp_path: Path, arguments: list[str]) -> None:
    done = command(*arguments, "--namespace", " ")
    assert (done.returncode, done.stdout) == (2, "")
    assert "the namespace is blank" in done.stderr
    assert os.listdir(tmp_path) == []


def test_a_file_in_place_of_the_folder_ends_with_3(command: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert command("check", "k", "--store", str(tmp_path / "file")).returncode == 3


def test_without_its_extra_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "persistent_dedupe.cli", None)
    monkeypatch.setitem(sys.modules, "click", None)
    assert run_here(["list"]) == 2
    captured = capsys.readouterr()
    assert captured.err == (
        "persistent-dedupe: the command line is not installed; run: pip install 'storewriter[cli]'\n"
    )


def test_help_explains_the_exit_codes(command: Command) -> None:
    text = command("--help").stdout
    for line in (
        "1    negative result: seen before",
        "3    a store cannot be",
        "4    the lock was not obtained",
    ):
        assert line in text
    assert command("--version").returncode == 0


def test_a_reader_that_closes_the_output_ends_it_with_141_and_no_message(tmp_path: Path) -> None:
    dedupe = PersistentDedupe(tmp_path, DedupeOptions(ttl=0, durability="process"))
    (tmp_path / "global.json").write_text(json.dumps({f"key {number}": 1000 + number for number in range(20_000)}))
    assert dedupe.entries()
    with subprocess.Popen(
        [sys.executable, "-m", "persistent_dedupe", "list", "--all", "--store", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


def test_interrupted_while_it_waits_it_ends_without_a_traceback(tmp_path: Path, start_child: Any) -> None:
    holder = start_child()
    assert holder.ask("hold") == "held"
    with subprocess.Popen(
        [sys.executable, "-m", "persistent_dedupe", "check", "k", "--store", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert "held by pid" in process.stderr.readline()  # after a second it names the holder that it waits for
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == ""
        assert process.wait() == 130
    holder.tell("let go")
    assert holder.answer() == "released"


# -- text and times


def test_keys_cannot_speak_to_the_terminal(command: Command) -> None:
    evil = "a\x1b]0;title\x07\x1b[31mred\nb\u202ec\x9b"
    command("check", evil)
    for arguments in (["list"], ["list", "--json"], ["check", "--json", evil], ["forget", evil], ["forget", evil]):
        done = command(*arguments)
        shown = done.stdout + done.stderr
        assert not {"\x1b", "\x07", "\u202e", "\x9b"} & set(shown)


def test_text_is_made_harmless_without_losing_what_it_says() -> None:
    assert safe_text("a\x1b[0m\n\u202e\udcff é😀") == "a\\x1b[0m\\n\\u202e\\udcff é😀"
    assert safe_text("a\u200bb") != safe_text("ab")
    assert json.loads(json_text({"k": "\x7f\x1b\udcff"})) == {"k": "\x7f\x1b\udcff"}
    assert json_text("\x7f\x9b").isprintable()


def test_a_key_that_is_no_text_can_be_recorded_and_forgotten(tmp_path: Path) -> None:
    """An undecodable byte on the command line."""
    done = [
        subprocess.run(
            [sys.executable.encode(), b"-m", b"persistent_dedupe", name, b"k\xff", b"--store", os.fsencode(tmp_path)],
            capture_output=True,
        )
        for name in (b"check", b"check", b"forget")
    ]
    assert [each.returncode for each in done] == [0, 1, 0]
    assert done[2].stdout == b"forgotten: k\\udcff\n"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("24h", 86400), ("1d12h", 129600), ("90s", 90), ("500ms", 0.5), (" 2W ", 1209600), ("0s", 0)),
        *(("1.5h", 5400), ("0.25s", 0.25)),
    ],
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "h", "1.h", ".5h", "-1h", "1h 30m", "1y", "forever", "9" * 20 + "s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


def test_only_the_word_forever_means_for_ever() -> None:
    assert parse_ttl("forever") == 0
    assert parse_ttl("1ms") == 0.001
    with pytest.raises(ValueError, match="write forever"):
        parse_ttl("0s")


def test_times_and_ages_are_written_for_people() -> None:
    assert utc_text(1899374400500) == "2030-03-10T12:00:00.500Z"
    assert utc_text(1e23) == "n/a"
    assert [age_text(seconds) for seconds in (-5, 0.4, 61, 3600, 90061)] == ["0s", "0s", "1m 1s", "1h", "1d 1h"]
