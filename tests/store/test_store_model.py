"""A store against a plain dictionary: callers that come in any order, fail, are cancelled, foreign writers, corruption."""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from helpers.lines import Worker
from helpers.waiting import until
from storewriter import LockTimeout, PerStoreWriterQueue, ReentrantTurn, Store, StoreCorrupt, VersionConflict
from storewriter.codecs import JsonCodec

LARGE = 1 << 14

values = st.recursive(
    st.none() | st.integers(-(2**65), 2**65) | st.text(max_size=5) | st.floats(allow_nan=False, allow_infinity=False),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=3), children, max_size=3),
    max_leaves=4,
)
keys = st.sampled_from(["a", "b", "c", "d"])
sizes = st.sampled_from(["", "x" * LARGE])


class StoreAndDictionary(RuleBasedStateMachine):
    """`model` is the last committed state; `waiting` are updates that stand in line behind a turn."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="storewriter-model-"))
        self.path = self.folder / "state.json"
        self.queue = PerStoreWriterQueue(timeout=20.0)
        self.store = Store(self.path, queue=self.queue, durability="process")
        self.other = Store(self.path, queue=self.queue, durability="process", codec=JsonCodec(shape=dict))
        self.model: dict[str, Any] = {}
        self.exists = False
        self.kept: list[Any] = []
        self.turn: Any = None
        self.waiting: list[tuple[Worker, str, Any]] = []
        self.good: bytes | None = None
        self.versions: dict[str, dict[str, Any]] = {}

    def usable(self) -> bool:
        return self.turn is None and self.good is None

    # One caller at a time.

    @precondition(usable)
    @rule(key=keys, value=values, pad=sizes, which=st.booleans())
    def somebody_updates(self, key: str, value: Any, pad: str, which: bool) -> None:
        value = [value, pad] if pad else value
        store = self.store if which else self.other
        kept = store.update(lambda state: state.update({key: value}) or state)
        self.model[key] = copy.deepcopy(value)
        self.kept += [kept, value]

    @precondition(usable)
    @rule(one=keys, other=keys)
    def somebody_copies_a_part(self, one: str, other: str) -> None:
        def fn(state: dict[str, Any]) -> None:
            if one in state:
                state[other] = copy.deepcopy(state[one])  # a state is a tree

        self.store.update(fn)
        if one in self.model:
            self.model[other] = copy.deepcopy(self.model[one])

    @precondition(usable)
    @rule(key=keys)
    def somebody_changes_a_part(self, key: str) -> None:
        def fn(state: dict[str, Any]) -> None:
            if isinstance(state.get(key), list):
                state[key].append("more")
            elif isinstance(state.get(key), dict):
                state[key]["more"] = 1

        self.store.update(fn)
        fn(self.model)

    @precondition(usable)
    @rule(key=keys, value=values)
    def somebody_fails(self, key: str, value: Any) -> None:
        def fn(state: dict[str, Any]) -> None:
            for part in state.values():
                if isinstance(part, list):
                    part.append("failed")
            state[key] = value
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            self.store.update(fn)

    @precondition(usable)
    @rule(key=keys)
    def somebody_makes_a_state_that_cannot_be_encoded(self, key: str) -> None:
        with pytest.raises(ValueError, match="."):
            self.store.update(lambda state: state.update({key: object()}))

    @precondition(usable)
    @rule(keep=st.sets(keys))
    def somebody_transforms(self, keep: set[str]) -> None:
        new = self.store.transform(lambda state: {key: value for key, value in state.items() if key in keep})
        self.model = {key: value for key, value in self.model.items() if key in keep}
        assert new == self.model
        self.kept.append(new)

    @precondition(usable)
    @rule(key=keys, value=values, end=st.sampled_from(["leave", "discard", "raise"]))
    def somebody_has_a_transaction(self, key: str, value: Any, end: str) -> None:
        try:
            with self.store.transaction() as tx:
                self.kept.append(tx.state)
                tx.state[key] = value
                with pytest.raises(ReentrantTurn):
                    self.other.update(lambda state: None)
                if end == "discard":
                    tx.discard()
                if end == "raise":
                    raise ZeroDivisionError
        except ZeroDivisionError:
            assert end == "raise"
        if end == "leave":
            self.model[key] = copy.deepcopy(value)

    @precondition(usable)
    @rule()
    def somebody_remembers_a_version(self) -> None:
        state, version = self.store.read_versioned()
        assert self.versions.setdefault(version, state) == state
        assert state == self.model

    @precondition(lambda self: self.usable() and self.versions)
    @rule(data=st.data())
    def somebody_compares_and_swaps(self, data: st.DataObject) -> None:
        version = data.draw(st.sampled_from(sorted(self.versions)))
        current = self.store.read_versioned()[1]
        try:
            self.store.update(lambda state: state.update(swapped=len(self.versions)), expect=version)
        except VersionConflict as conflict:
            assert version != current == conflict.found
        else:
            assert version == current
            self.model["swapped"] = len(self.versions)

    # What callers keep, they may change: it is theirs.

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def a_caller_changes_what_it_kept(self, data: st.DataObject) -> None:
        kept = data.draw(st.sampled_from(range(len(self.kept))))
        thing = self.kept[kept]
        if isinstance(thing, dict):
            thing["outside"] = "phantom"
        elif isinstance(thing, list):
            thing.append("phantom")

    # Others.

    @precondition(usable)
    @rule(key=keys, value=values)
    def another_program_replaces_the_file(self, key: str, value: Any) -> None:
        self.model[key] = copy.deepcopy(value)
        spare = self.folder / "foreign"
        spare.write_bytes(JsonCodec(indent=2).encode(self.model))
        os.replace(spare, self.path)

    @precondition(usable)
    @rule()
    def the_file_is_deleted(self) -> None:
        self.path.unlink(missing_ok=True)
        self.model = {}

    @precondition(usable)
    @rule()
    def the_sidecar_is_deleted(self) -> None:
        (self.folder / ".state.json.lock").unlink(missing_ok=True)

    @precondition(lambda self: self.usable() and self.path.exists())
    @rule(cut=st.integers(0, 3))
    def the_file_is_truncated(self, cut: int) -> None:
        self.good = self.path.read_bytes()
        self.path.write_bytes(self.good[:cut] if cut < len(self.good) - 1 else b"")

    @precondition(lambda self: self.good is not None)
    @rule()
    def nobody_can_use_it(self) -> None:
        before = self.path.read_bytes()
        for call in (self.store.read, lambda: self.store.update(lambda state: state.clear())):
            with pytest.raises(StoreCorrupt):
                call()
        with pytest.raises(StoreCorrupt), self.other.transaction():
            pass
        assert self.path.read_bytes() == before

    @precondition(lambda self: self.good is not None)
    @rule()
    def the_file_is_repaired(self) -> None:
        assert self.good is not None
        self.path.write_bytes(self.good)
        self.good = None

    # Several callers in line: what they did shows when the turn before them ends.

    @precondition(usable)
    @rule()
    def somebody_takes_a_turn(self) -> None:
        self.turn = self.queue.turn(self.path)
        self.turn.__enter__()

    @precondition(lambda self: self.turn is not None and len(self.waiting) < 6)
    @rule(key=keys, value=values, kind=st.sampled_from(["put", "append", "fail", "bad", "copy", "late"]))
    def somebody_stands_in_line(self, key: str, value: Any, kind: str) -> None:
        def fn(state: dict[str, Any]) -> None:
            if kind == "append":
                for part in state.values():
                    if isinstance(part, list):
                        part.append(key)
            elif kind == "copy":
                state["copy"] = copy.deepcopy(state.get(key))
            else:
                state[key] = value
            if kind == "fail":
                raise ZeroDivisionError
            if kind == "bad":
                state[key] = object()

        before = self.queue.pending(self.path)
        timeout = 0.001 if kind == "late" else 20.0
        worker = Worker(lambda: self.store.update(fn, timeout=timeout))
        if kind == "late":
            worker.wait()
            assert isinstance(worker.error, LockTimeout)
            return
        until(lambda: self.queue.pending(self.path) == before + 1)
        self.waiting.append((worker, kind, fn))

    @precondition(lambda self: self.turn is not None)
    @rule()
    def the_turn_ends(self) -> None:
        self.turn.__exit__(None, None, None)
        self.turn = None
        for worker, kind, fn in self.waiting:
            worker.wait()
            if kind == "fail":
                assert isinstance(worker.error, ZeroDivisionError)
            elif kind == "bad":
                assert isinstance(worker.error, ValueError)
            else:
                assert worker.error is None
                fresh = copy.deepcopy(self.model)
                fn(fresh)
                self.model = JsonCodec().decode(JsonCodec().encode(fresh))
        self.waiting = []

    @invariant()
    def what_is_read_is_what_was_committed(self) -> None:
        if self.good is None:
            state = self.store.read()
            assert state == self.model
            assert list(state) == list(self.model)

    @invariant()
    def nothing_lies_about(self) -> None:
        assert set(os.listdir(self.folder)) <= {"state.json", ".state.json.lock"}

    def teardown(self) -> None:
        if self.turn is not None:
            self.the_turn_ends()
        shutil.rmtree(self.folder)


StoreAndDictionary.TestCase.settings = settings(max_examples=120, stateful_step_count=30)
TestStoreAndDictionary = StoreAndDictionary.TestCase
