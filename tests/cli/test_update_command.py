"""`storewriter update`: changes from options, all in one commit; nothing is lost, rounded or laid out anew."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.commands import COMMAND, Here
from storewriter import Store
from storewriter.cli.documents import show_difference

DOCUMENT = '{\n    "rate": 1.50,\n    "big": 12345678901234567890123,\n    "list": [1, 2],\n    "t": "x"\n}\n'


def test_the_changes_are_made_in_the_order_of_the_options_and_the_layout_is_kept(cli: Here, path: Path) -> None:
    path.write_text(DOCUMENT)
    changes = ("--set", "a.b=1", "--delete", "a.b", "--set-text", "a.c=1", "--set", "list.-=3", "--set", "/list/0=[]")
    assert cli("update", path, *changes, "--delete", "/t") == (0, "", "")
    kept = '{\n    "rate": 1.50,\n    "big": 12345678901234567890123,\n    "list": [[], 2, 3],\n'
    assert path.read_text() == kept + '    "a": {\n        "c": "1"\n    }\n}\n'


def test_a_store_without_a_document_begins_as_an_empty_object(cli: Here, path: Path) -> None:
    assert cli("update", path, "--set", "a.b=1").code == 0
    assert path.read_text() == '{"a":{"b":1}}\n'


def test_text_of_a_locale_without_utf_8_is_read_as_utf_8(cli: Here, path: Path) -> None:
    assert cli("update", path, "--set-text", "ü=é".encode().decode("ascii", "surrogateescape")).code == 0
    assert json.loads(path.read_text()) == {"ü": "é"}


@pytest.mark.parametrize(
    ("variable", "value", "code"), [("LANG", "C", True), ("NO_COLOR", "1", False), ("TERM", "dumb", False)]
)
def test_a_diff_has_colours_on_a_terminal_that_wants_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, variable: str, value: str, code: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(variable, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert show_difference(b"1", b"2", ("a", "b"))
    assert ("\x1b[" in capsys.readouterr().out) == code


# RFC 7396, appendix A.
MERGES = [
    ('{"a":"b"}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'),
    ('{"a":"b"}', '{"a":null}', "{}"),
    ('{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'),
    ('{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'),
    ('{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'),
    ('{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'),
    ('["a","b"]', '["c","d"]', '["c","d"]'),
    ('{"a":"b"}', '["c"]', '["c"]'),
    ('{"a":"foo"}', "null", "null"),
    ('{"a":"foo"}', '"bar"', '"bar"'),
    ('{"e":null}', '{"a":1}', '{"e":null,"a":1}'),
    ("[1,2]", '{"a":"b","c":null}', '{"a":"b"}'),
    ("{}", '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'),
]


@pytest.mark.parametrize(("target", "patch", "result"), MERGES)
def test_the_merge_patches_of_the_rfc(cli: Here, path: Path, target: str, patch: str, result: str) -> None:
    path.write_text(target)
    assert cli("update", path, "--merge", patch) == (0, "", "")
    assert json.loads(path.read_text()) == json.loads(result)


# RFC 6902, appendix A; None: it must fail.
PATCHES = [
    ('{"foo":"bar"}', '[{"op":"add","path":"/baz","value":"qux"}]', '{"baz":"qux","foo":"bar"}'),
    ('{"foo":["bar","baz"]}', '[{"op":"add","path":"/foo/1","value":"qux"}]', '{"foo":["bar","qux","baz"]}'),
    ('{"baz":"qux","foo":"bar"}', '[{"op":"remove","path":"/baz"}]', '{"foo":"bar"}'),
    ('{"foo":["bar","qux","baz"]}', '[{"op":"remove","path":"/foo/1"}]', '{"foo":["bar","baz"]}'),
    ('{"baz":"qux","foo":"bar"}', '[{"op":"replace","path":"/baz","value":"boo"}]', '{"baz":"boo","foo":"bar"}'),
    (
        '{"foo":{"bar":"baz","waldo":"fred"},"qux":{"corge":"grault"}}',
        '[{"op":"move","from":"/foo/waldo","path":"/qux/thud"}]',
        '{"foo":{"bar":"baz"},"qux":{"corge":"grault","thud":"fred"}}',
    ),
    (
        '{"foo":["all","grass","cows","eat"]}',
        '[{"op":"move","from":"/foo/1","path":"/foo/3"}]',
        '{"foo":["all","cows","eat","grass"]}',
    ),
    (
        '{"baz":"qux","foo":["a",2,"c"]}',
        '[{"op":"test","path":"/baz","value":"qux"},{"op":"test","path":"/foo/1","value":2}]',
        '{"baz":"qux","foo":["a",2,"c"]}',
    ),
    ('{"baz":"qux"}', '[{"op":"test","path":"/baz","value":"bar"}]', None),
    (
        '{"foo":"bar"}',
        '[{"op":"add","path":"/child","value":{"grandchild":{}}}]',
        '{"foo":"bar","child":{"grandchild":{}}}',
    ),
    ('{"foo":"bar"}', '[{"op":"add","path":"/baz","value":"qux","xyz":123}]', '{"foo":"bar","baz":"qux"}'),
    ('{"foo":"bar"}', '[{"op":"add","path":"/baz/bat","value":"qux"}]', None),
    ('{"/":9,"~1":10}', '[{"op":"test","path":"/~01","value":10}]', '{"/":9,"~1":10}'),
    ('{"/":9,"~1":10}', '[{"op":"test","path":"/~01","value":"10"}]', None),
    ('{"foo":["bar"]}', '[{"op":"add","path":"/foo/-","value":["abc","def"]}]', '{"foo":["bar",["abc","def"]]}'),
    # What is not in the appendix: kinds of values are told apart, and numbers keep their value.
    ('{"a":true}', '[{"op":"test","path":"/a","value":1}]', None),
    ('{"a":[0]}', '[{"op":"test","path":"/a","value":[false]}]', None),
    ('{"a":null}', '[{"op":"test","path":"/a","value":0}]', None),
    ('{"a":1}', '[{"op":"test","path":"/a","value":1.0}]', '{"a":1}'),
    ('{"a":1}', '[{"op":"add","path":"/b","value":12345678901234567890123}]', '{"a":1,"b":12345678901234567890123}'),
    ('{"a":{"b":1}}', '[{"op":"move","from":"/a","path":"/a/b"}]', None),
    ('{"a":1}', '[{"op":"remove","path":"/a"},{"op":"remove","path":"/a"}]', None),
]


@pytest.mark.parametrize(("target", "patch", "result"), PATCHES)
def test_the_patches_of_the_rfc(cli: Here, path: Path, target: str, patch: str, result: str | None) -> None:
    path.write_text(target)
    file = path.parent / "patch.json"
    file.write_text(patch)
    done = cli("update", path, "--patch", file)
    if result is None:
        assert done.code == 1
        assert done.err.startswith(f"storewriter: the patch {file} does not apply: ")
        assert done.err.endswith(". Nothing was written.\n")
        assert "<class" not in done.err
        assert path.read_text() == target
    else:
        assert done == (0, "", "")
        assert json.loads(path.read_text()) == json.loads(result)


ERRORS = [
    (1, ("--delete", "zz.y"), "nothing is at zz.y: there is no key 'zz'."),
    (1, ("--set", "/n/b=1"), "nothing is at /n/b: at /n a number has no 'b'."),
    (1, ("--set", "list.5=1"), "nothing is at list.5: at /list the array has 2 elements, and no index 5."),
    (1, ("--set", "list.x.y=1"), "nothing is at list.x.y: at /list 'x' is no index of an array."),
    (1, ("--version-is", "absent", "--set", "n=2"), ", not absent. Nothing was written."),
    (2, (), "say what to change: --set, --set-text, --delete, --merge or --patch."),
    (2, ("--set", "x"), "--set needs KEY=VALUE, got 'x'."),
    (2, ("--set-text", "x"), "--set-text needs KEY=VALUE, got 'x'."),
    (2, ("--set", "x=Bob"), "the value 'Bob' of x cannot be read: line 1, column 1: "),
    (2, ("--set", "x=Bob"), "It must be JSON; for a text use --set-text x=TEXT."),
    (2, ("--set", 'x={"a":1,"a":2}'), "the key 'a' is given twice in one o"),
    (2, ("--set", "x=NaN"), "NaN"),
    (2, ("--merge", "{"), "--merge '{' cannot be read: line 1, column 2: "),
    (2, ("--delete", ""), "the whole document cannot be deleted; delete keys of it."),
    (2, ("--patch", "/no/such/file"), "'/no/such/file': No such file or directory"),
    (2, ("--timeout", "ten", "--set", "n=1"), "'ten' is not a duration; write for example 90s, 45m, 24h or 1d12h."),
    (
        2,
        ("--set", "=1"),
        "--set '=1' has no KEY (an empty variable of a script?), and would replace the whole document",
    ),
    (2, ("--set-text", "=x"), "--set-text '=x' has no KEY"),
    (2, ("--set-text", "n=\udcff"), "--set-text 'n=\\udcff' is no UTF-8."),
    (2, ("--set", "x=" + "[" * 500), "the value '" + "[" * 78 + "… of x cannot be read: "),
    (2, ("--lock", "marker", "--also", "flock", "--set", "n=1"), "--also flock goes with --lock flock only"),
]


@pytest.mark.parametrize(("code", "arguments", "message"), ERRORS)
def test_a_change_that_cannot_be_made_changes_nothing(
    cli: Here, path: Path, code: int, arguments: tuple[str, ...], message: str
) -> None:
    path.write_text('{"n": 1, "list": [1, 2]}')
    found, out, err = cli("update", path, *arguments)
    assert (found, out) == (code, "")
    assert message in err
    assert path.read_text() == '{"n": 1, "list": [1, 2]}'


def test_a_patch_that_is_none_is_refused(cli: Here, path: Path) -> None:
    file = path.parent / "patch.json"
    file.write_text('{"op": "add"}')
    message = f"the patch {file} is no JSON patch: it must be an array of operations (RFC 6902)."
    assert cli("update", path, "--patch", file) == (1, "", f"storewriter: {message}\n")
    file.write_text('[{"op": "add", "path": "/a", "value": 1, "value": 2}]')
    code, _, err = cli("update", path, "--patch", file)
    assert code == 1
    assert f"the patch {file} cannot be read: " in err
    assert not path.exists()


def test_a_dry_run_prints_a_diff_and_writes_nothing(cli: Here, path: Path) -> None:
    path.write_text(DOCUMENT)
    code, out, err = cli("update", path, "--dry-run", "--set", 't="y"')
    assert (code, err) == (0, "")
    head = f"--- {path}\n+++ {path} (after the change)\n@@ -2,5 +2,5 @@\n"
    assert (
        out
        == head
        + '     "rate": 1.50,\n     "big": 12345678901234567890123,\n     "list": [1, 2],\n-    "t": "x"\n+    "t": "y"\n }\n'
    )
    assert path.read_text() == DOCUMENT
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_the_diff_can_be_applied_by_patch_1(cli: Here, path: Path) -> None:
    path.write_text('{\n  "a": 1\n}')
    diff = cli("update", path, "--dry-run", "--set", "b=2").out
    after = cli("update", path, "--set", "b=2") and path.read_text()
    path.write_text('{\n  "a": 1\n}')
    subprocess.run(["git", "apply", "-p0", "--unsafe-paths", "-"], input=diff, text=True, check=False, cwd=path.parent)
    assert "\\ No newline at end of file\n" in diff
    assert after == '{\n  "a": 1,\n  "b": 2\n}'


def test_a_script_sees_that_the_version_is_another_one(cli: Here, path: Path) -> None:
    path.write_text('{"n": 1}')
    version = cli("get", "--version-only", path).out.strip()
    assert cli("update", path, "--version-is", version, "--set", "n=2").code == 0
    again = cli("update", path, "--version-is", version, "--set", "n=3")
    now = cli("get", "--version-only", path).out.strip()
    assert again == (1, "", f"storewriter: {path} has the version {now}, not {version}. Nothing was written.\n")
    assert cli("update", path, "--dry-run", "--version-is", version, "--set", "n=3").code == 1
    assert path.read_text() == '{"n": 2}'


def test_json_says_whether_anything_changed(cli: Here, path: Path) -> None:
    path.write_text('{"n": 1}')
    assert json.loads(cli("update", "--json", path, "--set", "n=1").out) == {
        "path": str(path),
        "changed": False,
        "committed": True,
    }
    assert json.loads(cli("update", "--json", path, "--set", "n=2").out)["changed"] is True
    dry = json.loads(cli("update", "--json", "--dry-run", path, "--set", "n=3").out)
    assert dry == {"path": str(path), "changed": True, "committed": False}


def test_a_corrupt_document_is_refused_and_stays(cli: Here, path: Path) -> None:
    path.write_text('{"n": ')
    code, out, err = cli("update", path, "--set", "n=1")
    assert (code, out) == (3, "")
    assert str(path) in err
    assert path.read_text() == '{"n": '


def test_a_held_lock_ends_with_4_and_names_the_holder(cli: Here, path: Path) -> None:
    with Store(path, dict).transaction(label="nightly"):
        done = subprocess.run(
            [*COMMAND, "update", path, "--timeout", "0", "--set", "n=1"], capture_output=True, text=True, check=False
        )
    assert (done.returncode, done.stdout) == (4, "")
    assert '"nightly"' in done.stderr
    assert not path.exists()


def test_updates_of_several_processes_are_all_kept(path: Path) -> None:
    path.write_text('{\n  "seen": []\n}\n')
    running = [
        subprocess.Popen([*COMMAND, "update", path, "--set", f"seen.-={n}", "--set", f"by.p{n}={n}"]) for n in range(8)
    ]
    assert [each.wait(60) for each in running] == [0] * 8
    found = json.loads(path.read_text())
    assert sorted(found["seen"]) == list(range(8))
    assert found["by"] == {f"p{n}": n for n in range(8)}
