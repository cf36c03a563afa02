"""After fork() the child holds nothing and can take turns at once; the parent's lock is the parent's."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from helpers.children import child
from storewriter import PerStoreWriterQueue

FORKING = """
import traceback
queue = PerStoreWriterQueue(timeout=20)

def forked(work):
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)

def ended(pid):
    _, status = os.waitpid(pid, 0)
    assert status == 0, status
"""


def run_child(code: str, path: Path, *lines: str) -> None:
    with child(FORKING + code, path) as process:
        for line in lines:
            process.expect(line)
        process.finish()


def test_a_child_forked_outside_of_a_turn_takes_turns_at_once(path: Path) -> None:
    run_child(
        """
with queue.turn(path):
    pass
def work():
    with queue.turn(path, timeout=0):
        pass
    Store(path).update(lambda state: state.update(child=True))
ended(forked(work))
Store(path).update(lambda state: state.update(parent=True))
assert Store(path).read() == {"child": True, "parent": True}
say("done")
""",
        path,
        "done",
    )


def test_a_child_forked_inside_a_turn_holds_nothing_and_leaves_the_parents_lock_alone(path: Path) -> None:
    run_child(
        """
with queue.turn(path) as turn:
    def work():
        try:
            turn.check()
        except LockLost:
            pass
        else:
            raise AssertionError("the child believes that it holds the turn")
        try:
            with queue.turn(path, timeout=0):
                raise AssertionError("the child got in beside its parent")
        except LockTimeout as error:
            assert error.owner.pid == os.getppid(), error
        with queue.turn(path + ".other", timeout=0):
            pass
    ended(forked(work))
    turn.check()
    def look():
        try:
            with PerStoreWriterQueue().turn(path, timeout=0):
                raise AssertionError("the lock went away with the child")
        except LockTimeout:
            pass
    ended(forked(look))
with queue.turn(path, timeout=0):
    pass
say("done")
""",
        path,
        "done",
    )


def test_a_child_that_leaves_its_parents_with_block_ends_nothing(path: Path) -> None:
    run_child(
        """
pid = 0
with queue.turn(path):
    pid = os.fork()
    if pid:
        ended(pid)
        probe = os.fork()
        if not probe:
            try:
                with queue.turn(path, timeout=0):
                    os._exit(1)
            except LockTimeout:
                os._exit(0)
        ended(probe)
if pid == 0:
    os._exit(0)
say("done")
""",
        path,
        "done",
    )


def test_a_child_that_leaves_its_parents_with_block_tells_of_no_end(path: Path) -> None:
    run_child(
        """
from storewriter import events

told = []
events.subscribe(lambda event: told.append(type(event).__name__))
with queue.turn(path):
    told.clear()
    pid = os.fork()
if pid == 0:
    os._exit(len(told))
ended(pid)
say(*told)
""",
        path,
        "TurnReleased",
    )


def test_a_transaction_that_a_forked_child_inherits_cannot_be_committed_by_it(path: Path) -> None:
    run_child(
        """
store = Store(path)
store.update(lambda state: state.update(x=0))
child = 0
try:
    with store.transaction() as tx:
        tx.state["x"] = 1
        child = os.fork()
        if child == 0:
            tx.state["x"] = 2
        else:
            ended(child)
            assert store.read() == {"x": 0}, store.read()
except LockLost:
    os._exit(0 if child == 0 else 1)
if child == 0:
    os._exit(2)
assert store.read() == {"x": 1}
say("done")
""",
        path,
        "done",
    )


_FORKING_FUNCTION = """
store = Store(path)
store.update(lambda state: state.update(n=0))
child = None

def fork_and_count(state):
    global child
    if child is None:
        child = os.fork()
    state["n"] += 1
"""


def test_a_child_forked_inside_an_update_function_saves_nothing_when_it_returns(path: Path) -> None:
    """The update is its parent's: in the child it ends with an error, and the document is the parent's alone."""
    run_child(
        _FORKING_FUNCTION
        + """
try:
    store.update(fork_and_count)
except LockLost as error:
    assert child == 0, error
    assert store.path in str(error) and "fork" in str(error), error
    store.update(lambda state: state.update(child=True))  # once the parent is done
    os._exit(0)
if child == 0:
    os._exit(2)
ended(child)
assert store.read() == {"n": 1, "child": True}, store.read()
say("done")
""",
        path,
        "done",
    )


def test_a_child_forked_inside_an_update_function_can_ask_for_other_stores(path: Path) -> None:
    """Its parent's turn is none of its own, hence no turn inside a turn."""
    run_child(
        _FORKING_FUNCTION
        + """
other = Store(path + ".other")

def ask_in_a_child(state):
    fork_and_count(state)
    if child == 0:
        other.update(lambda state: state.update(child=True))
        os._exit(0)

store.update(ask_in_a_child)
ended(child)
assert store.read() == {"n": 1}, store.read()
assert other.read() == {"child": True}
say("done")
""",
        path,
        "done",
    )


def test_waiters_of_the_parent_are_not_in_the_childs_line(path: Path) -> None:
    run_child(
        """
with queue.turn(path):
    def ask():
        with queue.turn(path):
            pass
    thread = threading.Thread(target=ask)
    thread.start()
    while queue.pending(path) < 1:
        time.sleep(0.001)
    def work():
        assert queue.pending(path) == 0
    ended(forked(work))
    assert queue.pending(path) == 1
thread.join()
def work():
    with queue.turn(path, timeout=0):
        pass
ended(forked(work))
say("done")
""",
        path,
        "done",
    )


def test_a_killed_parent_does_not_leave_its_lock_with_its_forked_child(path: Path) -> None:
    """flock(2) belongs to the open file, and the child has a copy of the descriptor: it must have closed it."""
    code = (
        FORKING
        + """
with queue.turn(path):
    pid = os.fork()
    if pid == 0:
        say("child", os.getpid())
        signal.pause()
    hear()
"""
    )
    with child(code, path) as parent:
        orphan = int(parent.hear().removeprefix("child "))
        try:
            parent.kill()
            os.kill(orphan, 0)  # it lives
            with PerStoreWriterQueue().turn(path, timeout=5):
                pass
        finally:
            os.kill(orphan, signal.SIGKILL)


def test_a_child_between_fork_and_exec_does_not_keep_a_lock_that_was_given_back(path: Path) -> None:
    """A process that was started inside a turn has no copy of the lock's descriptor."""
    code = """
import subprocess
with PerStoreWriterQueue().turn(path):
    sleeper = subprocess.Popen(["sleep", "60"])
say(sleeper.pid)
hear()
"""
    with child(code, path) as parent:
        sleeper = int(parent.hear())
        try:
            with PerStoreWriterQueue().turn(path, timeout=0):
                pass
            parent.kill()
            with PerStoreWriterQueue().turn(path, timeout=0):
                pass
        finally:
            os.kill(sleeper, signal.SIGKILL)


def test_multiprocessing_with_fork_loses_no_update(path: Path) -> None:
    run_child(
        """
import multiprocessing
context = multiprocessing.get_context("fork")
store = Store(path, durability="process")
def bump(state):
    state["n"] = state.get("n", 0) + 1
def work():
    for _ in range(20):
        store.update(bump)
store.update(bump)
processes = [context.Process(target=work) for _ in range(4)]
for process in processes: process.start()
for _ in range(20): store.update(bump)
for process in processes:
    process.join()
    assert process.exitcode == 0
assert store.read() == {"n": 101}, store.read()
say("done")
""",
        path,
        "done",
    )
