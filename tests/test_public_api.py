"""What is public: listed, documented, the same on both faces, and free to import."""

from __future__ import annotations

import importlib.metadata
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import storewriter
from storewriter import AsyncStore, AsyncTransaction, Store, Transaction, errors

ROOT = Path(__file__).parent.parent

PROMISED = {
    "PerStoreWriterQueue",
    "Turn",
    "run_exclusive",
    "Store",
    "AsyncStore",
    "Transaction",
    "Backoff",
    "Owner",
    "StoreWriterError",
    "LockTimeout",
    "LockLost",
    "ReentrantTurn",
    "QueueFull",
    "StrategyMismatch",
    "StoreCorrupt",
    "VersionConflict",
    "CommitUncertain",
}


def test_everything_that_was_promised_is_there_and_nothing_is_listed_that_is_not() -> None:
    assert set(storewriter.__all__) >= PROMISED
    assert list(storewriter.__all__) == sorted(storewriter.__all__)
    for name in storewriter.__all__:
        assert hasattr(storewriter, name)


@pytest.mark.parametrize("name", sorted(storewriter.__all__))
def test_every_public_name_and_method_is_documented(name: str) -> None:
    thing = getattr(storewriter, name)
    assert thing.__doc__, name
    if inspect.isclass(thing):
        for method, member in vars(thing).items():
            if not method.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
                assert member.__doc__, f"{name}.{method}"


@pytest.mark.parametrize(("face", "twin"), [(Store, AsyncStore), (Transaction, AsyncTransaction)])
def test_both_faces_have_the_same_names_parameters_and_defaults(face: type, twin: type) -> None:
    def public(kind: type) -> dict[str, list[tuple[str, object, object]]]:
        found = {}
        for name, member in inspect.getmembers(kind, inspect.isfunction):
            if not name.startswith("_") or name == "__init__":
                parameters = inspect.signature(member).parameters.values()
                found[name] = [(parameter.name, parameter.kind, parameter.default) for parameter in parameters]
        return found  # type: ignore[return-value]

    ours, theirs = public(face), public(twin)
    if face is Transaction:
        theirs.pop("expect", None)
        ours.pop("__init__")
        theirs.pop("__init__")
    assert ours.keys() == theirs.keys()
    for name, parameters in ours.items():
        assert parameters == theirs[name], name


def test_run_exclusive_exists_as_a_function_and_as_a_method() -> None:
    assert inspect.iscoroutinefunction(storewriter.run_exclusive)
    assert inspect.iscoroutinefunction(storewriter.PerStoreWriterQueue.run_exclusive)


def test_importing_starts_nothing_and_installs_nothing() -> None:
    code = """
import os, sys, threading, gc, signal, atexit
before_threads = set(os.listdir("/proc/self/task"))
before_fds = len(os.listdir("/proc/self/fd"))
handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
registered = []
real = os.register_at_fork
os.register_at_fork = lambda **hooks: registered.append(hooks) or real(**hooks)
import storewriter
import storewriter.codecs, storewriter.locks, storewriter.errors, storewriter.events
ours = [hooks for hooks in registered if any("storewriter" in (hook.__module__ or "") for hook in hooks.values())]
assert not ours, ours
assert set(os.listdir("/proc/self/task")) == before_threads
assert len(os.listdir("/proc/self/fd")) == before_fds
assert handlers == {number: signal.getsignal(number) for number in handlers}
heavy = {"asyncio", "trio", "filelock", "click", "rich", "pydantic", "msgspec", "watchfiles", "commitments"} & set(sys.modules)
print(sorted(heavy))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = done.stdout.strip()
    assert not {"asyncio", "trio", "click", "rich", "pydantic", "msgspec", "watchfiles", "commitments"} & set(
        eval(loaded)
    ), loaded


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(storewriter.__file__).parent / "py.typed").exists()


def test_the_version_stands_in_one_place() -> None:
    assert storewriter.__version__ == importlib.metadata.version("storewriter")
    assert (
        "version = " not in (ROOT / "pyproject.toml").read_text().partition("[build-system]")[2].partition("[tool")[0]
    )


def test_a_default_that_is_a_sentinel_is_readable_in_help() -> None:
    assert "timeout: 'float | None | Unset' = UNSET" in str(inspect.signature(Store.update))


def test_every_error_that_a_call_may_raise_is_one_of_this_package_and_public() -> None:
    kinds = {kind for name in dir(errors) if isinstance(kind := getattr(errors, name), type)}
    raised = {kind for kind in kinds if issubclass(kind, Exception)}
    assert {kind.__name__ for kind in raised} == {name for name in errors.__all__ if name != "Path"}
    for kind in raised:
        assert issubclass(kind, storewriter.StoreWriterError)
        assert getattr(storewriter, kind.__name__) is kind
