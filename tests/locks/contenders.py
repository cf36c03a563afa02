"""Real processes that take and lose locks on command: one pipe each, one answer to every order.

A contender runs in a process forked from a clean server (`forkserver`), so it starts in milliseconds and inherits no
threads. It can be told to stop right before its n-th system call, which is how a test puts another contender between
any two steps.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from storewriter import LockLost, PerStoreWriterQueue, Store, events
from storewriter._backends.files import FileBackend
from storewriter._files.keys import sidecar
from storewriter._platform.threads import WaiterReplaced
from storewriter.locks import Flock, InProcess, Lease, Marker, Strategy

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["storewriter.locks.lease", "filelock", "contenders"])


def start_server() -> None:
    """Start the process from which contenders are forked."""
    first = _processes.Process(target=_nothing)
    first.start()
    first.join()
    first.close()


def _nothing() -> None:
    pass


PATIENCE = 30.0
"""Seconds after which an answer that does not come fails the test."""


def strategy(name: str) -> Strategy:
    """`flock`, `marker`, `none`, or `lease:<stale>`."""
    kind, _, stale = name.partition(":")
    if kind == "lease":
        return Lease(stale=float(stale))
    return {"flock": Flock, "marker": Marker, "none": InProcess}[kind]()


class Died(Exception):
    """The contender's process ended instead of answering."""


class Contender:
    """The test's end of one contender."""

    def __init__(self) -> None:
        self._pipe, theirs = _processes.Pipe()
        self._process = _processes.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self.early: Any = None
        """What an order answered that was to be parked and was done before."""
        self.pid: int = self.ask("pid")

    def tell(self, order: str, *args: Any) -> None:
        """Give an order and do not wait for the answer."""
        self._pipe.send((order, args))

    def answer(self, timeout: float = PATIENCE) -> Any:
        """What came of the last order; an error of the contender's is raised here."""
        if not self._pipe.poll(timeout):
            raise AssertionError(f"no answer from contender {self.pid} within {timeout} s")
        try:
            kind, value = self._pipe.recv()
        except (EOFError, ConnectionResetError) as error:
            raise Died from error
        if kind == "error":
            raise value
        return (kind, value) if kind == "note" else value

    def ask(self, order: str, *args: Any) -> Any:
        self.tell(order, *args)
        return self.answer()

    def has_answered(self, within: float = 0.0) -> bool:
        return self._pipe.poll(within)

    def go_on(self) -> None:
        """Let a contender run that has sent a note and waits."""
        self._pipe.send("go on")

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def stop(self) -> None:
        """SIGSTOP, and wait until it has stopped."""
        self.signal(signal.SIGSTOP)
        while _state(self.pid) not in "T":
            os.sched_yield()

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self.wait()

    def wait(self) -> int | None:
        self._process.join(PATIENCE)
        assert self._process.exitcode is not None, f"contender {self.pid} does not end"
        return self._process.exitcode

    def close(self) -> None:
        if self._process.is_alive():
            with contextlib.suppress(ProcessLookupError):
                self.signal(signal.SIGKILL)
        self._process.join(PATIENCE)
        self._process.close()
        self._pipe.close()


def _state(pid: int) -> str:
    text = Path(f"/proc/{pid}/stat").read_text()
    return text[text.rindex(")") + 2]


# -- the contender's end ----------------------------------------------------------------------------------------------


