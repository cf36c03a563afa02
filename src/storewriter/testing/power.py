"""What a power cut may leave behind, worked out from the system calls that a program made.

The rules are those that POSIX promises, and no more (Pillai et al., "All File Systems Are Not Created Equal", OSDI
2014): whatever was not flushed may be lost, and may become durable in any order and any combination. Data is lost by
blocks; a file may have grown before its new blocks are there, and shows zeros then. fsync on a file makes its content
durable, but not its name; fsync on a folder makes the names in it durable. A rename is atomic.
"""

from __future__ import annotations

import functools
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from storewriter._platform.system import SYSTEM
from storewriter.testing.calls import Call

BLOCK = 32
"""Bytes of a block. Small, so that small documents have several."""

ACKNOWLEDGED = Call("acknowledged", ())
"""Put among the recorded calls where a program was told that its update is durable."""

Recorded = list[tuple[Call, Any]]


@attrs.frozen
class Effect:
    """One thing that is durable as a whole or not at all."""

    kind: str
    """`size` and `block` change a file; `name`, `move`, `swap`, `gone` and `folder` change a folder."""
    target: Any
    value: Any = None
    offset: int = 0


@functools.cache
def _above(name: str) -> frozenset[str]:
    return frozenset(map(str, Path(name).parents))


@attrs.define
class Disk:
    """Files by number, their names, and folders."""

    files: dict[int, bytes]
    names: dict[str, int]
    folders: set[str]

    def copy(self) -> Disk:
        """Return a copy that shares nothing."""
        return Disk(dict(self.files), dict(self.names), set(self.folders))

    def apply(self, effect: Effect) -> None:
        """Have an effect happen."""
        getattr(self, f"_{effect.kind}")(effect)

    def _size(self, effect: Effect) -> None:
        content = self.files.get(effect.target, b"")
        self.files[effect.target] = content[: effect.value].ljust(effect.value, b"\0")

    def _block(self, effect: Effect) -> None:
        content = self.files.get(effect.target, b"").ljust(effect.offset, b"\0")
        end = effect.offset + len(effect.value)
        self.files[effect.target] = content[: effect.offset] + effect.value + content[end:]

    def _name(self, effect: Effect) -> None:
        self.names[effect.target] = effect.value

    def _move(self, effect: Effect) -> None:
        source, number = effect.value
        if self.names.get(source) == number:
            del self.names[source]
        self.names[effect.target] = number

    def _swap(self, effect: Effect) -> None:
        self.names.update(effect.value)

    def _gone(self, effect: Effect) -> None:
        self.names.pop(effect.target, None)

    def _folder(self, effect: Effect) -> None:
        self.folders.add(effect.target)

    def reachable(self) -> dict[str, int]:
        """Names whose every folder exists."""
        return {name: number for name, number in self.names.items() if self.folders.issuperset(_above(name))}

    def fingerprint(self) -> frozenset[tuple[str, int, bytes]]:
        """Equal for disks on which programs find the same."""
        return frozenset((name, n, self.files.get(n, b"")) for name, n in self.reachable().items())

    def write_out(self, root: Path) -> None:
        """Make real files of it, below `root`. Journals name their document's file, which is another one here."""
        made: dict[int, Path] = {}
        for name, number in sorted(self.reachable().items(), key=lambda item: item[0].endswith(".journal")):
            path = root / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            if number in made:
                os.link(made[number], path)
                continue
            content = self.files.get(number, b"")
            for old, file in made.items():
                here = b"unfinished %d:%d " % (file.stat().st_ino, SYSTEM.born(str(file)) or 0)
                content = re.sub(rb"unfinished %d:\d+ " % old, here, content)
            path.write_bytes(content)
            made[number] = path


@attrs.frozen
class PowerCut:
    """One state in which a power cut may leave the disk."""

    disk: Disk
    """What is on it then."""
    after: int
    """How many recorded calls had been made."""
    acknowledged: int
    """How many updates had been acknowledged."""


def disk_of(folder: Path) -> Disk:
    """The disk as it is now below `folder`, all of it durable."""
    disk = Disk({}, {}, {str(folder), *map(str, folder.parents)})
    for place, _, names in os.walk(folder):
        disk.folders.add(place)
        for name in names:
            path = Path(place, name)
            number = path.stat().st_ino
            disk.files[number] = path.read_bytes()
            disk.names[str(path)] = number
    return disk


