"""Real file systems whose power is cut at random instants, while several processes write to them.

    the store          on ext4, xfs or btrfs, on a loop device
    its backing file   is served by a process of our own, as a disk with a volatile cache (`forgetful_disk.py`)

A cut is a copy of that disk between any two of its writes, as it may be when the power comes back: what was flushed,
and any mixture of what was not. Mounting the copy replays the journal.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from updating_child import Plan, document, one_more

from storewriter import Store, StoreCorrupt

SIZES = {"ext4": 64, "xfs": 320, "btrfs": 128}
"""MiB, about the least that each can be made with."""

ROUND = 25
"""So many cuts are made before the writers are stopped and the copies looked at: that bounds the space of the copies.
They are looked at only when the original is unmounted, since xfs and btrfs know their disks by an identifier."""

CHILD = Path(__file__).with_name("updating_child.py")
DISK = Path(__file__).with_name("forgetful_disk.py")


@attrs.frozen
class Cut:
    """A copy of the disk at one instant."""

    image: Path
    acknowledged: dict[str, int]
    """The last update of each process that was known to be acknowledged before that instant."""


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def make(kind: str, image: Path) -> None:
    """Make a file system. `kind`: its name, with options for its mkfs if need be."""
    name, *options = kind.split()
    if shutil.which(f"mkfs.{name}") is None:
        pytest.skip(f"mkfs.{name} is not installed")
    with image.open("wb") as file:
        file.truncate(SIZES[name] << 20)
    run(f"mkfs.{name}", "-q", *options, str(image))


class CannotMount(Exception):
    """What mount(8) says."""


@contextlib.contextmanager
def mounted(image: Path, at: Path, options: str = "") -> Iterator[Path]:
    at.mkdir(exist_ok=True)
    command = ["mount", "-o", f"loop,{options}".rstrip(","), str(image), str(at)]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    if done.returncode:
        raise CannotMount(done.stderr.strip())
    try:
        yield at
    finally:
        run("umount", str(at))


@contextlib.contextmanager
def mounted_if_possible(image: Path, at: Path, options: str = "") -> Iterator[Path]:
    """A file system that was just made: this machine may have no loop devices, or no driver."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(mounted(image, at, options))
        except CannotMount as reason:
            pytest.skip(f"this machine does not mount it: {reason}")
        yield at


@attrs.frozen
class ForgetfulDisk:
    """A new file system on a disk with a volatile cache."""

    at: Path
    """The file that is the disk."""
    server: subprocess.Popen[bytes]

    def cut(self, target: Path) -> None:
        """Cut its power, and make a file of what is left."""
        self._ask(f"cut {target} {random.randrange(1 << 30)}")

    def fail(self, what: str) -> None:
        """Answer with EIO from now on: `flushes`, or `writes` and flushes."""
        self._ask(f"fail {what}")

    def _ask(self, command: str) -> None:
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write(f"{command}\n".encode())
        self.server.stdin.flush()
        assert self.server.stdout.readline() == b"done\n"