class _Contending:
    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe
        self.holds: dict[str, Any] = {}

    # orders

    def pid(self) -> int:
        return os.getpid()

    def attempt(self, name: str, path: str, label: str | None = None) -> bool:
        """One attempt with a strategy."""
        hold = strategy(name).attempt(path, label)
        if hold is not None:
            self.holds[path] = hold
        return hold is not None

    def wait(self, name: str, path: str) -> bool:
        """Wait until the lock is there, as a queue does: in a thread, which can be replaced."""
        holds: SimpleQueue[Any] = SimpleQueue()
        waiting: Any = strategy(name)

        def go_on() -> None:
            with contextlib.suppress(WaiterReplaced):
                holds.put(waiting.wait(path, None, replace))

        def replace() -> None:
            threading.Thread(target=go_on, daemon=True).start()

        replace()
        self.holds[path] = holds.get()
        return True

    def release(self, path: str) -> None:
        self.holds.pop(path).release()

    def check(self, path: str) -> None:
        self.holds[path].check()

    def lock_plainly(self, path: str) -> None:
        """Lock the sidecar as flock(1) does."""
        fd = os.open(sidecar(path), os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)

    def commit(self, path: str, text: str) -> None:
        """Write the document through the fence, as a store does."""
        hold = self.holds[path]
        backend = FileBackend(path, "process")
        backend.commit(hold, text.encode(), backend.look(), backend.new_commit())

    def age(self, seconds: float) -> None:
        """Believe to have watched the markers for so much longer."""
        from storewriter.locks import _marker_attempt

        for contender in _marker_attempt._contenders.values():
            contender.age._since -= seconds
            seen = contender.lock._marker_seen
            if seen is not None:
                contender.lock._marker_seen = (seen[0], seen[1] - seconds)

    def give_up_the_guard_soon(self) -> None:
        """Let releases wait for the guard only for an instant."""
        from storewriter.locks import _marker_hold

        _marker_hold._RELEASE = 0.01

    def park_before(self, step: int, only: str | None = None) -> None:
        """Stop right before the n-th system call (of one kind) from now on, tell which, and wait for `go_on`."""
        countdown = [step]

        def parking(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
            def parked(*args: Any, **kwargs: Any) -> Any:
                countdown[0] -= only in (None, name)
                if countdown[0] == 0:
                    countdown[0] = -1
                    self.note(name)
                return call(*args, **kwargs)

            return parked

        for module, names in _STEPS:
            for name in names:
                setattr(module, name, parking(f"{module.__name__}.{name}", _REAL[module.__name__, name]))

    def run_freely(self) -> None:
        for module, names in _STEPS:
            for name in names:
                setattr(module, name, _REAL[module.__name__, name])

    def without_kernel_locks(self) -> None:
        """From now on this process is on a file system without kernel locks."""

        def flock(fd: int, operation: int) -> None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

        _REAL["fcntl", "flock"] = flock
        self.run_freely()

    def with_useless_locks(self) -> None:
        """From now on every kernel lock is granted, held or not."""
        _REAL["fcntl", "flock"] = lambda fd, operation: None
        self.run_freely()

    def jump_clock(self, seconds: float) -> None:
        """Set this process's wall clock wrong."""
        real = time.time
        time.time = lambda: real() + seconds

    def tell_waiting(self) -> None:
        """From now on note "waiting" once a turn has been waited for, and wait on."""
        events.subscribe(
            lambda event: self.pipe.send(("note", "waiting")) if isinstance(event, events.TurnWaited) else None
        )

    def count(self, name: str, path: str, times: int, witness: str | None, pause: bool) -> list[int]:
        """Add one to a store, so often; returns the numbers. `pause`: note "inside" in the first turn, and wait."""
        guarding = _Witness(witness)
        store = Store(
            path,
            default=lambda: {"n": 0},
            durability="process",
            queue=PerStoreWriterQueue(lock=strategy(name), timeout=PATIENCE, warn_after=0.2),
        )
        guarding.guard_commits(f"{path}.committing")
        pausing = [pause]

        def add_one(state: dict[str, int]) -> int:
            with guarding.inside():
                state["n"] += 1
                if pausing.pop() if pausing else False:
                    self.note("inside")
                return state["n"]

        return [store.update(add_one) for _ in range(times)]

    def fork_inside(self, name: str, path: str) -> tuple[str, int]:
        """Fork inside a turn: what the child finds, and the child's pid; it lives on until it is killed."""
        queue = PerStoreWriterQueue(lock=strategy(name), timeout=PATIENCE, warn_after=None)
        reading, writing = os.pipe()
        entered = queue.turn(path)
        turn = entered.__enter__()
        self.holds["turn"] = entered
        child = os.fork()
        if child == 0:
            try:
                turn.check()
                found = "still held"
            except LockLost as error:
                found = type(error).__name__
            os.write(writing, found.encode())
            while True:
                signal.pause()
        os.close(writing)
        with os.fdopen(reading) as file:
            # The child keeps its end open: read what one write brought.
            found = os.read(file.fileno(), 100).decode()
        return found, child

    def leave_a_child_with(self, path: str) -> int:
        """Start a program that inherits the open sidecar of a hold; it runs until it is killed."""
        hold = self.holds[path]
        fd = hold.sidecar_lock.fd if hasattr(hold, "sidecar_lock") else hold.fd
        child = subprocess.Popen(["sleep", "600"], pass_fds=[fd], start_new_session=True)
        child.returncode = 0  # it is not waited for
        return child.pid

    def leave(self) -> None:
        self.holds.pop("turn").__exit__(None, None, None)

    def exit_inside(self, name: str, path: str, how: str) -> None:
        """End the process inside a turn, without leaving it."""
        queue = PerStoreWriterQueue(lock=strategy(name), timeout=PATIENCE, warn_after=None)
        entered = queue.turn(path)
        entered.__enter__()
        self.note("inside")
        if how == "at once":
            os._exit(0)
        sys.exit(0)

    def note(self, text: str) -> None:
        """Tell something in the middle of an order, and wait to go on."""
        self.pipe.send(("note", text))
        self.pipe.recv()

    def serve(self) -> None:
        while True:
            order, args = self.pipe.recv()
            try:
                answer = ("answer", getattr(self, order)(*args))
            except Exception as error:  # noqa: BLE001 - it is raised at the other end
                error.add_note(traceback.format_exc())
                answer = ("error", error)
            self.pipe.send(answer)


class _Witness:
    """An exclusive file in the critical section: a contender that finds a living one's has caught an overlap."""

    def __init__(self, path: str | None) -> None:
        self._path = path

    def inside(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self._path is None else _standing(self._path)

    def guard_commits(self, path: str) -> None:
        """Stand witness around every replace as well, from now on."""
        from storewriter._backends import files

        replace = _REAL.setdefault(("storage", "replace"), files.replace)

        def watched(*args: Any, **kwargs: Any) -> Any:
            with _standing(path):
                return replace(*args, **kwargs)

        files.replace = watched


@contextlib.contextmanager
def _standing(path: str) -> Iterator[None]:
    mine = f"{path}.{os.getpid()}"
    Path(mine).write_text(str(os.getpid()))
    try:
        _place(mine, path)
    finally:
        os.unlink(mine)
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):  # the folder was taken away
            os.unlink(path)


def _place(mine: str, path: str) -> None:
    while True:
        try:
            os.link(mine, path)  # exclusive, and never without its content
        except FileExistsError:
            other = int(Path(path).read_text())
            if _is_alive(other):
                raise AssertionError(f"{os.getpid()} is inside together with {other}") from None
            os.unlink(path)
        else:
            return


def _is_alive(pid: int) -> bool:
    """A process that is being ended gives its locks back before it is a zombie: PF_EXITING (proc_pid_stat(5), flags)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] not in "ZX" and not int(fields[6]) & 0x4


_STEPS: list[tuple[Any, tuple[str, ...]]] = [
    (os, ("open", "close", "fstat", "stat", "lstat", "unlink", "rename", "pread", "read", "write", "pwrite", "utime")),
    (fcntl, ("flock", "fcntl")),
]
_REAL: dict[tuple[str, str], Any] = {
    (module.__name__, name): getattr(module, name) for module, names in _STEPS for name in names
}


def _serve(pipe: Connection) -> None:
    with contextlib.suppress(EOFError, BrokenPipeError):
        _Contending(pipe).serve()
