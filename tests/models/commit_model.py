"""The flush outside the lock, on a file system whose journal orders renames: who may be answered what, and when.

Actors     Writers, each a thread of some process: one update each, which changes the document or finds it to say what
           it wants already. The journal, which may commit at any moment, for any program. At most one process is
           killed, and at most one flush fails.
Disk       Files with their content, and the order in which they had the document's name. The content of a file is DIRTY (in memory), SENT (written
           to the device, perhaps to its cache) or STABLE. A commit of the journal first flushes the device, so what
           was SENT is STABLE, and then makes the names durable: `docs/decisions.md` names the functions of the kernel.
Power cut  Is no step: every state is judged as if the power failed there.
Promise    The durable document is whole, and has every update that was answered. Every update that was answered is in
           the document that programs see. No deadlock, whichever process is killed.
Code       The names of the steps are those of `CHANGE`; a test takes their order from a real update.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple, TypeVar

import attrs

DIRTY, SENT, STABLE = range(3)

CHANGE: Final = ("lock", "load", "write", "write_out", "rename", "unlock", "flush", "answer")
"""The steps of an update that changes the document, in the code's order."""

Defect = Literal[
    "no write_out",
    "answer before flush",
    "flush joined too late",
    "load before lock",
    "unlock before rename",
    "nothing changed, not flushed",
    "failed flush answered",
]


class Writer(NamedTuple):
    at: str
    loaded: int = 0
    """The content that was loaded: a set of updates, as bits."""
    file: int = -1
    """The file that it has made, or, of one that has nothing to change, the one it has found."""
    is_sharing: bool = False
    """Whether the flush that is under way in its process began after its rename."""


class Disk(NamedTuple):
    contents: tuple[int, ...]
    """By file: the updates in it, as bits."""
    states: tuple[int, ...]
    """By file: DIRTY, SENT or STABLE."""
    names: tuple[int, ...]
    """The files that have had the document's name, in order; the last one has it now."""
    durable: int
    """The place in `names` that would count after a power cut."""

    @property
    def name(self) -> int:
        return self.names[-1]


class State(NamedTuple):
    writers: tuple[Writer, ...]
    disk: Disk
    locked: int
    """Which writer has the lock; -1: none."""
    flushing: tuple[int, ...]
    """By process: how many renames came before the flush under way, less one; -1: no flush is under way."""
    flushed: tuple[int, ...]
    """By process: which of its writers makes that flush; -1: none."""
    answered: int
    may_kill: bool
    may_fail: bool


