"""Markers and leases: how a stale one is taken over, and what its late owner can still do.

Actors     Contenders, each a process that wants one turn, in which it loads the document, adds its update and commits.
           A process may be killed; a process may be paused, so that its heartbeat stops, and go on later.
Marker     The file that names its owner. It is stale if its owner is dead, or (for a lease) if its owner has shown no
           sign of life for a term: `is_fresh` is false then. Time is a step of its own, which ages the marker of an
           owner that is paused, or whose heartbeat is late.
Sidecar    A kernel lock on the lock file for the whole turn: held alone by a marker, shared by leases.
Guard      A kernel lock under which leases are put down, taken over, committed and released.
Promise    No commit overwrites an update that was committed before it and that it has not seen; no release removes a
           successor's marker; no deadlock, whichever process is killed.
Code       The names of the steps are those of the functions that make them; a test takes their order from the code.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple, TypeVar

import attrs

Defect = Literal["commit without guard", "no look under guard", "release without guard", "no sidecar lock", "no check"]

LEASE: Final = (
    "look",
    "lock_sidecar",
    "take_guard",
    "look_again",
    "remove",
    "put_down",
    "leave_guard",
    "load",
    "fence",
    "refresh",
    "check",
    "rename",
    "leave_fence",
    "guard_release",
    "look_at_own",
    "remove_own",
    "end_release",
)
"""The steps of a turn with one commit under a lease. `remove` is left out where there is no marker."""

MARKER: Final = tuple(
    step
    for step in LEASE
    if step not in ("take_guard", "leave_guard", "fence", "refresh", "leave_fence", "guard_release")
)


class Contender(NamedTuple):
    at: str
    loaded: int = 0
    sees_stale: bool = False
    """What its first look has shown."""
    is_checked: bool = False
    """Whether its last look found its own marker at the path."""
    is_paused: bool = False


class State(NamedTuple):
    contenders: tuple[Contender, ...]
    marker: int
    """Whose marker is there; -1: none."""
    is_fresh: bool
    sidecar: frozenset[int]
    guard: int
    """Who has the guard; -1: no process."""
    document: int
    """The updates in it, as bits."""
    committed: int
    """The updates that some commit has put into it."""
    wrong: str | None
    may_kill: bool
    may_pause: bool


Value = TypeVar("Value")


@attrs.frozen
class LeaseModel:
    """See the module."""

    count: int = 2
    is_lease: bool = True
    defect: Defect | None = None

    def initial(self) -> State:
        return State(
            (Contender(self._order()[0]),) * self.count, -1, False, frozenset(), -1, 0, 0, None, True, self.is_lease
        )

    def violation(self, state: State) -> str | None:
        return state.wrong

    def may_end(self, state: State) -> bool:
        return all(one.at in ("end", "dead") for one in state.contenders)

    def steps(self, state: State) -> Iterator[tuple[str, State]]:
        for number, one in enumerate(state.contenders):
            if one.is_paused:
                yield f"go on {number}", _with(state, number, one._replace(is_paused=False))
                continue
            if one.at not in ("end", "dead"):
                yield from self._contender(state, number, one)
                if state.may_pause:
                    yield (
                        f"pause {number}",
                        _with(state, number, one._replace(is_paused=True))._replace(may_pause=False),
                    )
                if state.may_kill:
                    yield f"kill {number}", self._killed(state, number)
        if self.is_lease and state.is_fresh and self._may_age(state):
            yield "term", state._replace(is_fresh=False)

    def _may_age(self, state: State) -> bool:
        """The heartbeat of a process that runs keeps its marker fresh."""
        owner = state.contenders[state.marker] if state.marker >= 0 else None
        return owner is None or owner.is_paused or owner.at == "dead"

    def _order(self) -> tuple[str, ...]:
        order = list(LEASE if self.is_lease else MARKER)
        left_out = {
            "commit without guard": ("fence", "leave_fence", "refresh"),
            "release without guard": ("guard_release",),
            "no sidecar lock": ("lock_sidecar",),
        }.get(self.defect or "", ())
        return tuple(step for step in order if step not in left_out)

    def _next(self, one: Contender) -> Contender:
        order = self._order()
        place = order.index(one.at) + 1
        return one._replace(at=order[place] if place < len(order) else "end")

    def _is_stale(self, state: State) -> bool:
        """Of the marker that is there. A dead owner is proven by its process; a live one only by a lease's term."""
        if state.marker < 0:
            return False
        owner = state.contenders[state.marker]
        return owner.at == "dead" or (self.is_lease and not state.is_fresh)

    def _contender(self, state: State, number: int, one: Contender) -> Iterator[tuple[str, State]]:
        at, name = one.at, f"{one.at} {number}"
        moved = _with(state, number, self._next(one))
        again = _with(self._given_up(state, number), number, Contender(self._order()[0]))
        if at == "look":
            if state.marker < 0 or self._is_stale(state):
                is_stale = state.marker >= 0
                yield name, _with(state, number, self._next(one)._replace(sees_stale=is_stale))
        elif at == "lock_sidecar":
            if self.is_lease or not state.sidecar:
                yield name, moved._replace(sidecar=state.sidecar | {number})
            else:
                yield f"busy {number}", again
        elif at in ("take_guard", "fence", "guard_release"):
            if state.guard < 0:
                yield name, moved._replace(guard=number)
            elif at == "take_guard":
                yield f"busy {number}", again
        elif at == "look_again":
            is_stale = one.sees_stale if self.defect == "no look under guard" else self._is_stale(state)
            if state.marker < 0:
                yield name, _with(state, number, one._replace(at="put_down"))
            elif is_stale:
                yield name, moved
            else:
                yield f"busy {number}", again
        elif at == "remove":
            yield name, moved._replace(marker=-1, wrong=self._wrong_to_remove(state))
        elif at == "put_down":
            if state.marker < 0:
                yield name, moved._replace(marker=number, is_fresh=True)
            else:
                yield f"busy {number}", again
        elif at in ("leave_guard", "leave_fence"):
            yield name, moved._replace(guard=-1)
        elif at == "load":
            yield name, _with(state, number, self._next(one)._replace(loaded=state.document))
        elif at == "refresh":
            is_ours = state.marker == number
            yield name, moved._replace(is_fresh=True if is_ours else state.is_fresh)
        elif at == "check":
            if state.marker == number or self.defect == "no check":
                yield name, moved
            else:  # LockLost: nothing is written
                yield f"lost {number}", _with(self._given_up(state, number), number, Contender("end"))
        elif at == "rename":
            yield name, self._renamed(state, number, one)
        elif at == "look_at_own":
            is_ours = state.marker == number
            yield name, _with(state, number, self._next(one)._replace(is_checked=is_ours))
        elif at == "remove_own":
            yield name, self._removed(state, number, one)
        elif at == "end_release":
            yield name, _with(self._given_up(state, number), number, self._next(one))

    def _wrong_to_remove(self, state: State) -> str | None:
        """Whatever is at the path is removed, not what was looked at: no call compares and removes."""
        if state.marker < 0 or self._is_stale(state):
            return None
        return "the marker of an owner that is alive was taken away"

    def _renamed(self, state: State, number: int, one: Contender) -> State:
        document = one.loaded | 1 << number
        wrong = "a commit has overwritten one that it had not seen" if state.committed & ~document else None
        moved = _with(state, number, self._next(one))
        return moved._replace(document=document, committed=state.committed | 1 << number, wrong=wrong)

    def _removed(self, state: State, number: int, one: Contender) -> State:
        moved = _with(state, number, self._next(one))
        if not one.is_checked or state.marker < 0:
            return moved
        wrong = None if state.marker == number else "a release has removed its successor's marker"
        return moved._replace(marker=-1, wrong=wrong)

    def _given_up(self, state: State, number: int) -> State:
        """Its locks are released. Its marker stays: it has removed it, or never put one down."""
        guard = -1 if state.guard == number else state.guard
        return state._replace(sidecar=state.sidecar - {number}, guard=guard)

    def _killed(self, state: State, number: int) -> State:
        """The kernel releases its locks; its marker stays."""
        dead = _with(self._given_up(state, number), number, Contender("dead"))
        return dead._replace(may_kill=False)


def _with(state: State, number: int, one: Contender) -> State:
    before = state.contenders
    return state._replace(contenders=(*before[:number], one, *before[number + 1 :]))
