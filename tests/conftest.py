"""For every test: nothing is left behind. For the async ones: on asyncio and on trio."""

from __future__ import annotations

import gc
import multiprocessing.forkserver
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, settings

from storewriter import PerStoreWriterQueue
from storewriter._turns import line

Main = Callable[[], Coroutine[Any, Any, Any]]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that starts the tests in the background lets them ignore Ctrl-C, and every child would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
for _ignored in (signal.SIGQUIT, signal.SIGHUP):  # the same of Ctrl-\\, and nohup(1)
    if signal.getsignal(_ignored) is signal.SIG_IGN:
        signal.signal(_ignored, signal.SIG_DFL)

# No database: a run leaves no folder behind, and the same commit gives the same verdict.
settings.register_profile(
    "storewriter", database=None, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("storewriter")

_PATIENCE = 5.0
"""Seconds in which a thread that has done its work must have gone (they linger for 20 ms), and a document that is
remembered between updates must have been closed (a quarter of a second after the last update)."""


def _descriptors() -> dict[str, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # the descriptor of the listing itself
        if not target.startswith("/proc/"):
            found[name] = target
    return found


def _threads() -> set[str]:
    return set(os.listdir("/proc/self/task"))


def _leftovers(before: set[str], descriptors: dict[str, str], threads: set[str]) -> dict[str, object]:
    new = {name: target for name, target in _descriptors().items() if descriptors.get(name) != target}
    return {
        what: left
        for what, left in {
            "lanes": set(line.lanes) - before,
            "descriptors": new,
            "threads": _threads() - threads,
        }.items()
        if left
    }


_CHILDREN_ARE_TRACED = "COVERAGE_PROCESS_CONFIG"
"""The environment variable by which coverage's `patch = subprocess` reaches Python processes."""

_server_is_untraced = [False]
"""Whether the process from which `multiprocessing` forks was started without a tracer."""

_UNTRACED = re.compile(
    r"""/tests/(
        # What shows nothing of the library, or hardly more than other tests do, and takes long with a tracer.
        (benchmarks|commitments|documentation|examples|models|persistent_dedupe|repository|torture|typing)/
        | crash/test_killed_processes | crash/test_real_file_systems | turns/test_crowds | turns/test_lane_model
        # What counts calls, imports or steps.
        | backends/test_not_a_file | locks/test_interleavings | locks/test_short_ways | store/test_costs_nothing
        | store/test_short_way
        # What interrupts everywhere: in a tracer too, which then keeps its own lock for ever.
        | platform/test_descriptors | store/test_handlers_that_update | store/test_interrupted_commits
        | turns/test_interrupt
        # What counts on batches of 10 to 20 ms.
        | store/test_shared_failures
        # Many processes, and mostly of what the command and the adapters add to the library.
        | cli/test_(bad_input|base|bench|command_lines|completion|demo|documentation|interrupts|man_pages|race|run)
    )""",
    re.VERBOSE,
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what runs without a tracer while the coverage is measured."""
    for item in items:
        if _UNTRACED.search(item.path.as_posix()):
            item.add_marker(pytest.mark.untraced)


def _start_server_anew() -> None:
    """The process from which `multiprocessing` forks, if there is one: its children have what its environment said."""
    server: Any = multiprocessing.forkserver._forkserver  # type: ignore[attr-defined]
    if server._forkserver_pid is not None:
        server._stop()
        server.ensure_running()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Take the tracer away for tests marked as untraced, and from their children; after any test it is there again.

    A test that traces for itself takes its place, too.
    """
    ours, of_threads, of_children = sys.gettrace(), threading.gettrace(), os.environ.get(_CHILDREN_ARE_TRACED)
    is_untraced = item.get_closest_marker("untraced") is not None
    if is_untraced:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]
        os.environ.pop(_CHILDREN_ARE_TRACED, None)
    if ours is not None and is_untraced is not _server_is_untraced[0]:
        _server_is_untraced[0] = is_untraced
        _start_server_anew()
    try:
        return (yield)
    finally:
        if sys.gettrace() is not ours:
            sys.settrace(ours)
        threading.settrace(of_threads)  # type: ignore[arg-type]
        if of_children is not None:
            os.environ[_CHILDREN_ARE_TRACED] = of_children


@pytest.fixture(autouse=True)
def _processes_may_fork() -> None:
    """filelock lets no thread fork any more that was interrupted while it changed the owner of a descriptor.

    Tests that interrupt everywhere leave it so, for those that come after them in the same process.
    """
    state = getattr(sys.modules.get("filelock._core._fork"), "_FORK_STATE", None)
    if state is not None:
        state.reset_synchronization()
        state.undrained_forks.clear()


@pytest.fixture(autouse=True)
def _nothing_is_left_behind() -> Iterator[None]:
    """No lane, no descriptor, no thread survives a test."""
    gc.collect()
    gc.freeze()  # what is there now is no business of this test's: the collector, asked once more, looks at the rest
    before = set(line.lanes), _descriptors(), _threads()
    yield
    end = time.monotonic() + _PATIENCE
    while left := _leftovers(*before):
        if time.monotonic() > end:
            pytest.fail(f"left behind: {left}")
        gc.collect()
        threading.Event().wait(0.005)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store that does not exist yet."""
    return tmp_path / "state.json"


@pytest.fixture
def queue() -> PerStoreWriterQueue:
    """A patient queue: what hangs shows as LockTimeout after 20 s."""
    return PerStoreWriterQueue(timeout=20.0)


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> str:
    """Both event loops."""
    return str(request.param)


@pytest.fixture
def run(backend: str) -> Callable[[Main], Any]:
    """Run an async function on each of them."""
    return lambda main: anyio.run(main, backend=backend)
