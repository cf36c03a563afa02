"""A child that is forked inside an update and returns into the library: it gets an error, and saves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.children import child

_COMMON = """
import anyio
queue = PerStoreWriterQueue(timeout=20)
store = Store(path, queue=queue)
store.update(lambda state: state.update(n=0))
parent = os.getpid()
forked = None

def ended(pid):
    _, status = os.waitpid(pid, 0)
    assert status == 0, status

def fork_and_count(state):
    global forked
    if forked is None:
        forked = os.fork()
        if forked:
            ended(forked)  # the child is through before anything of the parent's is saved
    state["n"] += 1

def count(state):
    state["n"] += 1

def judge(error):
    if os.getpid() != parent:
        # Nothing is saved here, and the child can go on: it asks for another store.
        good = isinstance(error, LockLost)
        Store(path + ".other").update(lambda state: state.update(child=1))
        os._exit(0 if good else 3)
    if error is not None:
        raise error
"""

_BY_THREADS = """
def ask(fn):
    try:
        store.update(fn)
    except BaseException as error:
        judge(error)
    else:
        judge(None)

threads = [threading.Thread(target=ask, args=(fn,)) for fn in (count, fork_and_count, count)]
with queue.turn(path):
    for place, thread in enumerate(threads):
        thread.start()
        while queue.pending(path) <= place:
            time.sleep(0.001)
for thread in threads:
    thread.join()
"""

_BY_TASKS = """
tasks = AsyncStore(path, queue=queue)

async def ask(fn):
    try:
        await tasks.update(fn)
    except LockLost as error:
        judge(error)
    else:
        judge(None)

async def main():
    async with anyio.create_task_group() as group:
        async with queue.turn(path):
            for place, fn in enumerate(order):
                group.start_soon(ask, fn)
                while queue.pending(path) <= place:
                    await anyio.sleep(0.001)

anyio.run(main, backend=args[0])
"""

_FORKS_FIRST = "order = (fork_and_count, count, count)\n"
_FORKS_LATER = "order = (count, fork_and_count, count)\n"

_BY_TRANSFORM = """
def change(state):
    fork_and_count(state)
    return state

try:
    store.transform(change)
except BaseException as error:
    judge(error)
else:
    judge(None)
count_more = [store.update(count) for _ in range(2)]
"""

_IN_A_SAVE = """
from storewriter.testing import intercepted

def around(call, proceed):
    global forked
    if call.name == "write" and forked is None:
        forked = os.fork()
        if forked:
            ended(forked)
    return proceed()

try:
    Store(path, queue=queue, system=intercepted(around)).update(count)
except BaseException as error:
    judge(error)
else:
    judge(None)
count_more = [store.update(count) for _ in range(2)]
"""

_IN_A_WAIT = """
def handler(*_):
    global forked
    forked = os.fork()
    if forked:
        ended(forked)
    else:
        tickets[0].waiter.wake()  # no thread is left in the child that would do it
    is_over.set()

is_over = threading.Event()
signal.signal(signal.SIGUSR1, handler)

def slow(state):
    while not (tickets and tickets[0].handed_on):
        time.sleep(0.001)
    signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
    is_over.wait(20)
    count(state)

def first(state):
    tickets.append(line.lanes.get(path).head)
    threads.append(threading.Thread(target=store.update, args=(slow,)))
    threads[0].start()
    while queue.pending(path) < 1:
        time.sleep(0.001)
    count(state)

from storewriter._commits import batch
from storewriter._turns import line
batch.APPLY_SECONDS = 60
threads, tickets = [], []
try:
    store.update(first)
except BaseException as error:
    judge(error)
else:
    judge(None)
threads[0].join()
store.update(count)
"""

CASES = {
    "threads": (_BY_THREADS, "threads"),
    "transform": (_BY_TRANSFORM, "transform"),
    "in the middle of a save": (_IN_A_SAVE, "threads"),
    "in a signal handler, while it waits for the answer": (_IN_A_WAIT, "threads"),
    "asyncio, the leader": (_FORKS_FIRST + _BY_TASKS, "asyncio"),
    "asyncio, a follower": (_FORKS_LATER + _BY_TASKS, "asyncio"),
    "trio, the leader": (_FORKS_FIRST + _BY_TASKS, "trio"),
    "trio, a follower": (_FORKS_LATER + _BY_TASKS, "trio"),
}


@pytest.mark.parametrize("case", list(CASES))
def test_the_update_is_applied_once_and_the_child_is_told(case: str, path: Path) -> None:
    code, backend = CASES[case]
    end = """
assert store.read() == {"n": 3}, store.read()
assert Store(path + ".other").read() == {"child": 1}
say("done")
"""
    with child(_COMMON + code + end, path, backend) as process:
        process.expect("done")
        process.finish()
