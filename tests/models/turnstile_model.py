"""The turnstile of `flock`: a waiter takes the gate, then the lock, then leaves the gate.

Actors     Processes that want one turn after another. One of them may be stopped (SIGSTOP) and go on later, or never; one
           may be killed.
Gate       A byte lock of the kernel, granted in the order of the requests. A process that sleeps in front of it can be
           woken only by getting it. A process that finds the gate stalled (`bypass`: its thread sleeps there, while the
           lock is free or changes owner) goes past it to the lock.
Lock       flock(2): a process that is stopped while it waits does not get it.
Keeping    A holder that has another turn waiting inside its process passes the lock on without a release, `_KEEP`
           times at most, and only while no waiter of another process has the gate.
Promise    One holder. No deadlock among the processes that run, wherever another one is stopped or killed. A waiter in
           front of the gate, or with it, is overtaken a bounded number of times while no process is stopped.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

import attrs

Defect = Literal["no bypass", "gate not tested", "gate left before the lock", "kept without a look"]

_KEEP: Final = 2
"""Passes inside a process in a row: stands for the code's bound in time."""


class Process(NamedTuple):
    at: str = "attempt"
    """attempt, gate (sleeps in front of it), lock (waits for the lock), leave, turn, or dead."""
    has_gate: bool = False
    is_past: bool = False
    """Whether it has gone past a stalled gate, in which its old place still sleeps."""
    is_stopped: bool = False
    passes: int = 0
    overtaken: int = 0
    """Turns of other processes since it came to the gate."""


class State(NamedTuple):
    processes: tuple[Process, ...]
    holder: int
    gate: tuple[int, ...]
    """Who has the gate, and who sleeps in front of it, in order."""
    may_stop: bool
    may_kill: bool
    was_stopped: bool


@attrs.frozen
class TurnstileModel:
    """See the module."""

    count: int = 3
    bound: int | None = None
    """How often a waiter may be overtaken; None: that is not looked at."""
    may_stop: bool = True
    may_kill: bool = True
    defect: Defect | None = None

    def initial(self) -> State:
        return State((Process(),) * self.count, -1, (), self.may_stop, self.may_kill, False)

    def may_end(self, state: State) -> bool:
        return False  # turns are wanted for ever: a state without a step is a deadlock

    def violation(self, state: State) -> str | None:
        if sum(process.at in ("turn", "leave") for process in state.processes) > 1:
            return "two holders"
        if self.bound is not None and not state.was_stopped:
            worst = max(process.overtaken for process in state.processes)
            if worst > self.bound:
                return f"a waiter was overtaken {worst} times"
        running = [p for p in state.processes if not p.is_stopped and p.at != "dead"]
        holder = state.processes[state.holder] if state.holder >= 0 else None
        if running and not (holder is not None and holder.is_stopped) and not any(True for _ in self._run(state)):
            return "the processes that run can go no further"
        return None

    def steps(self, state: State) -> Iterator[tuple[str, State]]:
        yield from self._run(state)
        for number, process in enumerate(state.processes):
            if process.is_stopped:
                yield f"continue {number}", _with(state, number, process._replace(is_stopped=False))
            elif process.at != "dead":
                if state.may_stop:
                    stopped = _with(state, number, process._replace(is_stopped=True))
                    yield f"stop {number}", stopped._replace(may_stop=False, was_stopped=True)
                if state.may_kill:
                    yield f"kill {number}", _killed(state, number)

    def _run(self, state: State) -> Iterator[tuple[str, State]]:
        for number, process in enumerate(state.processes):
            if not process.is_stopped and process.at != "dead":
                yield from self._step(state, number, process)

    def _step(self, state: State, number: int, process: Process) -> Iterator[tuple[str, State]]:
        if process.at == "attempt":
            is_kept_out = bool(state.gate) and not process.is_past and self.defect != "gate not tested"
            if state.holder < 0 and not is_kept_out:
                yield f"attempt {number}", self._taken(state, number, process._replace(at="turn"))
            else:
                at = "lock" if process.is_past or not state.gate else "gate"
                gate = state.gate if process.is_past else (*state.gate, number)
                waiting = process._replace(at=at, has_gate=at == "lock" and not process.is_past)
                yield f"queue {number}", _with(state, number, waiting)._replace(gate=gate)
        elif process.at == "gate":
            if state.gate[0] == number:
                yield f"gate {number}", _with(state, number, process._replace(at="lock", has_gate=True))
            elif self._is_stalled(state):
                past = process._replace(at="lock", is_past=True)
                gate = tuple(other for other in state.gate if other != number)
                yield f"bypass {number}", _with(state, number, past)._replace(gate=gate)
        elif process.at == "lock":
            if state.holder < 0:
                yield f"lock {number}", self._taken(state, number, process._replace(at="leave"))
            elif self.defect == "gate left before the lock" and process.has_gate:
                left = _with(state, number, process._replace(has_gate=False))
                yield f"leave {number}", left._replace(gate=state.gate[1:])
        elif process.at == "leave":
            gate = tuple(other for other in state.gate if other != number)
            yield (
                f"leave {number}",
                _with(state, number, process._replace(at="turn", has_gate=False))._replace(gate=gate),
            )
        else:
            yield from self._turn(state, number, process)

    def _is_stalled(self, state: State) -> bool:
        """The process that has the gate is stopped, and does not take a lock that is free."""
        first = state.processes[state.gate[0]]
        return first.is_stopped and state.holder < 0 and self.defect != "no bypass"

    def _turn(self, state: State, number: int, process: Process) -> Iterator[tuple[str, State]]:
        has_waiter = bool(state.gate) and self.defect != "kept without a look"
        if process.passes < _KEEP and not has_waiter:
            kept = process._replace(passes=process.passes + 1)
            yield f"pass {number}", self._overtaking(_with(state, number, kept), number)
        done = Process(is_past=process.is_past and bool(state.gate))
        yield f"release {number}", _with(state, number, done)._replace(holder=-1)

    def _taken(self, state: State, number: int, process: Process) -> State:
        taken = _with(state, number, process._replace(overtaken=0, passes=0))
        return self._overtaking(taken, number)._replace(holder=number)

    def _overtaking(self, state: State, number: int) -> State:
        """A turn begins: every waiter of another process that has come to the gate is overtaken once."""
        if self.bound is None:
            return state
        processes = tuple(
            process._replace(overtaken=process.overtaken + 1)
            if place != number and process.at in ("gate", "lock")
            else process
            for place, process in enumerate(state.processes)
        )
        return state._replace(processes=processes)


def _killed(state: State, number: int) -> State:
    """The kernel releases its locks, and grants the gate to the next in line."""
    dead = _with(state, number, Process("dead"))
    holder = -1 if state.holder == number else state.holder
    return dead._replace(holder=holder, gate=tuple(g for g in state.gate if g != number), may_kill=False)


def _with(state: State, number: int, process: Process) -> State:
    before = state.processes
    return state._replace(processes=(*before[:number], process, *before[number + 1 :]))
