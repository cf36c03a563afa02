"""What counts as a lock around the load and the save."""

from __future__ import annotations

import pytest

from scan.conftest import Found

WITH = """
import asyncio, fcntl, json, threading
import anyio, fasteners, filelock, portalocker
from storewriter import PerStoreWriterQueue
{top}

{kind} change(path, self=None):
    {lock}:
        with open(path) as f:
            state = json.load(f)
        state["n"] = 1
        with open(path, "w") as f:
            json.dump(state, f)
"""


@pytest.mark.parametrize(
    ("top", "lock"),
    [
        ("guard = threading.Lock()", "with guard"),
        ("guard = threading.Condition()", "with guard"),
        ("", "with filelock.FileLock(path + '.lock')"),
        ("", "with filelock.SoftFileLock(path + '.lock').acquire(timeout=1)"),
        ("", "with fasteners.InterProcessLock(path)"),
        ("", "with portalocker.Lock(path + '.lock')"),
        ("", "with self._lock"),
        ("", "with self.lock_for(path)"),
        ("", "with PerStoreWriterQueue().turn(path)"),
        ("def locks(path): return filelock.FileLock(path)", "with locks(path)"),
    ],
)
def test_a_lock(found: Found, top: str, lock: str) -> None:
    assert found(WITH.format(top=top, kind="def", lock=lock)) == ()


@pytest.mark.parametrize("lock", ["async with asyncio.Lock()", "async with anyio.Lock()", "async with self.write_lock"])
def test_a_lock_of_tasks(found: Found, lock: str) -> None:
    assert found(WITH.format(top="", kind="async def", lock=lock)) == ()


@pytest.mark.parametrize(
    "lock",
    [
        "with open(path + '.log')",
        "with self.clock",
        "with self.block()",
        "with fasteners.ReaderWriterLock().read_lock()",
        "if True",
    ],
)
def test_no_lock(found: Found, lock: str) -> None:
    assert len(found(WITH.format(top="", kind="def", lock=lock))) == 1


def test_a_shared_flock_does_not_exclude(found: Found) -> None:
    source = """
        import fcntl, json

        def change(path):
            with open(path, "r+") as f:
                fcntl.flock(f, fcntl.{flag})
                state = json.load(f)
                state["n"] = 1
                f.seek(0)
                json.dump(state, f)
        """
    assert found(source.format(flag="LOCK_EX")) == ()
    assert found(source.format(flag="LOCK_EX | fcntl.LOCK_NB")) == ()
    assert len(found(source.format(flag="LOCK_SH"))) == 1


def test_a_lock_that_a_helper_returns_from_is_released(found: Found) -> None:
    [finding] = found("""
        import json, threading
        lock = threading.Lock()

        def load(path):
            with lock:
                with open(path) as f:
                    return json.load(f)

        def save(path, state):
            with lock:
                with open(path, "w") as f:
                    json.dump(state, f)

        def change(path):
            state = load(path)
            state["n"] = 1
            save(path, state)
        """)
    assert (finding.function, finding.line - finding.load_line) == ("change", 2)


CALLERS = """
    import json, threading
    lock = threading.Lock()

    def add(path, item):
        with open(path) as f:
            items = json.load(f)
        items.append(item)
        with open(path, "w") as f:
            json.dump(items, f)

    def first(path):
        with lock:
            add(path, 1)

    def second(path):
        {second}
    """


@pytest.mark.parametrize(
    ("second", "count"),
    [
        ("pass", 0),
        ("with lock: add(path, 2)", 0),
        ("run_exclusive(path, add)", 0),
        ("add(path, 2)", 1),
        ("threading.Thread(target=add).start()", 1),
    ],
)
def test_a_helper_is_safe_if_all_callers_hold_a_lock(found: Found, second: str, count: int) -> None:
    assert len(found(CALLERS.format(second=second))) == count


def test_a_decorator_that_takes_a_lock(found: Found) -> None:
    source = """
        import functools, json, threading
        guard = threading.Lock()

        def alone(function):
            @functools.wraps(function)
            def wrapper(*args):
                {body}
            return wrapper

        @alone
        def change(path):
            with open(path) as f:
                state = json.load(f)
            state["n"] = 1
            with open(path, "w") as f:
                json.dump(state, f)
        """
    assert found(source.format(body="guard.acquire(); return function(*args)")) == ()
    assert len(found(source.format(body="return function(*args)"))) == 1


def test_the_call_that_loads_once_more_has_the_finding_and_not_its_caller(found: Found) -> None:
    [finding] = found("""
        import json

        def load(path):
            with open(path) as f:
                return json.load(f)

        def set_versions(path, versions):
            state = load(path)
            state["versions"] = versions
            with open(path, "w") as f:
                json.dump(state, f)

        def upgrade(path):
            versions = [each + 1 for each in load(path)["versions"]]
            set_versions(path, versions)
        """)
    assert finding.function == "set_versions"
