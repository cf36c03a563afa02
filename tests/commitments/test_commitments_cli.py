"""The command line, as people and scripts meet it."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commitments_support import GRACE, NOW, SESSION_A, Child, record, run_cli, stored
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from commitments.__main__ import run
from commitments.cli.text import fit, safe_text
from commitments.cli.times import parse_time
from commitments.store import system_clock

Place = Callable[[str], Path]
Write = Callable[..., Path]
Start = Callable[[Path], Child]


class Result:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Run a command in this process."""

    def run_here(*arguments: str) -> Result:
        code = run(arguments)
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Result(code, captured.out, captured.err)

    return run_here


Cli = Callable[..., Result]

EVIL = (
    "\x1b[31mred\x1b[0m \x1b]8;;http://x\x07link\x1b]8;;\x1b\\ \x1b]52;c;aGk=\x07clip"
    "\x9b1mC1\x9d0;title\x9c \x07\x7f\x85line\nbreak"
)


class TestList:
    def test_c1_escape_sequences_do_not_reach_the_table_and_a_newline_shows_as_backslash_n(
        self, cli: Cli, write: Write
    ) -> None:
        path = write(record("a", agentId=EVIL, to=EVIL, suggestedText=EVIL, id=f"a{EVIL}"))
        done = cli("--store", str(path))
        text = done.out.replace("\n", "")
        assert all(character.isprintable() for character in text)
        assert "red link clipC1 \\nline\\nbreak" in done.out
        for trace in ("31m", "http://x", "aGk=", "title", "]8;"):
            assert trace not in done.out

    def test_c2_an_impossible_time_shows_as_not_applicable(self, cli: Cli, write: Write) -> None:
        window = {"earliestMs": 10**17, "latestMs": 10**17}
        done = cli("--store", str(write(record("a", dueWindow=window), record("b", dueWindow={"latestMs": 10**400}))))
        assert done.code == 0
        assert " n/a " in done.out

    def test_c3_json_goes_to_standard_output_only_with_its_shape(self, cli: Cli, place: Place) -> None:
        path = place("valid")
        done = cli("list", "--json", "--store", str(path))
        assert done.err == ""
        assert list(done.json) == ["count", "status", "agentId", "store", "commitments"]
        assert (done.json["count"], done.json["status"], done.json["agentId"]) == (3, "pending", None)
        assert done.json["store"] == str(path)
        by_id = stored(path)
        assert done.json["commitments"] == [by_id[each["id"]] for each in done.json["commitments"]]
        assert done.out == json.dumps(done.json, indent=2, ensure_ascii=False) + "\n"

    def test_c3_json_has_two_spaces_a_level_whatever_the_layout_of_the_file(self, cli: Cli, tmp_path: Path) -> None:
        path = tmp_path / "compact.json"
        entry = record("a", vendor={"list": [], "text": "a, [b]: {c}"})
        path.write_text(json.dumps({"version": 1, "commitments": [entry, None]}, separators=(",", ":")))
        done = cli("list", "--json", "--store", str(path))
        assert done.json["commitments"] == [entry]
        assert done.out == json.dumps(done.json, indent=2) + "\n"

    def test_c3_with_all_the_status_is_null_and_an_agent_is_named(self, cli: Cli, place: Place) -> None:
        done = cli("--all", "--agent", " helper ", "--json", "--store", str(place("valid")))
        assert (done.json["count"], done.json["status"], done.json["agentId"]) == (2, None, "helper")

    def test_c4_an_id_is_never_cut_but_other_columns_are_with_one_ellipsis_and_stay_aligned(
        self, cli: Cli, write: Write
    ) -> None:
        long_id = "cm_" + "x" * 60
        path = write(
            record(long_id, agentId="a" * 90, suggestedText="t" * 200, kind="k" * 40),
            record("b", suggestedText="漢字" * 60, to="日本"),
        )
        done = cli("--store", str(path))
        heading, first, second = done.out.splitlines()[-3:]
        status, kind, due, scope, text = map(heading.index, ("Status", "Kind", "Due", "Scope", "Suggested text"))
        assert first.startswith(f"{long_id} pending")
        assert (first[kind:due], first[scope:text]) == ("k" * 15 + "… ", "a" * 27 + "… ")
        assert first[text:] == "t" * 89 + "…"
        assert second[:status].rstrip() == "b"
        assert cell_len(second[: second.index("漢")]) == text
        assert second.endswith("漢字" * 22 + "…")

    def test_without_a_command_it_lists(self, cli: Cli, place: Place) -> None:
        path = str(place("valid"))
        assert cli("--store", path).out == cli("list", "--store", path).out

    def test_the_head_names_count_store_and_filters(self, cli: Cli, place: Place) -> None:
        path = str(place("valid"))
        done = cli("--agent", "main", "--status", "snoozed", "--store", path)
        assert done.out.splitlines()[:4] == [
            "Commitments: 1",
            f"Store: {path}",
            "Status filter: snoozed",
            "Agent filter: main",
        ]
        everything = cli("--all", "--status", "sent", "--store", path).out
        assert everything == cli("--all", "--store", path).out
        assert everything.startswith(f"Commitments: 8\nStore: {path}\nID ")

    def test_nothing_found_points_to_all(self, cli: Cli, tmp_path: Path) -> None:
        done = cli("--store", str(tmp_path / "none.json"))
        assert done.out.splitlines()[-1] == "No commitments found. Use --all to see every status."

    def test_a_filter_from_the_command_line_is_made_harmless_too(self, cli: Cli, place: Place) -> None:
        done = cli("--agent", "x\x1b[2Jy", "--store", str(place("valid")))
        assert "Agent filter: xy\n" in done.out

    @pytest.mark.parametrize("status", ["paused", "", "PENDING"])
    def test_another_status_is_wrong_usage_and_names_the_five(self, cli: Cli, status: str) -> None:
        done = cli("--status", status)
        assert (done.code, done.out) == (2, "")
        assert f"'{status}' is not one of 'pending', 'sent', 'dismissed', 'snoozed', 'expired'" in done.err

    def test_json_writes_every_control_character_as_an_escape(self, cli: Cli, write: Write) -> None:
        path = write(record("a", suggestedText=EVIL))
        done = cli("--json", "--store", str(path))
        assert not any(ord(each) < 32 or 0x7F <= ord(each) < 0xA0 for each in done.out.replace("\n", ""))
        assert done.json["commitments"][0]["suggestedText"] == EVIL

    def test_what_has_expired_is_saved_as_expired(self, cli: Cli, write: Write) -> None:
        path = write(record("old", dueWindow={"earliestMs": 1, "latestMs": 2}))
        assert cli("--status", "expired", "--json", "--store", str(path)).json["count"] == 1
        assert stored(path)["old"]["status"] == "expired"

    def test_on_a_terminal_it_has_colours_and_whole_ids(self, place: Place) -> None:
        path = place("valid")
        for columns in ("200", "60"):
            screen = on_a_terminal(["--all", "--store", str(path)], columns)
            assert "\x1b[33m" in screen
            for id_ in stored(path):
                assert id_ in screen

    def test_on_a_terminal_stored_text_cannot_bring_its_own(self, write: Write) -> None:
        path = write(record("a", suggestedText="\x1b[35mmagenta\x1b]0;title\x07 [bold]markup[/bold] :smile:"))
        for columns in ("200", "60"):
            screen = on_a_terminal(["--store", str(path)], columns)
            assert "\x1b[35m" not in screen
            assert "\x1b]0" not in screen
            assert "magenta [bold]markup[/bold] :smile:" in screen

    def test_in_a_pipe_there_are_no_colours_even_if_they_are_forced_on(self, place: Place) -> None:
        done = run_cli("--store", str(place("valid")), env={**os.environ, "FORCE_COLOR": "1"})
        assert "\x1b" not in done.stdout

    def test_a_reader_that_closes_the_output_ends_it_with_141_and_no_message(self, write: Write) -> None:
        path = write(*[record(f"r{number}") for number in range(2000)])
        with subprocess.Popen(
            [sys.executable, "-m", "commitments", "--store", str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline() == "Commitments: 2000\n"
            process.stdout.close()
            assert process.stderr.read() == ""
        assert process.returncode == 141

    def test_a_terminal_that_cannot_say_a_character_gets_an_escape(self, place: Place) -> None:
        env = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
        done = run_cli("--all", "--store", str(place("valid")), env=env)
        assert done.returncode == 0
        assert "Willkommen zur\\xfcck!" in done.stdout


def on_a_terminal(arguments: list[str], columns: str) -> str:
    """What the command line prints on a terminal of that width."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "COLUMNS": columns, "TERM": "xterm-256color"}
    env.pop("NO_COLOR", None)
    done = subprocess.run([sys.executable, "-m", "commitments", *arguments], stdout=theirs, env=env, timeout=60)
    os.close(theirs)
    assert done.returncode == 0
    pieces = []
    try:
        while piece := os.read(ours, 65536):
            pieces.append(piece)
    except OSError:
        pass  # Linux says so that the other end has been closed
    os.close(ours)
    return b"".join(pieces).decode()


class TestMarks:
    def test_c5_dismiss_prints_exactly_the_ids_as_json_and_dismisses_them(self, cli: Cli, write: Write) -> None:
        path = write(record("a"), record("b"), record("c"))
        done = cli("dismiss", "b", " a ", "", "b", "--json", "--store", str(path))
        assert (done.code, done.err) == (0, "")
        assert done.json == {"dismissed": ["b", "a"]}
        assert {id_: each["status"] for id_, each in stored(path).items()} == {
            "a": "dismissed",
            "b": "dismissed",
            "c": "pending",
        }

    def test_ids_that_were_not_dismissed_are_explained_in_json_too(self, cli: Cli, write: Write) -> None:
        path = write(record("a"), record("b", status="sent"), record("bad", to=1))
        done = cli("dismiss", "a", "b", "bad", "x", "--json", "--store", str(path))
        assert done.code == 1
        assert done.json == {
            "dismissed": ["a"],
            "notDismissed": [
                {"id": "b", "reason": "already sent"},
                {"id": "bad", "reason": "unusable, entry 2: to must be a string, is a number"},
                {"id": "x", "reason": "unknown"},
            ],
        }

    @pytest.mark.parametrize(
        ("command", "word", "status"), [("dismiss", "Dismissed", "dismissed"), ("sent", "Sent", "sent")]
    )
    def test_a_final_status_as_text(self, cli: Cli, write: Write, command: str, word: str, status: str) -> None:
        path = write(record("a"), record("b"))
        done = cli(command, "a", "b", "--store", str(path))
        assert (done.code, done.out, done.err) == (0, f"{word} commitments: a, b\n", "")
        assert {each["status"] for each in stored(path).values()} == {status}

    def test_an_attempt_counts_and_says_what_was_terminal(self, cli: Cli, write: Write) -> None:
        path = write(record("a", attempts=4), record("b", status="sent"))
        done = cli("attempt", "a", "b", "--store", str(path))
        assert (done.code, done.out) == (0, "Attempted commitments: a, b\n")
        assert done.err == "commitments: b was already sent; the attempt was counted all the same\n"
        assert [each["attempts"] for each in stored(path).values()] == [5, 1]

    @pytest.mark.parametrize("option", [["--for", "6h"], ["--until", "+6h"]])
    def test_a_snooze_until_or_for(self, cli: Cli, write: Write, option: list[str]) -> None:
        path = write(record("a"))
        done = cli("snooze", "a", *option, "--store", str(path))
        assert (done.code, done.out) == (0, "Snoozed commitments: a\n")
        found = stored(path)["a"]
        assert (found["status"], found["snoozedUntilMs"] - found["updatedAtMs"]) == ("snoozed", 6 * 3_600_000)

    def test_an_id_in_a_message_is_made_harmless(self, cli: Cli, write: Write) -> None:
        done = cli("dismiss", "a\x1b[2J\nb", "--store", str(write()))
        assert done.err == "commitments: not dismissed: a\\nb: unknown\n"

    @pytest.mark.parametrize("command", ["dismiss", "sent", "attempt", "snooze"])
    @pytest.mark.parametrize("ids", [[], [" ", "\ufeff"]])
    def test_without_an_id_it_is_wrong_usage(self, cli: Cli, command: str, ids: list[str]) -> None:
        options = ["--for", "1h"] if command == "snooze" else []
        done = cli(command, *ids, *options)
        assert (done.code, done.out) == (2, "")
        assert "no commitment id was given" in done.err


class TestAdd:
    REQUIRED = (
        "--agent",
        "main",
        "--session",
        SESSION_A,
        "--channel",
        "telegram",
        "--text",
        "Well?",
        "--reason",
        "It is.",
    )

    def test_it_creates_a_record_and_then_merges_into_it(self, cli: Cli, tmp_path: Path) -> None:
        path = tmp_path / "commitments.json"
        due = ("--due", "2030-03-10T09:00", "--timezone", "Europe/Lisbon", "--store", str(path))
        first = cli("add", *self.REQUIRED, *due)
        (found,) = stored(path).values()
        assert (first.code, first.out) == (0, f"Added commitment: {found['id']}\n")
        assert found["dueWindow"] == {
            "earliestMs": 1899363600000,
            "latestMs": 1899363600000 + 12 * 3_600_000,
            "timezone": "Europe/Lisbon",
        }
        again = cli("add", *self.REQUIRED, *due, "--json")
        assert again.json == {"created": [], "merged": [found["id"]]}

    def test_every_field_can_be_given(self, cli: Cli, tmp_path: Path) -> None:
        path = tmp_path / "commitments.json"
        options = {
            "agent": "ag",
            "session": "se",
            "channel": "ch",
            "account": "ac",
            "to": "to",
            "thread": "th",
            "sender": "sn",
            "text": "tx",
            "reason": "re",
            "due": str(NOW),
            "latest": str(NOW + 1),
            "timezone": "UTC",
            "kind": "care_check_in",
            "sensitivity": "care",
            "source": "inferred_user_context",
            "confidence": "0.5",
            "key": "ke",
            "message-id": "me",
            "run-id": "ru",
        }
        flat = [each for name, value in options.items() for each in (f"--{name}", value)]
        assert cli("add", *flat, "--store", str(path)).code == 0
        (found,) = stored(path).values()
        window = {"earliestMs": NOW, "latestMs": NOW + 1, "timezone": "UTC"}
        expected = {
            "agentId": "ag",
            "sessionKey": "se",
            "channel": "ch",
            "accountId": "ac",
            "to": "to",
            "threadId": "th",
            "senderId": "sn",
            "kind": "care_check_in",
            "sensitivity": "care",
            "source": "inferred_user_context",
            "status": "pending",
            "reason": "re",
            "suggestedText": "tx",
            "dedupeKey": "ke",
            "confidence": 0.5,
            "dueWindow": window,
            "sourceMessageId": "me",
            "sourceRunId": "ru",
            "attempts": 0,
        }
        assert {name: found[name] for name in expected} == expected

    def test_a_due_time_in_the_past_is_added_while_its_window_lasts(self, cli: Cli, tmp_path: Path) -> None:
        path = tmp_path / "commitments.json"
        assert cli("add", *self.REQUIRED, "--due", str(system_clock() - 3_600_000), "--store", str(path)).code == 0
        assert cli("list", "--json", "--store", str(path)).json["count"] == 1

    @pytest.mark.parametrize(("given", "written"), [((), "1"), (("--confidence", "0.00001"), "0.00001")])
    def test_numbers_are_written_as_the_original_writes_them(
        self, cli: Cli, tmp_path: Path, given: tuple[str, ...], written: str
    ) -> None:
        path = tmp_path / "commitments.json"
        assert cli("add", *self.REQUIRED, "--due", "+1h", *given, "--store", str(path)).code == 0
        assert f'"confidence": {written},' in path.read_text()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--due", "tomorrow"], "'tomorrow' is not a time"),
            (["--due", "2030-04-31T09:00"], "is not a time"),
            (["--due", "+1h", "--timezone", "Mars/Base"], "'Mars/Base' is not an IANA time zone"),
            (["--due", "+2h", "--latest", "+1h"], "is before earliest_ms"),
            (["--due", "+1h", "--text", " "], "suggested_text must not be blank"),
            (["--due", "+1h", "--agent", " "], "scope.agent_id must not be blank"),
            (["--due", "+1h", "--kind", "birthday_check"], "'birthday_check' is not one of"),
            (["--due", "+1h", "--confidence", "nan"], "confidence"),
            (["--due", "2020-03-10T09:00"], "ends at 2020-03-10T21:00:00.000Z, more than 72 hours ago"),
            (["--due", "+1h", "--latest", ""], "'' is not a time"),
            (["--due", "+1h", "--key", ""], "dedupe_key must not be blank"),
            ([], "Missing option '--due'"),
        ],
    )
    def test_what_cannot_be_added_is_wrong_usage_and_writes_nothing(
        self, cli: Cli, tmp_path: Path, options: list[str], message: str
    ) -> None:
        path = tmp_path / "commitments.json"
        done = cli("add", *self.REQUIRED, *options, "--store", str(path))
        assert (done.code, done.out) == (2, "")
        assert message in done.err
        assert not path.exists()


class TestEnding:
    @pytest.mark.parametrize(
        "arguments",
        [["--no-such-option"], ["no-such-command"], ["snooze", "a"], ["snooze", "a", "--for", "1h", "--until", "+1h"]],
    )
    def test_wrong_usage_is_2_and_one_line(self, cli: Cli, arguments: list[str]) -> None:
        done = cli(*arguments)
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
        assert done.err.startswith("commitments: ")

    def test_a_lock_that_is_not_obtained_is_4_and_names_the_holder(
        self, write: Write, start_child: Start, monkeypatch: pytest.MonkeyPatch, cli: Cli
    ) -> None:
        path = write(record("a"))
        child = start_child(path)
        child.ask("hold")
        monkeypatch.setitem(sys.modules["commitments.store"].CommitmentsStore.__init__.__kwdefaults__, "timeout", 0.05)
        done = cli("dismiss", "a", "--store", str(path))
        child.ask("")
        assert (done.code, done.out) == (4, "")
        assert str(child.process.pid) in done.err
        assert done.err.count("\n") == 1
        assert stored(path)["a"]["status"] == "pending"

    def test_a_waiting_command_shows_which_process_it_waits_for(self, write: Write, start_child: Start) -> None:
        path = write(record("a"))
        child = start_child(path)
        child.ask("hold")
        with subprocess.Popen(
            [sys.executable, "-m", "commitments", "dismiss", "a", "--store", str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            notice = process.stderr.readline()
            child.ask("")
            process.communicate()
        assert notice.startswith(f"commitments: has been waiting for {path} for 1.")
        assert str(child.process.pid) in notice
        assert process.returncode == 0

    @pytest.mark.parametrize("module", ["click", "rich"])
    def test_without_the_extra_it_says_what_to_install(self, write: Write, module: str) -> None:
        code = (
            f"import sys; sys.modules['{module}'] = None; sys.stdout.isatty = lambda: True\n"
            "from commitments.__main__ import run; sys.exit(run(sys.argv[1:]))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, "--store", str(write(record("a")))], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 2
        assert done.stderr == "commitments: the command line is not installed; run: pip install 'storewriter[cli]'\n"

    def test_the_library_does_not_need_the_extra(self) -> None:
        code = "import sys, commitments; sys.exit(bool({'click', 'rich'} & sys.modules.keys()))"
        assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0

    def test_help_and_version_are_0(self, cli: Cli) -> None:
        for arguments in (["--help"], ["-h"], ["dismiss", "--help"], ["--version"]):
            assert cli(*arguments).code == 0

    def test_a_full_disk_is_3_and_leaves_the_store_as_it_was(self, write: Write) -> None:
        path = write(*[record(f"r{number}") for number in range(20)])
        before = path.read_bytes()
        code = (
            "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
            "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "from commitments.__main__ import run; sys.exit(run(sys.argv[1:]))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, "dismiss", "r1", "--store", str(path)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 3
        assert str(path) in done.stderr
        assert done.stderr.count("\n") == 1
        assert path.read_bytes() == before
        assert not path.with_name(f".{path.name}.tmp").exists()


class TestBlankOptions:
    """A script's empty variable must not mean the store of this user, and what cannot work is no success."""

    @pytest.mark.parametrize("path", ["", "  ", "a\0b"])
    @pytest.mark.parametrize("command", [[], ["list"], ["dismiss", "a"], ["add", *TestAdd.REQUIRED, "--due", "+1h"]])
    def test_a_blank_store_is_wrong_usage_and_the_one_of_this_user_is_not_touched(
        self, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, command: list[str]
    ) -> None:
        monkeypatch.setenv("OPENCLAW_STATE_DIR", str(tmp_path))
        done = cli(*command, "--store", path)
        assert (done.code, done.out) == (2, "")
        assert "names no store" in done.err
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("command", ["list", "dismiss"])
    def test_a_command_behind_its_options_is_told_where_it_belongs(self, cli: Cli, command: str) -> None:
        done = cli("--store", "a.json", command)
        assert done.code == 2
        assert f"the command comes before its options, `commitments {command} ...`." in done.err
        assert "the command comes before" not in cli("--bogus").err

    def test_a_path_that_names_no_file_is_wrong_usage(self, cli: Cli) -> None:
        done = cli("list", "--store", "/")
        assert (done.code, done.out) == (2, "")
        assert "must name a file" in done.err

    def test_one_of_two_ways_to_say_how_long(self, cli: Cli, write: Write) -> None:
        done = cli("snooze", "a", "--store", str(write(record("a"))))
        assert (done.code, done.out) == (2, "")
        assert "give either --until TIME or --for DURATION." in done.err

    @pytest.mark.parametrize("option", [["--until", "2020-03-10T09:00"], ["--for", "0s"]])
    def test_a_snooze_that_hides_nothing_is_wrong_usage(self, cli: Cli, write: Write, option: list[str]) -> None:
        path = write(record("a"))
        done = cli("snooze", "a", *option, "--store", str(path))
        assert (done.code, done.out) == (2, "")
        assert "is not in the future" in done.err
        assert stored(path)["a"]["status"] == "pending"

    def test_a_duration_is_named_in_full(self, cli: Cli, write: Write) -> None:
        done = cli("snooze", "a", "--for", "xx", "--store", str(write(record("a"))))
        assert "'xx' is not a duration; write for example 90s, 45m, 24h or 1d12h" in done.err


class TestWatch:
    @pytest.fixture
    def watching(self, write: Write) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
        path = write(record("a"))
        command = [sys.executable, "-m", "commitments", "--watch", "--all", "--store", str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            yield path, process
            process.kill()

    def test_it_shows_the_list_again_at_every_change_until_it_is_interrupted(
        self, watching: tuple[Path, subprocess.Popen[str]]
    ) -> None:
        path, process = watching
        assert process.stdout is not None
        assert process.stderr is not None
        assert self.next_status(process) == "pending"
        assert run_cli("dismiss", "a", "--store", str(path)).returncode == 0
        assert self.next_status(process) == "dismissed"
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == ""
        assert process.wait() == 130

    def test_a_file_that_becomes_unreadable_ends_it_with_3(self, watching: tuple[Path, subprocess.Popen[str]]) -> None:
        path, process = watching
        assert self.next_status(process) == "pending"
        path.with_suffix(".new").write_bytes(b"{")
        path.with_suffix(".new").rename(path)
        assert process.stderr is not None
        assert str(path) in process.stderr.read()
        assert process.wait() == 3

    def next_status(self, process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("a "):
                return line.split()[1]
        raise AssertionError("the output ended")


@given(st.text())
def test_safe_text_is_printable_and_on_one_line(text: str) -> None:
    shown = safe_text(text)
    assert not any(ord(each) < 32 or 0x7F <= ord(each) < 0xA0 for each in shown)
    shown.encode()
    assert safe_text(shown) == shown


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"])), st.integers(3, 40))
def test_fit_fills_exactly_its_columns(text: str, width: int) -> None:
    text = safe_text(text)
    shown = fit(text, width)
    assert cell_len(shown) == width
    assert shown.startswith(text) or shown.rstrip().endswith("…")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[38;5;1m\x1b[?25lx", "x"),
        ("\x1b]0;title\x07x", "x"),
        ("\x1b]8;;http://e\x1b\\x\x1b]8;;\x1b\\", "x"),
        ("\x9b31mx\x9d0;t\x9cy\x90q\x9cz", "xyz"),
        ("\x1bPq#0\x1b\\x\x1b_apc\x1b\\\x1b^pm\x1b\\\x1bXsos\x1b\\y", "xy"),
        ("\x1bcx\x1b(Bx\x1b=x", "xxx"),
        ("a\nb\r\nc\rd\u2028e\x85f", "a\\nb\\nc\\nd\\ne\\nf"),
        ("a\tb\x00c\x7f", "abc"),
        ("\u202etxt.exe\u2066", "txt.exe"),
        ("\x1b]52;c;aGk=", "]52;c;aGk="),
        ("half \ud800 pair", "half  pair"),
        ("Grüße ✈ 漢字", "Grüße ✈ 漢字"),
    ],
)
def test_what_a_terminal_would_obey_goes(text: str, shown: str) -> None:
    assert safe_text(text) == shown


@pytest.mark.parametrize(
    ("text", "when_ms"),
    [
        ("2030-03-10T12:00:00Z", NOW),
        ("2030-03-10T14:00+02:00", NOW),
        ("2030-03-10 21:00", NOW),
        ("2030-03-10", NOW - 21 * 3_600_000),
        ("2028-02-29T00:00:00.5Z", 1835395200500),
        ("+90s", 5 + 90_000),
        ("+2d", 5 + 2 * 86_400_000),
        ("+1d12h", 5 + 36 * 3_600_000),
        ("+1w", 5 + 7 * 86_400_000),
        ("+250ms", 255),
        ("+1.5h", 5_400_005),
        (str(NOW), NOW),
    ],
)
def test_a_time_is_understood(text: str, when_ms: int) -> None:
    assert parse_time(text, 5, "Asia/Tokyo") == when_ms


@pytest.mark.parametrize("text", ["", "noon", "2030-04-31", "2027-02-29", "2030-03-10T25:00", "+1.5", "+", "9" * 40])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        parse_time(text, 0, "UTC")


def test_grace_is_72_hours() -> None:
    assert GRACE == 259_200_000