@contextlib.contextmanager
def forgetful_disk(kind: str, folder: Path) -> Iterator[ForgetfulDisk]:
    """A new file system on such a disk."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("there is no /dev/fuse")
    stable, current, at = folder / "stable.img", folder / "current.img", folder / "disk"
    make(kind, stable)
    run("cp", "--sparse=always", str(stable), str(current))
    at.touch()
    command = [sys.executable, str(DISK), str(at), str(stable), str(current)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"mounted\n"
        try:
            yield ForgetfulDisk(at, server)
        finally:
            # Lazily: the kernel may give the loop device on it back a moment after the file system there was unmounted.
            # The server ends, and is waited for, when nothing uses the disk any more.
            run("umount", "--lazy", str(at))


class Writers:
    """Processes that update one document until they are killed."""

    def __init__(self, path: Path, count: int, plan: Plan) -> None:
        self.acknowledged = {f"w{number}": 0 for number in range(count)}
        self._processes = {name: self._start(path, name, plan) for name in self.acknowledged}
        self._poll = select.poll()
        self._names: dict[int, str] = {}
        for name, process in self._processes.items():
            assert process.stdout is not None
            fd = process.stdout.fileno()
            os.set_blocking(fd, False)
            self._poll.register(fd, select.POLLIN)
            self._names[fd] = name

    @staticmethod
    def _start(path: Path, name: str, plan: Plan) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, str(CHILD), str(path), name, plan.written()], stdout=subprocess.PIPE)

    def total(self) -> int:
        return sum(self.acknowledged.values())

    def listen(self, timeout: float) -> None:
        """Take up what they have acknowledged; wait so many seconds until there is anything."""
        for fd, _ in self._poll.poll(timeout * 1000):
            lines = os.read(fd, 1 << 20).split()
            assert lines, f"{self._names[fd]} has ended by itself"
            self.acknowledged[self._names[fd]] = int(lines[-1])

    def stop(self) -> None:
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.communicate()


@contextlib.contextmanager
def writers(path: Path, count: int, plan: Plan) -> Iterator[Writers]:
    made = Writers(path, count, plan)
    try:
        yield made
    finally:
        made.stop()


def cuts_of_a_round(
    cut: Callable[[Path], None], folder: Path, path: Path, count: int, plan: Plan, dice: random.Random, cuts: int
) -> list[Cut]:
    found: list[Cut] = []
    with writers(path, count, plan) as busy:
        while 0 in busy.acknowledged.values():  # all of them are at it
            busy.listen(60)
        for number in range(cuts):
            enough = busy.total() + dice.randrange(1, 30)
            while busy.total() < enough:
                busy.listen(60)
            time.sleep(dice.uniform(0, 0.003))  # at any point of a commit, and not only right after one
            busy.listen(0)
            acknowledged = dict(busy.acknowledged)
            found.append(Cut(folder / f"cut-{number}.img", acknowledged))
            cut(found[-1].image)
    return found


def what_is_wrong(cut: Cut, at: Path, plan: Plan, kind: str) -> str | None:
    """What the replayed file system lacks of what was promised; None: nothing.

    The original was unmounted lazily, and xfs refuses a second disk with its identifier as long as it is in use.
    """
    try:
        with mounted(cut.image, at, "nouuid" if kind.startswith("xfs") else ""):
            return what_is_wrong_with_the_store(at, cut.acknowledged, plan)
    except CannotMount as reason:
        return f"the file system cannot be mounted: {reason}"
    except StoreCorrupt as error:
        return f"not whole: {error}"
    except OSError as error:
        return f"the file system is damaged: {error}"


def what_is_wrong_with_the_store(folder: Path, acknowledged: dict[str, int], plan: Plan) -> str | None:
    store = Store[Any](folder / "state.json", **plan.options)
    state = store.read()
    numbers = state.get("numbers", {})
    if state != document(numbers, plan.scale):
        return f"a mixture: {str(state)[:200]}"
    lost = {
        name: (number, numbers.get(name, 0)) for name, number in acknowledged.items() if numbers.get(name, 0) < number
    }
    if lost:
        return f"lost (acknowledged, found): {lost}"
    store.update(lambda state: one_more(state, "next", plan.scale))
    if store.read() != document({**numbers, "next": 1}, plan.scale):
        return "the next update did something else"
    return f"litter: {litter}" if (litter := list(folder.glob(".*.tmp"))) else None


def power_cuts(kind: str, plan: Plan, cuts: int, folder: Path, count: int = 4) -> Generator[str | None, None, None]:
    """Cut the power so often, and tell for each cut what is wrong after it.

    In the beginning there is a document, durable. The caller may stop early.
    """
    seed = random.randrange(1 << 30)
    print("seed", seed)
    dice = random.Random(seed)
    for start in range(0, cuts, ROUND):
        with (
            forgetful_disk(kind, folder) as disk,
            mounted_if_possible(disk.at, folder / "inner", plan.mount) as inner,
        ):
            path = inner / "state.json"
            Store[Any](path).update(lambda state: one_more(state, "first", plan.scale))
            found = cuts_of_a_round(disk.cut, folder, path, count, plan, dice, min(ROUND, cuts - start))
        for made in found:
            yield what_is_wrong(made, folder / "cut", plan, kind)
            made.image.unlink()
