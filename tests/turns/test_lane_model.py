"""The line of writers against a plain deque: hypothesis plays callers that come, leave, are admitted and pass on."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from helpers.waiting import PATIENCE, until
from storewriter import Backoff
from storewriter._turns import ending, entering, line, waiting_thread
from storewriter._turns.line import ANSWERED, BATCHED, HOLDING, LEFT, Ticket, new_ticket

KEY = "/a/store/that/never/exists"
SETTINGS = line.Settings(Backoff(), max_pending=None, warn_after=None)


class Door:
    """A lock under the control of the test: open (free) or shut, with or without another process waiting there."""

    key = KEY

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.is_open = True
        self.others_wait = False
        self.out = 0
        self.most_out = 0

    def set_open(self, is_open: bool) -> None:
        with self.changed:
            self.is_open = is_open
            self.changed.notify_all()

    def attempt(self, label: str | None) -> Hold | None:
        with self.changed:
            return self._hand_out() if self.is_open else None

    def wait(self, label: str | None, *_: Any) -> Hold | None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.is_open, PATIENCE)
            return self._hand_out()

    def _hand_out(self) -> Hold:
        self.out += 1
        self.most_out = max(self.most_out, self.out)
        return Hold(self)


class Hold:
    def __init__(self, door: Door) -> None:
        self.door: Door | None = door

    def may_pass(self) -> bool:
        assert self.door is not None, "asked after the release"
        return not self.door.others_wait

    def release(self) -> None:
        assert self.door is not None, "released twice"
        with self.door.changed:
            self.door.out -= 1
        self.door = None


class Sleeper:
    """Says whether it was woken."""

    def __init__(self) -> None:
        self.woken = threading.Event()

    def wake(self) -> bool:
        self.woken.set()
        return True

    def is_leaving(self) -> bool:
        return False


class Caller(Ticket):
    """A ticket with a name."""

    def __init__(self, name: int, batch_key: str | None, is_late: bool) -> None:
        fresh = new_ticket(SETTINGS, None, None)
        for field in Ticket.__slots__:
            if field != "lane":  # set when it joins
                setattr(self, field, getattr(fresh, field))
        self.name = name
        self.deadline = 0.0 if is_late else None
        self.batch_key = batch_key

    def new_waiter(self) -> Any:
        return Sleeper()

    def __repr__(self) -> str:
        return f"<{self.name} {self.state.name}>"


class OpenBatch:
    """What the lanes know of a batch."""

    last: Any = None
    is_member = True

    def add(self, ticket: Any) -> None:
        self.last = ticket

    def answers(self, ticket: Any) -> bool:
        return self.is_member


class LineOfWriters(RuleBasedStateMachine):
    """`line` is what should be in line; its first has the turn, or waits for the door."""

    def __init__(self) -> None:
        super().__init__()
        self.door = Door()
        self.line: deque[Caller] = deque()
        self.batch = OpenBatch()
        self.admitted: list[Caller] = []
        self.served: list[int] = []
        self.expected: list[int] = []
        self.names = 0

    @rule(batch_key=st.sampled_from(["a", "a", "a", "b", None]), is_late=st.sampled_from([False, False, False, True]))
    def somebody_comes(self, batch_key: str | None, is_late: bool) -> None:
        caller = Caller(self.names, batch_key, is_late)
        self.names += 1
        was_empty = not self.line
        self.line.append(caller)
        at_head = line.join(caller, self.door, lambda lane, ticket, adapter: None)  # type: ignore[arg-type]
        if was_empty and at_head:
            if not entering._attempt(caller):
                caller.waiter = Sleeper()
                waiting_thread.wait_for_lock(caller)
        else:
            assert not at_head or was_empty

    @precondition(lambda self: self.has_turn())
    @rule(others_wait=st.booleans())
    def the_head_leaves_its_turn(self, others_wait: bool) -> None:
        self.door.others_wait = others_wait
        head = self.line.popleft()
        self.note(head)
        for mate in self.admitted:
            self.note(mate)
            ending.answer(mate)
        self.admitted = []
        ending.pass_on(head)
        assert head.state is LEFT

    def note(self, caller: Caller) -> None:
        """Its function is applied."""
        if caller.name not in self.served:
            self.served.append(caller.name)

    @precondition(lambda self: len(self.line) > 1)
    @rule(data=st.data())
    def somebody_in_line_gives_up(self, data: st.DataObject) -> None:
        place = data.draw(st.integers(1, len(self.line) - 1))
        leaver = self.line[place]
        assert ending.leave(leaver)
        assert leaver.state is LEFT
        del self.line[place]

    @precondition(lambda self: self.admitted)
    @rule(data=st.data())
    def somebody_who_was_admitted_cannot_give_up(self, data: st.DataObject) -> None:
        leaver = data.draw(st.sampled_from(self.admitted))
        assert not ending.leave(leaver)
        assert leaver.state is BATCHED

    @precondition(lambda self: self.line and not self.has_turn())
    @rule()
    def the_head_gives_up_before_the_door_opens(self) -> None:
        head = self.line.popleft()
        assert ending.leave(head)

    @precondition(lambda self: self.has_turn())
    @rule()
    def the_head_admits_the_next(self) -> None:
        head = self.line[0]
        self.note(head)
        head.batch = self.batch  # type: ignore[assignment]
        expected = self.next_mate()
        other = line.admit(head)
        assert other is expected
        if other is not None:
            assert other.state is BATCHED
            assert self.batch.last is other
            self.note(other)  # type: ignore[arg-type]
            self.admitted.append(other)  # type: ignore[arg-type]
            self.line.remove(other)  # type: ignore[arg-type]

    @precondition(lambda self: self.has_turn())
    @rule(is_member=st.booleans())
    def the_head_hands_its_batch_on(self, is_member: bool) -> None:
        head = self.line[0]
        head.batch, self.batch.is_member = self.batch, is_member  # type: ignore[assignment]
        expected = self.next_mate()
        assert line.hand_on(head) == (expected is not None)
        if expected is None:
            return
        waiting_thread.wake_successor(head)
        assert head.state is (BATCHED if is_member else LEFT)
        assert (head.batch, expected.batch) == (None, self.batch)
        self.line.popleft()
        self.note(head)
        assert expected.state is HOLDING

    def next_mate(self) -> Caller | None:
        head = self.line[0]
        if len(self.line) == 1 or head.batch_key is None or self.line[1].batch_key != head.batch_key:
            return None
        return None if self.line[1].deadline is not None else self.line[1]

    @rule()
    def the_door_shuts(self) -> None:
        self.door.set_open(False)

    @rule()
    def the_door_opens(self) -> None:
        self.door.set_open(True)

    def has_turn(self) -> bool:
        """Whether the head has its turn; waits for it if it must come."""
        if not self.line:
            return False
        head = self.line[0]
        if self.door.is_open:
            until(lambda: head.state is HOLDING, f"the turn of {head}")
        return head.state is HOLDING

    @invariant()
    def the_line_is_the_model(self) -> None:
        self.has_turn()
        lane = line.lanes.get(KEY)
        if not self.line:
            until(lambda: self.gone_or_only_opening(), "the end of the lane")
            assert line.pending(KEY) == 0
            return
        assert lane is not None
        assert list(lane.in_line()) == list(self.line)
        holder = self.line[0].state is HOLDING
        assert line.pending(KEY) == len(self.line) - holder
        assert [line.ahead_of(caller) for caller in self.line] == list(range(len(self.line)))
        assert sum(caller.state is HOLDING for caller in self.line) <= 1
        assert all(caller.state is not ANSWERED for caller in self.line)

    def gone_or_only_opening(self) -> bool:
        lane = line.lanes.get(KEY)
        return lane is None or (lane.waiting_thread is not line.NONE and not self.door.is_open)

    @invariant()
    def nobody_else_has_the_hold(self) -> None:
        assert self.door.most_out <= 1

    @invariant()
    def turns_come_in_the_order_of_asking(self) -> None:
        assert self.served == sorted(self.served)

    def teardown(self) -> None:
        self.door.set_open(True)
        while self.line:
            assert self.has_turn()
            for mate in self.admitted:
                ending.answer(mate)
            self.admitted = []
            ending.pass_on(self.line.popleft())
        until(lambda: line.lanes.get(KEY) is None and self.door.out == 0, "the end of the lane and of its hold")


LineOfWriters.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
TestLineOfWriters = LineOfWriters.TestCase
