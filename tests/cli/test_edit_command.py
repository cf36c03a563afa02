"""`storewriter edit`: outside the lock, then compare-and-swap; an edited text is never lost."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from helpers.commands import COMMAND, Here, started
from helpers.waiting import PATIENCE, until
from storewriter import PerStoreWriterQueue, Store

DOCUMENT = '{\n    "n": 1,\n    "rate": 1.50\n}\n'


@pytest.fixture(autouse=True)
def scratch(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the texts are, and nothing else."""
    folder = tmp_path_factory.mktemp("texts")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.delenv("VISUAL", raising=False)
    return folder


@pytest.fixture
def editor(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An editor that does what its script says to the file $1."""
    script = tmp_path_factory.mktemp("editor") / "editor"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setenv("EDITOR", str(script))
    return script


def does(editor: Path, script: str) -> None:
    editor.write_text(f"#!/bin/sh\n{script}\n")


def test_the_edited_text_is_committed_with_its_own_layout(cli: Here, path: Path, editor: Path, scratch: Path) -> None:
    path.write_text(DOCUMENT)
    does(editor, """sed -i 's/"n": 1/"n":   2/' "$1" """)
    assert cli("edit", path) == (0, "", "")
    assert path.read_text() == DOCUMENT.replace('"n": 1', '"n":   2')
    assert list(scratch.iterdir()) == []


def test_a_new_document_begins_as_an_empty_object(cli: Here, path: Path, editor: Path) -> None:
    does(editor, """test "$(cat "$1")" = '{}' && echo '{"new": true}' > "$1" """)
    assert cli("edit", path).code == 0
    assert path.read_text() == '{"new": true}\n'


def test_visual_comes_before_editor_and_may_have_arguments(
    cli: Here, path: Path, editor: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_text(DOCUMENT)
    monkeypatch.setenv("VISUAL", "sed -i s/1,/3,/")
    does(editor, "exit 1")
    assert cli("edit", path).code == 0
    assert path.read_text() == DOCUMENT.replace("1,", "3,")


def test_a_text_that_was_left_as_it_is_writes_nothing(cli: Here, path: Path, editor: Path, scratch: Path) -> None:
    path.write_text(DOCUMENT)
    assert cli("edit", path) == (0, "", "storewriter: nothing has changed; nothing was written\n")
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert list(scratch.iterdir()) == []


def test_no_lock_is_held_while_the_editor_runs(cli: Here, path: Path, editor: Path) -> None:
    path.write_text(DOCUMENT)
    does(editor, f"{sys.executable} -m storewriter run --timeout 0 {path} -- true && echo '{{}}' > \"$1\"")
    assert cli("edit", path).code == 0
    assert path.read_text() == "{}\n"


def test_a_conflict_keeps_the_text_and_shows_both_changes(cli: Here, path: Path, editor: Path, scratch: Path) -> None:
    path.write_text(DOCUMENT)
    does(editor, f"""{sys.executable} -m storewriter update {path} --set other=1; sed -i 's/"n": 1/"n": 2/' "$1" """)
    code, out, err = cli("edit", path)
    (kept,) = scratch.iterdir()
    assert (code, out) == (1, "")
    assert f'+++ {path} (committed meanwhile)\n@@ -1,4 +1,5 @@\n {{\n     "n": 1,\n' in err
    assert '+    "other": 1\n' in err
    assert f'+++ {path} (your text)\n@@ -1,4 +1,4 @@\n {{\n-    "n": 1,\n+    "n": 2,\n' in err
    reason = f"{path} was changed while you edited it; both changes are shown above. Nothing was written"
    assert err.endswith(f"storewriter: {reason}; your text is kept in {kept}\n")
    assert '"n": 2' in kept.read_text()
    assert '"n": 1' in path.read_text()


def test_a_text_that_is_no_document_is_kept(cli: Here, path: Path, editor: Path, scratch: Path) -> None:
    path.write_text(DOCUMENT)
    does(editor, """echo '{"n": 2,}' > "$1" """)
    code, _, err = cli("edit", path)
    (kept,) = scratch.iterdir()
    assert code == 1
    assert re.match(r"storewriter: the edited text cannot be read: line 1, column \d+: ", err)
    assert err.endswith(f"Nothing was written; your text is kept in {kept}\n")
    assert kept.read_text() == '{"n": 2,}\n'
    assert path.read_text() == DOCUMENT


def test_an_editor_that_fails_writes_nothing(cli: Here, path: Path, editor: Path, scratch: Path) -> None:
    path.write_text(DOCUMENT)
    does(editor, "exit 3")
    assert cli("edit", path) == (1, "", "storewriter: the editor ended with exit code 3. Nothing was written.\n")
    assert list(scratch.iterdir()) == []
    does(editor, """echo '{}' > "$1"; exit 3""")
    code, _, err = cli("edit", path)
    (kept,) = scratch.iterdir()
    assert (code, err.endswith(f"Nothing was written; your text is kept in {kept}\n")) == (1, True)
    assert path.read_text() == DOCUMENT


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("kill -9 $$", "the editor ended with exit code 137. Nothing was written."),
        ('rm "$1"', "cannot be read any more: No such file or directory. Nothing was written."),
        ('rm "$1"; mkdir "$1"', "cannot be read any more: Is a directory. Nothing was written."),
    ],
)
def test_an_editor_that_leaves_no_text(
    cli: Here, path: Path, editor: Path, scratch: Path, script: str, message: str
) -> None:
    path.write_text(DOCUMENT)
    does(editor, script)
    code, _, err = cli("edit", path)
    assert (code, err.endswith(f"{message}\n")) == (1, True), err
    assert path.read_text() == DOCUMENT


@pytest.mark.parametrize(
    ("editor_is", "code", "message"),
    [
        ("no-such-editor", 127, "the editor 'no-such-editor' cannot be started: there is no such command."),
        ("/", 126, "the editor '/' cannot be started: Permission denied."),
        ("'x", 2, 'the editor "\'x" cannot be understood: No closing quotation.'),
    ],
)
def test_an_editor_that_cannot_be_started(
    cli: Here, path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch, editor_is: str, code: int, message: str
) -> None:
    monkeypatch.setenv("EDITOR", editor_is)
    path.write_text(DOCUMENT)
    found, _, err = cli("edit", path)
    assert found == code
    assert message in err
    assert list(scratch.iterdir()) == []


def test_a_dry_run_shows_the_edited_text_and_writes_nothing(cli: Here, path: Path, editor: Path, scratch: Path) -> None:
    path.write_text(DOCUMENT)
    does(editor, """sed -i 's/"n": 1/"n": 2/' "$1" """)
    code, out, _ = cli("edit", "--dry-run", path)
    assert code == 0
    assert '-    "n": 1,\n+    "n": 2,\n' in out
    assert path.read_text() == DOCUMENT
    assert list(scratch.iterdir()) == []


def test_a_lock_that_is_not_obtained_keeps_the_text(path: Path, editor: Path, scratch: Path) -> None:
    path.write_text(DOCUMENT)
    does(editor, """echo '{}' > "$1" """)
    with PerStoreWriterQueue().turn(path):
        done = subprocess.run(
            [*COMMAND, "edit", "--timeout", "0", path],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    (kept,) = scratch.iterdir()
    assert done.returncode == 4
    assert f"storewriter: your text is kept in {kept}\n" in done.stderr
    assert kept.read_text() == "{}\n"


def test_an_interrupt_is_for_the_editor(path: Path, editor: Path) -> None:
    path.write_text(DOCUMENT)
    ready = path.parent / "ready"
    does(editor, f"""touch {ready}; while test -e {ready}; do sleep 0.02; done; echo '{{}}' > "$1" """)
    with started("edit", path) as process:
        until(ready.exists, "the editor")
        process.send_signal(signal.SIGINT)
        ready.unlink()
        assert process.wait(PATIENCE) == 0
    assert Store(path, dict).read() == {}


def test_the_text_is_private(cli: Here, path: Path, editor: Path) -> None:
    path.write_text(DOCUMENT)
    modes = path.parent / "modes"
    does(editor, f'stat -c %a "$1" > {modes}')
    cli("edit", path)
    assert modes.read_text() == "600\n"
    assert os.path.exists(path)
