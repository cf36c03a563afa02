"""Which expressions name the same file."""

from __future__ import annotations

import pytest

from scan.conftest import Found

SAME = [
    ("path", "path"),
    ("path", "Path(path)"),
    ("str(path)", "os.fspath(path)"),
    ("os.path.join(path, 'a.json')", "Path(path) / 'a.json'"),
    ("f'{path}/a.json'", "os.path.join(path, 'a.json')"),
    ("path + '.json'", "f'{path}.json'"),
    ("Path(path).expanduser() / 'a' / 'b'", "os.path.join(os.path.expanduser(path), 'a', 'b')"),
    ("Path(path).joinpath('a')", "Path(path, 'a')"),
    ("FOLDER / 'a.json'", "os.path.join(FOLDER, 'a.json')"),
    ("name(path)", "name(path)"),
]
OTHER = [
    ("path", "path + '.bak'"),
    ("path", "other"),
    ("Path(path) / 'a.json'", "Path(path) / 'b.json'"),
    ("name(path)", "name(other)"),
    ("Path(path).with_suffix('.a')", "Path(path).with_suffix('.b')"),
    ("next(path)", "next(path)"),
]
SOURCE = """
import json, os
from pathlib import Path
FOLDER = Path.home() / "x"

def name(text):
    return "state-" + text

def change(path, other):
    with open({load}) as f:
        state = json.load(f)
    state["n"] = 1
    with open({save}, "w") as f:
        json.dump(state, f)
"""


@pytest.mark.parametrize(("load", "save"), SAME)
def test_the_same_file(found: Found, load: str, save: str) -> None:
    assert len(found(SOURCE.format(load=load, save=save))) == 1


@pytest.mark.parametrize(("load", "save"), OTHER)
def test_another_file(found: Found, load: str, save: str) -> None:
    assert found(SOURCE.format(load=load, save=save)) == ()


def test_a_path_that_is_none_unless_given(found: Found) -> None:
    [finding] = found("""
        import json
        DEFAULT = "/etc/app.json"

        def load(path=None):
            if path is None:
                path = DEFAULT
            return json.load(open(path))

        def save(state, path=None):
            with open(path or DEFAULT, "w") as f:
                json.dump(state, f)

        def main():
            state = load()
            state["n"] = 1
            save(state)
        """)
    assert (finding.file, finding.function) == ("/etc/app.json", "main")
