"""Which calls load a file and which save one: of the standard library, of other packages, by the names they have."""

from __future__ import annotations

from pathlib import Path

import pytest

from scan.conftest import Found
from storewriter.scan import scan

LOADS = [
    "state = json.loads(disk.read_text(path))",
    "state = toml.load(path)",
    "state = TOMLFile(path).read()",
    "with io.open(path) as f: state = json.load(f)",
    "with fs.open(path, 'r') as f: state = json.load(f)",
    "with contextlib.ExitStack() as stack: state = json.load(stack.enter_context(open(path)))",
    "state = json.loads(await asyncio.to_thread(lambda: Path(path).read_text()))",
    "state = [*json.loads(Path(path).read_text()), 1]",
    "first, *state = json.loads(Path(path).read_text())",
    "state = ''\n    state += Path(path).read_text()",
    "other.text = Path(path).read_text(); state = other",
    "if (state := json.loads(Path(path).read_text())) is None: return",
    "state.of(1)['a'].extend(json.loads(Path(path).read_text()))",
    "setattr(state, 'values', json.loads(Path(path).read_text()))",
]
SAVES = [
    "disk.write_text(path, json.dumps(state))",
    "srsly.write_json(path, state)",
    "joblib.dump(state, path)",
    "TOMLFile(path).write(state)",
    "with atomic_write(path) as f: json.dump(state, f)",
    "with fs.open(path, 'w') as f: json.dump(state, f)",
    "with open(path, 'w') as f: os.write(f.fileno(), json.dumps(state))",
    "with open(path, 'w') as f: os.write(f, json.dumps(state))",
    "with open(path, 'w') as f: csv.DictWriter(f, ['a']).writerows(state)",
    "fd, name = tempfile.mkstemp()\n    with os.fdopen(fd, 'w') as f: json.dump(state, f)\n    os.replace(name, path)",
    "with open(path, mode) as f: json.dump(state, f)",
]
NO_SAVES = [
    "disk.write_text(other, json.dumps(state))",
    "TOMLFile(path).write({})",
    "joblib.dump(path, state)",
    "state.name = state.name.replace('a')",
    "os.replace(path, path + '.old')",
    "os.replace(other, path)",
    "with fs.open(path, 'r') as f: json.dump(state, f)",
    "fd = os.open(path, os.O_RDONLY); os.fsync(fd)",
    "with open(path, 'w') as f: json.dump(len(state), f)",
]
SOURCE = """
import asyncio, contextlib, csv, io, json, os, tempfile
import joblib, srsly, toml
from pathlib import Path

async def change(path, other, fs, disk, mode, state):
    {load}
    {save}
"""


@pytest.mark.parametrize("load", LOADS)
def test_a_load(found: Found, load: str) -> None:
    assert len(found(SOURCE.format(load=load, save="Path(path).write_text(json.dumps(state))"))) == 1


@pytest.mark.parametrize("save", SAVES)
def test_a_save(found: Found, save: str) -> None:
    assert len(found(SOURCE.format(load="state = json.loads(Path(path).read_text())", save=save))) == 1


@pytest.mark.parametrize("save", NO_SAVES)
def test_no_save_of_what_was_loaded_from_there(found: Found, save: str) -> None:
    assert found(SOURCE.format(load="state = json.loads(Path(path).read_text())", save=save)) == ()


def test_a_method_of_the_class_above(found: Found) -> None:
    source = """
        import json

        class File:
            def __init__(self, path):
                self.path = path

            def load(self):
                with open(self.path) as f:
                    return json.load(f)

        class Settings(File):
            def __init__(self, path):
                super().__init__(path)

            def set(self, key, value):
                values = {load}
                values[key] = value
                with open(self.path, "w") as f:
                    json.dump(values, f)
        """
    for load in ("super().load()", "self.load()"):
        [finding] = found(source.format(load=load))
        assert finding.function == "Settings.set"
    assert found(source.format(load="{}")) == ()


def test_super_outside_a_class_is_any_call(found: Found) -> None:
    assert found("super().load(); super().save({})") == ()
    assert found("def function(): super().load()") == ()


@pytest.mark.parametrize("saved", ["kept", "rest"])
def test_what_a_pattern_captures(found: Found, saved: str) -> None:
    source = """
        import json
        from pathlib import Path

        def change(path):
            match json.loads(Path(path).read_text()):
                case {{"a": kept}}:
                    Path({path}).write_text(json.dumps({saved}))
                case [_, *rest]:
                    Path({path}).write_text(json.dumps({saved}))
        """
    assert len(found(source.format(path="path", saved=saved))) == 1
    assert found(source.format(path="'other.json'", saved=saved)) == ()


def test_arguments_that_are_spread(found: Found) -> None:
    source = """
        import json
        from pathlib import Path

        def save(path, *parts, **more):
            Path(path).write_text(json.dumps({saved}))

        def change(path):
            state = json.loads(Path(path).read_text())
            save({arguments})
        """
    assert len(found(source.format(saved="parts", arguments="path, state"))) == 1
    assert len(found(source.format(saved="more", arguments="path, a=state"))) == 1
    assert found(source.format(saved="more", arguments="path, state")) == ()


def test_a_variable_of_the_module(found: Found) -> None:
    [finding] = found("""
        import json
        from pathlib import Path

        PATH = Path("state.json")
        STATE = None

        def load():
            global STATE
            STATE = json.loads(PATH.read_text())

        def save():
            PATH.write_text(json.dumps(STATE))

        def change():
            load()
            STATE["n"] = 1
            save()
        """)
    assert finding.function == "change"


def test_a_function_that_calls_itself_is_followed_once(found: Found) -> None:
    [finding] = found("""
        import json
        from pathlib import Path

        def change(path, again):
            state = json.loads(Path(path).read_text())
            if again:
                change(path, False)
            Path(path).write_text(json.dumps(state))
        """)
    assert finding.function == "change"


def test_a_generator_that_yields_what_it_has_loaded(found: Found) -> None:
    [finding] = found("""
        import json
        from pathlib import Path

        def entries(path):
            yield from json.loads(Path(path).read_text())

        def change(path):
            kept = [entry for entry in entries(path) if entry]
            Path(path).write_text(json.dumps(kept))
        """)
    assert finding.function == "change"


def test_a_relative_import(tmp_path: Path) -> None:
    (tmp_path / "app" / "parts").mkdir(parents=True)
    (tmp_path / "app" / "__init__.py").write_text("from .parts import files\n")
    (tmp_path / "app" / "parts" / "__init__.py").touch()
    (tmp_path / "app" / "parts" / "files.py").write_text(
        "from pathlib import Path\ndef get(name): return Path(name).read_text()\n"
    )
    for number, line in enumerate(["from .files import get", "from ..parts.files import get", "from .. import files"]):
        call = "files.get" if line.endswith("import files") else "get"
        (tmp_path / "app" / "parts" / f"change_{number}.py").write_text(
            f"{line}\nfrom pathlib import Path\ndef change(name): Path(name).write_text({call}(name) + '1')\n"
        )
    assert [Path(finding.path).name for finding in scan([str(tmp_path)]).findings] == [
        "change_0.py",
        "change_1.py",
        "change_2.py",
    ]
