"""`storewriter doctor`: what is wrong with a store, what would mend it, and that mending it does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from helpers.commands import Here
from helpers.users import COMMAND_AS
from storewriter import Store

CUT = '{"n": 2, "te'


def findings(cli: Here, path: Path, *options: str) -> dict[str, list[tuple[str, str, str | None]]]:
    found: dict[str, list[tuple[str, str, str | None]]] = {}
    for each in json.loads(cli("doctor", "--json", *options, path).out):
        found.setdefault(each["about"], []).append((each["level"], each["text"], each["fix"]))
    return found


def used(path: Path) -> Store[dict[str, int]]:
    store = Store[dict[str, int]](path, dict, backups=2)
    for n in (1, 2, 3):
        store.update(lambda state, n=n: state.update(n=n))
    return store


def test_a_sound_store_has_no_problem_and_nothing_is_changed(cli: Here, path: Path) -> None:
    used(path)
    before = {each.name: each.read_bytes() for each in path.parent.iterdir()}
    code, out, err = cli("doctor", "--fix", path)
    assert (code, err) == (0, "")
    assert out.endswith("no problem\n")
    assert {each.name: each.read_bytes() for each in path.parent.iterdir()} == before
    levels = {level for lines in findings(cli, path).values() for level, _, _ in lines}
    assert levels == {"good"}


def test_a_store_that_does_not_exist_yet(cli: Here, tmp_path: Path) -> None:
    found = findings(cli, tmp_path / "new" / "state.json")
    assert found["document"][0][:2] == (
        "note",
        f"{tmp_path}/new/state.json: there is none yet; a store begins with its default",
    )
    assert "the first update makes it" in found["folder"][0][1]
    assert list(tmp_path.iterdir()) == []


def test_a_corrupt_document_is_restored_and_kept(cli: Here, path: Path) -> None:
    used(path)
    path.write_text(CUT)
    found = findings(cli, path)
    assert found["content"][0][0] == "problem"
    assert found["content"][0][2] == f"move {path} aside, and restore its newest good backup"
    assert [line[0] for line in found["backup"]] == ["good", "good"]
    assert path.read_text() == CUT
    code, out, _ = cli("doctor", "--fix", path)
    assert code == 0
    assert f"mended   move {path} aside, and restore its newest good backup\n" in out
    assert json.loads(path.read_text()) == {"n": 2}
    assert Path(f"{path}.corrupt-1").read_text() == CUT


def test_a_corrupt_document_without_a_good_backup_is_left_to_recover(cli: Here, path: Path) -> None:
    path.write_text(CUT)
    (path.parent / f".{path.name}.backup-1").write_text("{")
    code, out, _ = cli("doctor", "--fix", path)
    assert code == 1
    assert "cannot be read" in out
    assert "backup-1: a backup, 1 bytes, of " in out
    assert ", cannot: the document is cut off" in out
    assert path.read_text() == CUT


def test_a_document_that_may_be_intact_is_left_alone(cli: Here, path: Path) -> None:
    used(path)
    path.write_text("# mine\n{}")
    assert findings(cli, path)["content"][0][2] is None
    assert cli("doctor", "--fix", path).code == 1
    assert path.read_text() == "# mine\n{}"


def test_a_lock_file_with_wrong_rights_is_mended(cli: Here, path: Path) -> None:
    used(path)
    lock = path.parent / f".{path.name}.lock"
    lock.chmod(0o666)
    level, text, fix = findings(cli, path)["lock file"][0]
    assert (level, text.endswith("mode 0666, which does not fit its document")) == ("problem", True)
    assert fix is not None
    assert fix.startswith(f"give {lock} the rights of its document (chown ")
    assert cli("doctor", "--fix", path).code == 0
    assert lock.stat().st_mode & 0o777 == 0o600


def test_a_temporary_file_is_removed_in_a_turn(cli: Here, path: Path) -> None:
    used(path)
    temporary = path.parent / f".{path.name}.tmp"
    temporary.write_text("half")
    assert findings(cli, path)["leftover"][0][2] == f"remove {temporary}"
    assert cli("doctor", "--fix", path).code == 0
    assert not temporary.exists()


def test_a_marker_of_a_process_that_is_gone_is_removed(cli: Here, path: Path) -> None:
    code = f"import os; from storewriter import *; t = PerStoreWriterQueue('lease').turn({str(path)!r}); t.__enter__(); os._exit(0)"
    subprocess.run([sys.executable, "-c", code], check=True)
    marker = path.parent / f".{path.name}.marker"
    assert findings(cli, path)["marker"][0][2] == f"remove {marker}"
    assert cli("doctor", "--fix", path).code == 0
    assert not marker.exists()


def test_a_damaged_marker_and_one_of_another_host(cli: Here, path: Path) -> None:
    marker = path.parent / f".{path.name}.marker"
    marker.write_text("?")
    assert findings(cli, path)["marker"][0][:2] == (
        "problem",
        f"{marker} is damaged; the next contender takes it over after two seconds",
    )
    marker.write_bytes(b"filelock/2\nmode=exclusive\npid=4242\nhost=elsewhere\n")
    level, text, fix = findings(cli, path)["marker"][0]
    assert (level, fix) == ("note", None)
    assert "whether its holder lives cannot be told from here; see `storewriter break`" in text


def test_a_foreign_lock_is_told_with_what_to_configure(cli: Here, path: Path) -> None:
    used(path)
    (path.parent / f"{path.name}.lock").mkdir()
    level, text, _ = findings(cli, path)["other program"][0]
    assert level == "note"
    assert "as proper-lockfile makes it" in text
    assert "also=ProperLockfile()" in text


def test_openclaws_database_is_told(cli: Here, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    database = tmp_path / "state" / "openclaw.sqlite"
    database.touch()
    (tmp_path / "commitments").mkdir()
    found = findings(cli, tmp_path / "commitments" / "commitments.json")
    assert found["OpenClaw"][0][1].startswith(f"{database} is OpenClaw's database: ")


def test_a_read_only_document_and_an_open_folder(cli: Here, path: Path) -> None:
    path.write_text("{}")
    path.chmod(0o444)
    path.parent.chmod(0o777)
    found = findings(cli, path)
    path.parent.chmod(0o700)
    assert found["document"][0][0] == "note"
    assert found["document"][0][1].endswith("it is read-only: every update is refused")
    assert any(
        "any user may replace the document: chmod o-w or chmod +t mends that" in text for _, text, _ in found["folder"]
    )


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_a_lock_file_that_is_none(cli: Here, path: Path, kind: str) -> None:
    lock = path.parent / f".{path.name}.lock"
    if kind == "folder":
        lock.mkdir()
    else:
        lock.symlink_to("elsewhere")
    level, text, _ = findings(cli, path)["lock file"][0]
    assert level == "problem"
    assert "it is no regular file, so every turn is refused" in text


def test_a_folder_in_place_of_the_document_is_a_problem(cli: Here, path: Path) -> None:
    path.mkdir()
    code, out, _ = cli("doctor", path)
    assert code == 1
    assert f"{path} is a folder" in out


@pytest.mark.untraced  # it may not write the figures
def test_what_another_user_may_not_do(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        store = Path(folder) / "state.json"
        used(store)
        line = [sys.executable, "-c", COMMAND_AS, "65534", "doctor", str(store)]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "this user may not read it" in done.stdout
    assert "this user may not make files in it, which every update needs" in done.stdout
    assert "this user may not open it" in done.stdout
    assert "Traceback" not in done.stderr