@attrs.frozen
class CommitModel:
    """See the module."""

    processes: tuple[int, ...]
    """By writer: its process."""
    idle: frozenset[int] = frozenset()
    """Writers that want what writer 0 wants: with it in the document they change nothing."""
    defect: Defect | None = None
    may_kill: bool = True
    may_fail: bool = True

    def initial(self) -> State:
        count = max(self.processes) + 1
        first = "load" if self.defect == "load before lock" else "lock"
        return State(
            tuple(Writer(first) for _ in self.processes),
            Disk((0,), (STABLE,), (0,), 0),
            -1,
            (-1,) * count,
            (-1,) * count,
            0,
            self.may_kill,
            self.may_fail,
        )

    def may_end(self, state: State) -> bool:
        return all(writer.at in ("end", "dead") for writer in state.writers)

    def violation(self, state: State) -> str | None:
        disk = state.disk
        durable = disk.names[disk.durable]
        if disk.states[durable] != STABLE:
            return "after a power cut the document is not whole"
        if state.answered & ~disk.contents[durable]:
            return "after a power cut an update that was answered is lost"
        if state.answered & ~disk.contents[disk.name]:
            return "an update that was answered is lost"
        return None

    def steps(self, state: State) -> Iterator[tuple[str, State]]:
        for number, writer in enumerate(state.writers):
            yield from self._writer(state, number, writer)
        disk = state.disk
        committed = _journal(disk, len(disk.names) - 1)
        if committed != disk:
            yield "journal", state._replace(disk=committed)
        if state.may_kill:
            for process in sorted(set(self.processes)):
                yield f"kill process {process}", self._killed(state, process)

    def _bit(self, number: int) -> int:
        return 1 if number in self.idle else 1 << number

    def _order(self) -> tuple[str, ...]:
        order = list(CHANGE)
        if self.defect == "no write_out":
            order.remove("write_out")
        if self.defect == "load before lock":
            order[:2] = ["load", "lock"]
        if self.defect == "unlock before rename":
            order[4:6] = ["unlock", "rename"]
        if self.defect == "answer before flush":
            order[-2:] = ["answer", "flush"]
        return tuple(order)

    def _after(self, at: str) -> str:
        order = self._order()
        place = order.index(at) + 1
        return order[place] if place < len(order) else "end"

    def _writer(self, state: State, number: int, writer: Writer) -> Iterator[tuple[str, State]]:
        at, disk = writer.at, state.disk
        name = f"{at} {number}"
        if at == "lock":
            if state.locked < 0:
                yield name, self._moved(state, number, writer)._replace(locked=number)
        elif at == "load":
            yield name, self._loaded(state, number, writer)
        elif at == "write":
            content = writer.loaded | self._bit(number)
            made = disk._replace(contents=(*disk.contents, content), states=(*disk.states, DIRTY))
            yield name, self._moved(state, number, writer._replace(file=len(disk.contents)))._replace(disk=made)
        elif at == "write_out":
            yield name, self._moved(state, number, writer)._replace(disk=_with_state(disk, writer.file, SENT))
        elif at == "rename":
            yield (
                name,
                self._moved(state, number, writer)._replace(disk=disk._replace(names=(*disk.names, writer.file))),
            )
        elif at == "unlock":
            yield name, self._moved(state, number, writer)._replace(locked=-1)
        elif at == "flush":
            yield from self._flush(state, number, writer)
        elif at == "answer":
            answered = state.answered | self._bit(number)
            yield name, self._moved(state, number, writer)._replace(answered=answered)

    def _moved(self, state: State, number: int, writer: Writer) -> State:
        return _with(state, number, writer._replace(at=self._after(writer.at)))

    def _loaded(self, state: State, number: int, writer: Writer) -> State:
        found = state.disk.contents[state.disk.name]
        loaded = writer._replace(loaded=found)
        if number in self.idle and found & self._bit(number):
            is_flushed = self.defect != "nothing changed, not flushed"
            at = "flush" if is_flushed else "answer"
            return _with(state, number, loaded._replace(at=at, file=state.disk.name))._replace(locked=-1)
        return self._moved(state, number, loaded)

    def _flush(self, state: State, number: int, writer: Writer) -> Iterator[tuple[str, State]]:
        """At most one flush is under way in a process. It answers the renames that came before it began."""
        process = self.processes[number]
        if state.flushing[process] < 0:
            sharing = tuple(
                other._replace(is_sharing=other.at == "flush" and self.processes[place] == process)
                if self.processes[place] == process
                else other
                for place, other in enumerate(state.writers)
            )
            yield (
                f"begin flush {number}",
                state._replace(
                    writers=sharing,
                    flushing=_put(state.flushing, process, len(state.disk.names) - 1),
                    flushed=_put(state.flushed, process, number),
                ),
            )
        elif state.flushed[process] == number:
            yield f"end flush {number}", self._flushed(state, process)
            if state.may_fail:
                yield f"fail flush {number}", self._failed(state, process)

    def _flushed(self, state: State, process: int) -> State:
        newest = max(
            writer.file
            for place, writer in enumerate(state.writers)
            if writer.is_sharing and self.processes[place] == process
        )
        disk = _journal(_with_state(state.disk, newest, STABLE), state.flushing[process])
        return self._settled(state, process, "answer")._replace(disk=disk)

    def _failed(self, state: State, process: int) -> State:
        """Those whose documents it held are answered CommitUncertain: the model ends them."""
        outcome = "answer" if self.defect == "failed flush answered" else "end"
        return self._settled(state, process, outcome)._replace(may_fail=False)

    def _settled(self, state: State, process: int, outcome: str) -> State:
        is_joined_late = self.defect == "flush joined too late"
        if self.defect == "answer before flush":
            outcome = "end"
        writers = tuple(
            writer._replace(at=outcome, is_sharing=False)
            if self.processes[place] == process and writer.at == "flush" and (writer.is_sharing or is_joined_late)
            else writer
            for place, writer in enumerate(state.writers)
        )
        return state._replace(
            writers=writers, flushing=_put(state.flushing, process, -1), flushed=_put(state.flushed, process, -1)
        )

    def _killed(self, state: State, process: int) -> State:
        """The kernel closes its descriptors, and so releases its lock."""
        writers = tuple(
            writer._replace(at="dead", is_sharing=False)
            if self.processes[place] == process and writer.at != "end"
            else writer
            for place, writer in enumerate(state.writers)
        )
        is_holder = state.locked >= 0 and self.processes[state.locked] == process
        return state._replace(
            writers=writers,
            locked=-1 if is_holder else state.locked,
            flushing=_put(state.flushing, process, -1),
            flushed=_put(state.flushed, process, -1),
            may_kill=False,
        )


def _with(state: State, number: int, writer: Writer) -> State:
    return state._replace(writers=_put(state.writers, number, writer))


Value = TypeVar("Value")


def _put(values: tuple[Value, ...], place: int, value: Value) -> tuple[Value, ...]:
    return (*values[:place], value, *values[place + 1 :])


def _with_state(disk: Disk, file: int, state: int) -> Disk:
    return disk._replace(states=_put(disk.states, file, max(disk.states[file], state)))


def _journal(disk: Disk, place: int) -> Disk:
    """One commit: the device is flushed, then the renames up to that place in `names`, at least, are durable."""
    states = tuple(STABLE if state == SENT else state for state in disk.states)
    return disk._replace(states=states, durable=max(place, disk.durable))
