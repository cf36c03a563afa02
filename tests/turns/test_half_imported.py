"""Modules that another thread is importing at this moment are in `sys.modules`, and have next to nothing in them yet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def _run(code: str, *arguments: object) -> str:
    """Run the code in a process of its own, and return what it printed."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


MODULES = ["asyncio", "trio", "sniffio", "anyio"]


@pytest.mark.parametrize("lock", ["flock", "none"])
@pytest.mark.parametrize("name", MODULES)
def test_a_thread_can_update_beside_a_module_with_nothing_in_it(name: str, lock: str, tmp_path: Path) -> None:
    code = """
import sys, types
from storewriter import PerStoreWriterQueue, Store

name, lock, path = sys.argv[1:]
queue = PerStoreWriterQueue(lock)
store = Store(path, queue=queue)
store.update(lambda state: state.update(first=1))  # what is imported for it
if name == "sniffio":
    import trio
sys.modules[name] = types.ModuleType(name)
store.update(lambda state: state.update(second=2))
with store.transaction() as tx:
    tx.state["third"] = 3
with queue.turn(path):
    print(store.read())
"""
    assert _run(code, name, lock, tmp_path / "store.json") == "{'first': 1, 'second': 2, 'third': 3}\n"


@pytest.mark.parametrize(("here", "half"), [("asyncio", "trio"), ("trio", "asyncio")])
def test_a_task_is_known_beside_the_other_library_with_nothing_in_it(here: str, half: str, tmp_path: Path) -> None:
    code = """
import sys, threading, types
from persistent_dedupe.runner import OneShotResult
from storewriter import AsyncStore, PerStoreWriterQueue, ReentrantTurn

here, half, path = sys.argv[1:]
library = __import__(here)
latch = OneShotResult()

async def main():
    sys.modules[half] = types.ModuleType(half)  # here, because `trio.run` asks for asyncio
    queue = PerStoreWriterQueue()
    await AsyncStore(path, queue=queue).update(lambda state: state.update(n=1))
    async with queue.turn(path):
        try:
            async with queue.turn(path):
                pass
        except ReentrantTurn:
            print("known")
    threading.Thread(target=latch.set, args=("set",)).start()
    print(await latch.wait_async(30))

library.run(*([main()] if here == "asyncio" else [main]))
"""
    assert _run(code, here, half, tmp_path / "store.json") == "known\nset\n"


@pytest.mark.parametrize(
    ("name", "stop"),
    [("asyncio", "asyncio.base_events"), ("asyncio", "asyncio.tasks"), ("trio", "trio._core")],
)
def test_a_thread_can_update_while_another_imports(name: str, stop: str, tmp_path: Path) -> None:
    """The import stands still at one of its own imports, until the update is there."""
    code = """
import importlib, sys, threading
from storewriter import PerStoreWriterQueue, Store

name, stop, path = sys.argv[1:]
standing, go_on = threading.Event(), threading.Event()

class Halt:
    def find_spec(self, wanted, path=None, target=None):
        if wanted == stop:
            standing.set()
            assert go_on.wait(30)

sys.meta_path.insert(0, Halt())
store = Store(path, queue=PerStoreWriterQueue("none"))  # the other locks import too, and would wait for asyncio
importing = threading.Thread(target=importlib.import_module, args=(name,))
importing.start()
assert standing.wait(30)
try:
    store.update(lambda state: state.update(n=1))
finally:
    go_on.set()
    importing.join()
print(store.read(), name in sys.modules)
"""
    assert _run(code, name, stop, tmp_path / "store.json") == "{'n': 1} True\n"


def test_a_cancelled_task_waits_for_its_flush_without_importing_anything(tmp_path: Path) -> None:
    """Where no descriptor is left, nothing can be imported."""
    code = """
import asyncio, errno, sys, threading
from storewriter._turns import off_loop

class Refuse:
    def find_spec(self, wanted, path=None, target=None):
        raise OSError(errno.EMFILE, "Too many open files", wanted)

flushing, go_on = threading.Event(), threading.Event()

def flush():
    flushing.set()
    assert go_on.wait(30)
    return "flushed"

async def main():
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(off_loop.off_loop(flush, loop))
    await asyncio.to_thread(flushing.wait)
    sys.meta_path.insert(0, Refuse())
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    go_on.set()
    result, cancelled = await task
    print(result, type(cancelled).__name__)

asyncio.run(main())
"""
    assert _run(code) == "flushed CancelledError\n"
