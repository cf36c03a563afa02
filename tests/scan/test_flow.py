"""What is saved must come from what was loaded, in one flow: through helpers, objects, branches, other modules."""

from __future__ import annotations

from pathlib import Path

import pytest

from scan.conftest import Found
from storewriter.scan import scan


def test_helpers_of_another_scanned_module(found: Found) -> None:
    [finding] = found(
        """
        from files import read, write

        def change(path):
            state = read(path)
            state["n"] = 1
            write(path, state)
        """,
        files="""
        import json
        from pathlib import Path

        def read(path):
            return json.loads(Path(path).read_text())

        def write(path, state):
            Path(path).write_text(json.dumps(state))
        """,
    )
    assert (Path(finding.path).name, finding.line, finding.load_line) == ("main.py", 7, 5)


def test_helpers_of_a_module_that_is_not_scanned_are_known_by_their_names(found: Found) -> None:
    source = """
        from elsewhere import read_json, write_json

        def change(path, other):
            state = read_json(path)
            state["n"] = 1
            write_json({path}, state)
        """
    assert len(found(source.format(path="path"))) == 1
    assert found(source.format(path="other")) == ()


def test_an_object_that_keeps_what_it_loaded_when_it_was_made(found: Found) -> None:
    [finding] = found("""
        import json

        class Settings:
            def __init__(self, path):
                self.path = path
                with open(path) as f:
                    self.values = json.load(f)

            def set(self, key, value):
                self.values[key] = value
                with open(self.path, "w") as f:
                    json.dump(self.values, f)
        """)
    assert finding.at_creation
    assert "what others have saved since then is lost" in finding.why


def test_such_an_object_is_safe_if_it_loads_again_under_the_lock_of_the_save(found: Found) -> None:
    assert (
        found("""
        import json
        from filelock import FileLock

        class Settings:
            def __init__(self, path):
                self.path = path
                self.load()

            def load(self):
                with open(self.path) as f:
                    self.values = json.load(f)

            def set(self, key, value):
                with FileLock(self.path + ".lock"):
                    self.load()
                    self.values[key] = value
                    with open(self.path, "w") as f:
                        json.dump(self.values, f)
        """)
        == ()
    )


def test_a_dict_that_loads_itself(found: Found) -> None:
    [finding] = found("""
        import json

        class Config(dict):
            def __init__(self, path):
                self.path = path

            def load(self):
                with open(self.path) as f:
                    self.update(json.load(f))

            def save(self):
                with open(self.path, "w") as f:
                    json.dump(self, f)

        def main(path):
            config = Config(path)
            config.load()
            config["n"] = 1
            config.save()
        """)
    assert finding.function == "main"


def test_a_context_manager_that_saves_after_its_body(found: Found) -> None:
    [finding] = found("""
        import contextlib, json

        @contextlib.contextmanager
        def editing(path):
            with open(path) as f:
                state = json.load(f)
            yield state
            with open(path, "w") as f:
                json.dump(state, f)

        def change(path):
            with editing(path) as state:
                state["n"] = 1
        """)
    assert finding.function == "editing"


def test_work_that_is_handed_to_a_thread(found: Found) -> None:
    [finding] = found("""
        import asyncio, json

        def read(path):
            return json.load(open(path))

        def write(path, state):
            with open(path, "w") as f:
                json.dump(state, f)

        async def change(path):
            state = await asyncio.to_thread(read, path)
            state["n"] = 1
            await asyncio.to_thread(write, path, state)
        """)
    assert finding.function == "change"
    assert "AsyncStore" in finding.form


@pytest.mark.parametrize(
    "saved",
    ["len(state)", "sum(1 for _ in state)", "state == {}", "{'size': os.path.getsize(path)}", "'n' in state", "None"],
)
def test_what_only_says_something_of_the_content_is_no_content(found: Found, saved: str) -> None:
    source = """
        import json, os

        def change(path):
            with open(path) as f:
                state = json.load(f)
            with open(path, "w") as f:
                json.dump(SAVED, f)
        """
    assert found(source.replace("SAVED", saved)) == ()
    assert len(found(source.replace("SAVED", "{**state}"))) == 1


def test_one_finding_for_a_function_and_a_file(found: Found) -> None:
    source = """
        import json

        def change(path):
            with open(path) as f:
                state = json.load(f)
            for n in range(3):
                state["n"] = n
                with open(path, "w") as f:
                    json.dump(state, f)
            with open(path, "w") as f:
                json.dump(state, f)
        """
    assert len(found(source)) == 1


@pytest.mark.parametrize(
    ("comment", "count"),
    [
        ("# storewriter: ignore[only the installer runs this]", 0),
        ("# storewriter: ignore", 1),
        ("# storewriter: ignore[]", 1),
        ("# storewriter: ignore[ ]", 1),
    ],
)
@pytest.mark.parametrize("line", ["def change(path):", "state = json.load(f)", "json.dump(state, f)"])
def test_an_ignore_needs_a_reason(found: Found, line: str, comment: str, count: int) -> None:
    source = """
        import json

        def change(path):
            with open(path) as f:
                state = json.load(f)
            with open(path, "w") as f:
                json.dump(state, f)
        """
    assert len(found(source.replace(line, f"{line}  {comment}"))) == count


def test_of_this_project_only_the_demo_of_lost_updates_is_found() -> None:
    root = Path(__file__).parents[2] / "src" / "storewriter"
    seen = scan([str(root / "cli"), str(root / "scan"), str(root / "codecs"), str(root / "_files")])
    assert seen.unread == ()
    assert {Path(each.path).name for each in seen.findings} == {"before.py"}
    assert {each.function for each in seen.findings} >= {"dismiss", "dismiss_in_task"}