def power_cuts(start: Disk, recorded: Recorded) -> Iterator[PowerCut]:
    """Yield every state that a power cut at any moment may leave, each only once per number of acknowledgements.

    `start` is the disk before the calls, `recorded` the calls with what they returned (`Recorder.done`).
    """
    machine = _Machine(start)
    seen: set[tuple[int, frozenset[tuple[str, int, bytes]]]] = set()
    for after in range(len(recorded) + 1):
        if after:
            machine.make(*recorded[after - 1])
        for chosen in _subsets(machine.pending):
            disk = machine.durable.copy()
            for effect in chosen:
                disk.apply(effect)
            mark = (machine.acknowledged, disk.fingerprint())
            if mark not in seen:
                seen.add(mark)
                yield PowerCut(disk, after, machine.acknowledged)


def final_state(start: Disk, recorded: Recorded) -> Disk:
    """The state without any power cut: what the programs see."""
    machine = _Machine(start)
    for call, result in recorded:
        machine.make(call, result)
    return machine.seen


def _subsets(effects: list[Effect]) -> Iterator[tuple[Effect, ...]]:
    for size in range(len(effects) + 1):
        yield from itertools.combinations(effects, size)


class _Machine:
    """Follows the calls: what programs see, what is durable, and what is neither lost nor durable yet."""

    def __init__(self, start: Disk) -> None:
        self.seen = start.copy()
        self.durable = start.copy()
        self.pending: list[Effect] = []
        self.acknowledged = 0
        self._open: dict[int, str | int] = {}
        """What a descriptor leads to: a folder's path, or a file's number."""
        self._at: dict[int, int] = {}
        self._numbers = itertools.count(-1, -1)  # real ones are used again after a file is gone

    def make(self, call: Call, result: Any) -> None:
        if isinstance(result, BaseException):
            return
        step = getattr(self, f"_on_{call.name}", None)
        if step is not None:
            step(result, *call.arguments)

    def _add(self, *effects: Effect) -> None:
        for effect in effects:
            self.seen.apply(effect)
            self.pending.append(effect)

    def _settle(self, of: Any) -> None:
        """What concerns one file, or one folder, has become durable."""
        for effect in [effect for effect in self.pending if _concerns(effect, of)]:
            self.durable.apply(effect)
            self.pending.remove(effect)

    def _on_acknowledged(self, result: Any) -> None:
        self.acknowledged += 1

    def _on_open(self, fd: int, path: str, flags: int, mode: int = 0) -> None:
        if flags & os.O_DIRECTORY:
            self._open[fd] = path
            return
        if path not in self.seen.names:
            number = next(self._numbers)
            self.seen.files[number] = self.durable.files[number] = b""
            self._add(Effect("name", path, number))
        self._open[fd] = self.seen.names[path]
        self._at[fd] = 0

    def _on_close(self, result: Any, fd: int) -> None:
        del self._open[fd]

    def _on_write(self, written: int, fd: int, data: bytes | memoryview) -> None:
        number, start = self._open[fd], self._at[fd]
        assert isinstance(number, int)
        content = bytes(data[:written])
        self._at[fd] = start + written
        if start + written > len(self.seen.files[number]):
            self._add(Effect("size", number, start + written))
        for offset in range(0, written, BLOCK):
            self._add(Effect("block", number, content[offset : offset + BLOCK], start + offset))

    def _on_truncate(self, result: Any, fd: int, size: int) -> None:
        number = self._open[fd]
        assert isinstance(number, int)
        if size != len(self.seen.files[number]):
            self._add(Effect("size", number, size))

    def _on_flush(self, result: Any, fd: int) -> None:
        self._settle(self._open[fd])

    def _on_flush_folder(self, result: Any, fd: int) -> None:
        self._settle(self._open[fd])

    def _on_rename(self, result: Any, source: str, target: str) -> None:
        self._add(Effect("move", target, (source, self.seen.names[source])))

    def _on_exchange(self, done: bool, source: str, target: str) -> None:
        if done:
            names = self.seen.names
            self._add(Effect("swap", source, {source: names[target], target: names[source]}))

    def _on_unlink(self, result: Any, path: str) -> None:
        self._add(Effect("gone", path))

    def _on_link(self, result: Any, source: str, target: str) -> None:
        self._add(Effect("name", target, self.seen.names[source]))

    def _on_mkdir(self, result: Any, path: str, mode: int) -> None:
        self._add(Effect("folder", path))


def _concerns(effect: Effect, of: Any) -> bool:
    if effect.kind in ("size", "block"):
        return bool(effect.target == of)
    return bool(os.path.dirname(effect.target) == of)
