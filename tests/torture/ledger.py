"""What was asked and answered, kept outside of the store: one text line an event, one file a process.

A line is written with one write(2) before an update is asked for, and after it was answered, so that it survives the
death of the process at any instruction.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs


class Ledger:
    """The file of one process."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def close(self) -> None:
        """In the process that has started the one it is for."""
        os.close(self._fd)

    def note(self, kind: str, *words: object) -> None:
        """Append a line: its kind, the time (CLOCK_MONOTONIC, the same for all processes), and what belongs to it."""
        line = "\t".join([kind, str(time.monotonic_ns()), *(str(word).replace("\n", " ") for word in words)])
        os.write(self._fd, f"{line}\n".encode())


@attrs.define
class Operation:
    """One update, as its caller saw it."""

    writer: str
    number: int
    called: int
    outcome: str = "open"
    """`answered`; `refused`: it was not applied, says an error; `uncertain`, says an error; `open`: its process died."""
    returned: int | None = None
    result: str = ""


@attrs.define
class Record:
    """What all processes of a round have noted."""

    operations: list[Operation] = attrs.field(factory=list[Operation])
    wrong: list[str] = attrs.field(factory=list[str])
    points: list[str] = attrs.field(factory=list[str])
    """The fault points at which a process was killed or stopped."""
    reads: int = 0

    def answered(self) -> list[Operation]:
        """The updates that were acknowledged."""
        return [operation for operation in self.operations if operation.outcome == "answered"]

    def by_writer(self) -> dict[str, list[Operation]]:
        """Operations of each writer, in its order."""
        found: dict[str, list[Operation]] = {}
        for operation in self.operations:
            found.setdefault(operation.writer, []).append(operation)
        return found


_OUTCOMES = {"a": "answered", "r": "refused", "u": "uncertain"}


def read(files: Iterable[Path]) -> Record:
    """Everything that was noted. A last line that was cut short cannot be: each is one write(2)."""
    record = Record()
    for file in files:
        open_operations: dict[tuple[str, str], Operation] = {}
        for kind, when, *words in _lines(file):
            if kind == "i":
                operation = Operation(words[0], int(words[1]), int(when))
                open_operations[words[0], words[1]] = operation
                record.operations.append(operation)
            elif kind in _OUTCOMES:
                operation = open_operations.pop((words[0], words[1]))
                operation.outcome, operation.returned = _OUTCOMES[kind], int(when)
                operation.result = words[2] if len(words) > 2 else ""
            elif kind == "w":
                record.wrong.append(words[0])
            elif kind == "p":
                record.points.append(words[0])
            elif kind == "n":
                record.reads += int(words[0])
    return record


def _lines(file: Path) -> Iterator[list[str]]:
    for line in file.read_text().splitlines():
        yield line.split("\t")
