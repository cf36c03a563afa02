"""`storewriter scan`: what it prints, and its exit codes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from helpers.commands import Here

RACY = """
import json

def add(path, item):
    with open(path) as f:
        items = json.load(f)
    items.append(item)
    with open(path, "w") as f:
        json.dump(items, f)
"""
WHY = "path is loaded (line 6), changed and saved, and no lock is held from load to save"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "racy.py").write_text(RACY)
    (tmp_path / "app" / "safe.py").write_text("print('nothing to see')\n")
    return tmp_path


def test_a_finding_says_file_line_function_why_and_what_to_write_instead(cli: Here, folder: Path) -> None:
    code, output, errors = cli("scan", "app")
    assert (code, errors) == (1, "")
    assert output.splitlines()[0] == f"app/racy.py:9: in add: {WHY}"
    assert "Store(path).update(change)" in output.splitlines()[1]
    assert output.splitlines()[-1] == "1 finding in 2 files"


def test_nothing_found(cli: Here, folder: Path) -> None:
    assert cli("scan", "app/safe.py") == (0, "0 findings in 1 file\n", "")


def test_annotations_for_github(cli: Here, folder: Path) -> None:
    code, output, _ = cli("scan", "--format", "github", "app")
    assert code == 1
    assert output.startswith(
        "::warning file=app/racy.py,line=9,title=Updates of this file can get lost::path is loaded"
    )
    assert len(output.splitlines()) == 1


def test_sarif(cli: Here, folder: Path) -> None:
    code, output, _ = cli("scan", "--format", "sarif", "app")
    assert code == 1
    run = json.loads(output)["runs"][0]
    [result] = run["results"]
    assert result["ruleId"] == run["tool"]["driver"]["rules"][0]["id"] == "lost-update"
    place = result["locations"][0]["physicalLocation"]
    assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == ("app/racy.py", 9)


def test_json(cli: Here, folder: Path) -> None:
    code, output, _ = cli("scan", "--json", "app")
    assert code == 1
    told = json.loads(output)
    [finding] = told["findings"]
    assert (finding["path"], finding["line"], finding["load_line"], finding["why"]) == ("app/racy.py", 9, 6, WHY)
    assert (told["files"], told["unread"]) == (2, [])


def test_what_is_not_python_is_named_and_left_out(cli: Here, folder: Path) -> None:
    (folder / "app" / "other.py").write_text("print 'of another age'\n")
    (folder / "app" / "binary.py").write_bytes(b"\xff\xfe\x00\x00")
    code, output, errors = cli("scan", "app")
    assert code == 1
    assert "app/racy.py:9" in output
    assert "storewriter: left out: app/other.py: line 1: " in errors
    assert "storewriter: left out: app/binary.py: " in errors


def test_a_path_that_is_not_there_is_wrong_usage(cli: Here, folder: Path) -> None:
    code, output, errors = cli("scan", "nowhere")
    assert (code, output) == (2, "")
    assert "there is no file or folder 'nowhere'" in errors


def test_tests_are_searched_if_asked_for(cli: Here, folder: Path) -> None:
    (folder / "app" / "tests").mkdir()
    (folder / "app" / "racy.py").rename(folder / "app" / "tests" / "test_racy.py")
    assert cli("scan", "app")[0] == 0
    assert cli("scan", "--tests", "app")[0] == 1
    assert cli("scan", "app/tests/test_racy.py")[0] == 1


def test_scripts_of_the_same_name_in_several_folders_are_all_scanned(cli: Here, folder: Path) -> None:
    (folder / "other").mkdir()
    (folder / "other" / "racy.py").write_text(RACY)
    _, output, _ = cli("scan", ".")
    assert [line.partition(":")[0] for line in output.splitlines()[:-1:2]] == ["app/racy.py", "other/racy.py"]


def test_an_import_means_the_module_beside_it(cli: Here, folder: Path) -> None:
    for name, body in {
        "app": "with open(path, 'w') as f:\n        json.dump(items, f)",
        "other": "return None",
    }.items():
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "racy.py").unlink(missing_ok=True)
        (folder / name / "helpers.py").write_text(f"import json\n\ndef save(path, items):\n    {body}\n")
        (folder / name / "add.py").write_text(
            "import json\nfrom helpers import save\n\n"
            "def add(path):\n    with open(path) as f:\n        items = json.load(f)\n"
            "    items.append(1)\n    save(path, items)\n"
        )
    code, output, _ = cli("scan", ".")
    assert code == 1
    assert [line.partition(":")[0] for line in output.splitlines()[:-1:2]] == ["app/add.py"]


def test_only_regular_files_of_a_folder_are_read_and_each_of_them_once(cli: Here, folder: Path) -> None:
    app = folder / "app"
    os.mkfifo(app / "fifo.py")
    (app / "folder.py").mkdir()
    (app / "nowhere.py").symlink_to("missing.py")
    (app / "twice.py").symlink_to("racy.py")
    (app / "loop").symlink_to(app)
    code, output, errors = cli("scan", "app", "app/racy.py")
    assert (code, errors) == (1, "")
    assert output.splitlines()[-1] == "1 finding in 2 files"


@pytest.mark.parametrize("form", ["text", "github", "sarif"])
def test_a_path_that_is_no_utf_8(cli: Here, folder: Path, form: str) -> None:
    (folder / "app" / "racy.py").rename(folder / os.fsdecode(b"app/\xff.py"))
    code, output, errors = cli("scan", "--format", form, "app")
    assert (code, errors) == (1, "")
    if form == "sarif":
        [result] = json.loads(output)["runs"][0]["results"]
        assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "app/%FF.py"


@pytest.mark.parametrize(
    ("source", "left_out"),
    [
        ("x = " + "-" * 20_000 + "1\n", "app/deep.py: nested too deeply"),
        ("x = 1" + " + 1" * 700 + "\n", "app/deep.py: line 1: <module> is nested too deeply"),
        ("def f(p):\n    x = open(p).read()" + " + 'x'" * 700 + "\n    open(p, 'w').write(x)\n", "line 1: f is nested"),
    ],
    ids=["no parser", "a module", "a function"],
)
def test_what_is_nested_too_deeply_is_named_and_left_out(cli: Here, folder: Path, source: str, left_out: str) -> None:
    (folder / "app" / "deep.py").write_text(source)
    code, output, errors = cli("scan", "app")
    assert (code, output.splitlines()[0]) == (1, f"app/racy.py:9: in add: {WHY}")
    assert f"left out: {left_out}" in errors or left_out in errors
