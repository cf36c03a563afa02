"""Functions as people write them: they keep pieces, put in what they keep, and share objects with their neighbours.

Each ends up with what it would have with the store for itself, in documents of every size and in every company.
"""

from __future__ import annotations

import copy
import json
import queue as queues
import statistics
import sys
import threading
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.companies import COMPANIES, TOGETHER, Company
from helpers.lines import Worker, held, lined_up
from helpers.waiting import PATIENCE, wait_for
from storewriter import PerStoreWriterQueue, Store
from storewriter.codecs import JsonCodec
from storewriter.codecs.attrs import AttrsCodec

SIZES = {"1 KB": 1_000, "20 KB": 20_000, "300 KB": 300_000}


@pytest.fixture(params=list(SIZES))
def size(request: pytest.FixtureRequest, path: Path) -> int:
    """A document of this many bytes is there."""
    size = SIZES[request.param]
    state = {"padding": "x" * size, "items": ["a"], "queue": [{"id": 1}, {"id": 2}], "running": []}
    path.write_text(json.dumps(state, separators=(",", ":")))
    return size


@pytest.fixture(params=COMPANIES)
def company(request: pytest.FixtureRequest, size: int, queue: PerStoreWriterQueue, path: Path) -> Company:
    """It has updated the document before."""
    company = Company(str(request.param), queue, path)
    company.apply(touch)
    return company


def content(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(path.read_text())
    assert set(state.pop("padding")) == {"x"}
    del state["touched"]
    return state


def touch(state: dict[str, Any]) -> None:
    state["touched"] = state.get("touched", 0) + 1


@pytest.mark.parametrize("is_kept", [False, True])
def test_one_piece_goes_out_and_one_comes_in(is_kept: bool, company: Company, path: Path) -> None:
    """As many containers as before are in the state, and none of them is referred to by more than it was."""
    mine: dict[str, Any] = {"worker": 1}
    jobs: list[Any] = []

    def take(state: dict[str, Any]) -> Any:
        job = state["queue"].pop(0)
        state["running"].append(mine)
        return job

    jobs += company.apply(take)
    if not is_kept:
        jobs.clear()
    mine["progress"] = 50
    for job in jobs:
        job["done"] = True
    company.apply(touch)
    company.apply(lambda state: state["running"][0].update(inside=1))
    assert content(path)["running"] == [{"worker": 1, "inside": 1}]
    assert content(path)["queue"] == [{"id": 2}]
    assert mine == {"worker": 1, "progress": 50}
    assert jobs == ([{"id": 1, "done": True}] if is_kept else [])


def test_a_kept_piece_goes_in_again(company: Company, path: Path) -> None:
    kept: list[Any] = []

    def exchange(state: dict[str, Any]) -> None:
        if kept:
            state["running"].append(kept.pop())
        kept.append(state["queue"].pop(0))

    company.apply(exchange, exchange, touch)
    kept[0]["outside"] = True
    company.apply(touch, lambda state: state["running"][0].update(inside=1))
    assert content(path) == {"items": ["a"], "queue": [], "running": [{"id": 1, "inside": 1}]}
    assert kept == [{"id": 2, "outside": True}]


def test_a_neighbour_changes_what_another_one_put_in(company: Company, path: Path) -> None:
    mine = {"tags": ["mine"]}
    ends: list[Any] = []

    def append_and_keep(state: dict[str, Any]) -> None:
        state["mine"]["tags"].append("neighbour")
        ends.append(state["mine"])

    company.apply(lambda state: state.update(mine=mine), append_and_keep, touch)
    assert mine == {"tags": ["mine"]}
    ends[0]["tags"].append("afterwards")
    company.apply(touch)
    assert content(path)["mine"] == {"tags": ["mine", "neighbour"]}
    assert mine == {"tags": ["mine"]}


def test_a_neighbour_that_raises_leaves_no_trace_anywhere(company: Company, path: Path) -> None:
    mine = {"tags": ["mine"]}

    def spoil(state: dict[str, Any]) -> None:
        state["mine"]["tags"].append("spoilt")
        state["items"].clear()
        raise ZeroDivisionError

    def spoil_with_what_cannot_be_saved(state: dict[str, Any]) -> None:
        state["mine"]["tags"].append(object())

    steps = [lambda state: state.update(mine=mine), spoil, spoil_with_what_cannot_be_saved, touch]
    outcomes = company.apply(*steps)
    assert isinstance(outcomes[1], ZeroDivisionError)
    assert isinstance(outcomes[2], ValueError)
    assert outcomes[0::3] == [None, None]
    assert mine == {"tags": ["mine"]}
    assert content(path)["mine"] == {"tags": ["mine"]}
    assert content(path)["items"] == ["a"]


config = ModuleType("config")
"""Settings of an application: defaults, one of which is made when it is first asked for."""


@pytest.fixture
def _fresh_config() -> None:
    made: list[str] = ["default"]
    config.LIMIT = 3  # type: ignore[attr-defined]
    config.TAGS = ["default"]  # type: ignore[attr-defined]
    config.__getattr__ = lambda name: made if name == "LATE_TAGS" else None  # type: ignore[method-assign]


class _Defaults:
    TAGS: list[str]


@attrs.define
class _Service:
    tags: list[str]

    def put_in(self, state: dict[str, Any]) -> None:
        state["tags"] = self.tags


def _default_tags() -> list[str]:
    return config.TAGS  # type: ignore[no-any-return]


def _by_computed_name(state: dict[str, Any]) -> None:
    state["tags"] = getattr(config, "TA" + "GS")


def _by_a_function_in_c(state: dict[str, Any]) -> None:
    state["tags"] = attrgetter("TAGS")(config)


def _by_match(state: dict[str, Any]) -> None:
    match config:
        case ModuleType(TAGS=tags):
            state["tags"] = tags


def _made_late(state: dict[str, Any]) -> None:
    state["tags"] = config.LATE_TAGS


def _by_import(state: dict[str, Any]) -> None:
    from sys import modules

    state["tags"] = modules[__name__].config.TAGS


def _ways() -> dict[str, tuple[Callable[[Any], Any], Callable[[], list[str]]]]:
    """By name: a function that puts tags in, and what tells how they are afterwards."""
    tags = ["default"]
    service = _Service(tags)
    iterator = iter([tags])
    settings = config
    _Defaults.TAGS = tags

    def with_default_argument(state: dict[str, Any], tags: list[str] = tags) -> None:
        state["tags"] = tags

    def by_two_ways_to_one_module(state: dict[str, Any]) -> None:
        state["limit"] = settings.LIMIT
        state["tags"] = _default_tags()

    return {
        "a closure": (lambda state: state.update(tags=tags), lambda: tags),
        "a module": (lambda state: state.update(tags=config.TAGS), lambda: config.TAGS),
        "a class": (lambda state: state.update(tags=_Defaults.TAGS), lambda: _Defaults.TAGS),
        "a function of a function": (lambda state: state.update(tags=_default_tags()), lambda: config.TAGS),
        "two ways to one module": (by_two_ways_to_one_module, lambda: config.TAGS),
        "an attribute made late": (_made_late, lambda: config.LATE_TAGS),
        "a computed name": (_by_computed_name, lambda: config.TAGS),
        "an object": (service.put_in, lambda: service.tags),
        "a default argument": (with_default_argument, lambda: tags),
        "a match": (_by_match, lambda: config.TAGS),
        "a function in C": (_by_a_function_in_c, lambda: config.TAGS),
        "an import": (_by_import, lambda: config.TAGS),
        "a method of the state": (lambda state: state.setdefault("tags", tags), lambda: tags),
        "an iterator": (lambda state: state.update(tags=next(iterator)), lambda: tags),
    }


@pytest.mark.parametrize("way", list(_ways()))
@pytest.mark.parametrize("company", TOGETHER, indirect=True)
@pytest.mark.usefixtures("_fresh_config")
def test_a_neighbour_changes_what_came_from_somewhere_else(way: str, company: Company, path: Path) -> None:
    put_in, now = _ways()[way]

    def append(state: dict[str, Any]) -> None:
        state["tags"].append("neighbour")

    outcomes = company.apply(put_in, append, append, touch)
    assert not [error for error in outcomes if isinstance(error, Exception)]
    assert now() == ["default"]
    assert content(path)["tags"] == ["default", "neighbour", "neighbour"]
    now().append("outside")
    company.apply(touch)
    assert content(path)["tags"] == ["default", "neighbour", "neighbour"]


DEFAULT_NOTES: list[str] = []


@attrs.define
class Notebook:
    """A state that has a method which puts in what its module has."""

    padding: str = ""
    notes: list[str] = attrs.field(factory=list)

    def begin_with_the_usual(self) -> None:
        self.notes = DEFAULT_NOTES


@pytest.mark.parametrize("kind", TOGETHER)
@pytest.mark.parametrize("bytes_of_padding", SIZES.values(), ids=SIZES)
def test_a_neighbour_changes_what_a_method_of_the_state_put_in(
    kind: str, bytes_of_padding: int, queue: PerStoreWriterQueue, path: Path
) -> None:
    company = Company(kind, queue, path, codec=AttrsCodec(Notebook), default=Notebook)
    company.apply(lambda state: setattr(state, "padding", "x" * bytes_of_padding))
    company.apply(lambda state: state.begin_with_the_usual(), lambda state: state.notes.append("neighbour"))
    assert DEFAULT_NOTES == []
    assert company.store.read().notes == ["neighbour"]


@pytest.mark.parametrize("company", ["update", "transaction", "threads"], indirect=True)
def test_a_piece_that_another_thread_changes_at_once_is_in_this_document_or_in_none(
    company: Company, path: Path
) -> None:
    """The other thread has it before the function has returned: whether it is quicker than the encoding is open.

    It does not keep it.
    """
    pieces: queues.SimpleQueue[list[int]] = queues.SimpleQueue()

    def change(piece: list[int]) -> bool:
        piece.append(2)
        return piece[0] >= 0

    def change_at_once() -> None:
        while change(pieces.get(timeout=PATIENCE)):
            pass

    changing = Worker(change_at_once)
    try:
        for number in range(20):

            def hand_out(state: dict[str, Any], number: int = number) -> None:
                state["shared"] = piece = [number]
                pieces.put(piece)

            company.apply(hand_out)
            saved = content(path)["shared"]
            assert saved in ([number], [number, 2])
            company.apply(touch)
            assert content(path)["shared"] == saved
    finally:
        pieces.put([-1])
        changing.result()


@attrs.frozen
class _Slow(JsonCodec):
    """Tells when it has encoded, and waits for what another thread does then."""

    encoded: threading.Event = attrs.field(factory=threading.Event, eq=False)
    go_on: threading.Event = attrs.field(factory=threading.Event, eq=False)

    def encode(self, state: Any) -> bytes:
        data = super().encode(state)
        if b'"slow"' in data and not self.encoded.is_set():
            self.encoded.set()
            wait_for(self.go_on, "the other thread's change")
        return data


def test_a_piece_that_another_thread_changes_after_the_encoding_is_in_no_document(
    size: int, queue: PerStoreWriterQueue, path: Path
) -> None:
    codec = _Slow()
    store: Store[Any] = Store(path, queue=queue, codec=codec)
    out: list[list[int]] = []

    def hand_out(state: dict[str, Any]) -> None:
        state["slow"] = piece = [1]
        out.append(piece)

    worker = Worker(lambda: store.update(hand_out))
    wait_for(codec.encoded, "the encoding")
    out[0].append(2)
    codec.go_on.set()
    worker.result()
    store.update(touch)
    assert content(path)["slow"] == [1]


# -- what a function can reach costs nothing ---------------------------------------------------------------------------

_TABLE = {str(number): [number] for number in range(5_000)}


@attrs.define
class _Reaching:
    table: dict[str, list[int]]

    def change(self, state: dict[str, Any]) -> None:
        state["n"] = len(self.table)


def _changes() -> dict[str, Callable[[dict[str, Any]], None]]:
    number = 3

    def nothing(state: dict[str, Any]) -> None:
        state["n"] = 1

    def closure(state: dict[str, Any]) -> None:
        state["n"] = number

    def table(state: dict[str, Any]) -> None:
        state["n"] = len(_TABLE)

    return {"nothing": nothing, "closure": closure, "table": table, "self": _Reaching(_TABLE).change}


def _calls(operation: Callable[[], object]) -> int:
    """How many functions are called in this thread, in Python and in C."""
    count = 0

    def profile(frame: Any, event: str, arg: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        operation()
    finally:
        sys.setprofile(None)
    return count


def test_what_a_function_can_reach_makes_no_difference(queue: PerStoreWriterQueue, path: Path) -> None:
    """The calls that the last of a batch makes, which saves it, are as many whatever the functions refer to.

    Most times: the first one finds no document, and some calls are made only now and then, by the clock.
    """
    store = Store(path, queue=queue, durability="process")
    counts: dict[str, list[int]] = {name: [] for name in _changes()}

    def last(name: str, change: Callable[[dict[str, Any]], None]) -> Callable[[], None]:
        def ask() -> None:
            counts[name].append(_calls(lambda: store.update(change)))

        return ask

    for _ in range(15):
        for name, change in _changes().items():
            with held(queue, path) as holding:
                workers = lined_up(queue, path, lambda: store.update(touch), last(name, change))
                holding.release()
                for worker in workers:
                    worker.result()
    own = {"nothing": 1, "closure": 1, "table": 2, "self": 2}  # the function, and its `len`
    assert len({statistics.mode(counts[name]) - calls for name, calls in own.items()}) == 1, counts


# -- any functions, against each alone ---------------------------------------------------------------------------------

PLACES = ("p0", "p1", "p2")
NAMES = ("k0", "k1", "k2")
_MOST_MARKS = 60
"""No piece is nested further once there are as many marks in the state."""


@attrs.define
class Piece:
    """Marks, and pieces inside it."""

    marks: list[int] = attrs.field(factory=list)
    inner: list[Piece] = attrs.field(factory=list)


attrs.resolve_types(Piece, globals())


@attrs.define
class Shelf:
    padding: str = ""
    pieces: dict[str, Piece] = attrs.field(factory=dict)


class AsAttrs:
    """States that are objects of attrs classes."""

    settings: Any = {"codec": AttrsCodec(Shelf), "default": Shelf}

    @staticmethod
    def new(size: int) -> Any:
        return Shelf("x" * size, {place: Piece([number]) for number, place in enumerate(PLACES)})

    @staticmethod
    def pieces(state: Any) -> Any:
        return state.pieces

    @staticmethod
    def piece(mark: int) -> Any:
        return Piece([mark])

    @staticmethod
    def marks(piece: Any) -> Any:
        return piece.marks

    @staticmethod
    def inner(piece: Any) -> Any:
        return piece.inner

    @classmethod
    def again(cls, state: Any) -> Any:
        """As a document would bring it back; ValueError if it cannot be written."""
        try:
            return Shelf(state.padding, {place: cls._again(piece) for place, piece in state.pieces.items()})
        except RecursionError:
            raise ValueError from None

    @classmethod
    def _again(cls, piece: Piece) -> Piece:
        if any(type(mark) is not int for mark in piece.marks):
            raise ValueError
        return Piece(list(piece.marks), [cls._again(other) for other in piece.inner])


class AsJson:
    """States that are dicts and lists."""

    settings: Any = {}

    @staticmethod
    def new(size: int) -> Any:
        pieces = {place: {"marks": [number], "inner": []} for number, place in enumerate(PLACES)}
        return {"padding": "x" * size, "pieces": pieces}

    @staticmethod
    def pieces(state: Any) -> Any:
        return state["pieces"]

    @staticmethod
    def piece(mark: int) -> Any:
        return {"marks": [mark], "inner": []}

    @staticmethod
    def marks(piece: Any) -> Any:
        return piece["marks"]

    @staticmethod
    def inner(piece: Any) -> Any:
        return piece["inner"]

    @staticmethod
    def again(state: Any) -> Any:
        """As a document would bring it back; ValueError if it cannot be written."""
        try:
            return json.loads(json.dumps(state))
        except (TypeError, RecursionError):
            raise ValueError from None


SHAPES: dict[str, Any] = {"json": AsJson, "attrs": AsAttrs}

Step = tuple[str, int, int]
"""What is done, and to which two of the places or of the kept objects."""

IN_STATE = (
    "new", "keep", "put in", "nest", "swap", "link", "move out", "change", "change kept", "return", "raise", "spoil"
)  # fmt: skip
STEPS = st.tuples(st.sampled_from(IN_STATE), st.integers(0, 2), st.integers(0, 2))
FUNCTIONS = st.lists(STEPS, max_size=6)
OUTSIDE = st.lists(st.integers(0, 2), max_size=2)
PROGRAMS = st.lists(st.tuples(st.lists(FUNCTIONS, min_size=1, max_size=5), OUTSIDE), min_size=1, max_size=3)
"""Batches of functions; and after each of them, which of the kept objects are changed outside."""


@attrs.define
class World:
    """The objects that the functions of a program keep, and how often each function was run."""

    shape: Any
    kept: dict[str, Any] = attrs.field(init=False)
    runs: dict[tuple[int, int], int] = attrs.field(factory=dict)
    results: list[Any] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.kept = {name: self.shape.piece(100 + number) for number, name in enumerate(NAMES)}

    def function(self, which: tuple[int, int], steps: list[Step]) -> Callable[[Any], Any]:
        def run(state: Any) -> Any:
            self.runs[which] = self.runs.get(which, 0) + 1
            result = None
            for number, step in enumerate(steps):
                mark = 10_000 * which[0] + 1_000 * which[1] + number
                done = self._do(step, self.shape.pieces(state), mark)
                result = done if step[0] == "return" else result
            return result

        return run

    def _do(self, step: Step, pieces: Any, mark: int) -> Any:
        shape, kept = self.shape, self.kept
        what, one, two = step
        place, other, name = PLACES[one], PLACES[two], NAMES[two]
        found = pieces.get(place)
        if what == "raise":
            raise ZeroDivisionError
        if what == "new":
            pieces[place] = shape.piece(mark)
        elif what == "put in":
            pieces[place] = kept[name]
        elif what == "change kept":
            shape.marks(kept[name]).append(mark)
        elif found is None:
            pass
        elif what == "keep":
            kept[name] = found
        elif what == "nest":
            if sum(map(self._weight, pieces.values())) + self._weight(kept[name]) < _MOST_MARKS:
                shape.inner(found).append(kept[name])
        elif what == "swap" and other in pieces:
            pieces[place], pieces[other] = pieces[other], found
        elif what == "link":
            pieces[other] = found
        elif what == "move out":
            kept[name] = pieces.pop(place)
        elif what == "change":
            shape.marks(found).append(mark)
        elif what == "return":
            return found
        elif what == "spoil":
            shape.marks(found).append(object())
        return None

    def _weight(self, piece: Any, depth: int = 0) -> int:
        if depth > _MOST_MARKS:
            return _MOST_MARKS  # it contains itself
        total: int = len(self.shape.marks(piece))
        for other in self.shape.inner(piece):
            total += self._weight(other, depth + 1)
            if total > _MOST_MARKS:
                break
        return total

    def change_outside(self, names: list[int]) -> None:
        for number in names:
            self.shape.marks(self.kept[NAMES[number]]).append(-1)


def each_alone(shape: Any, size: int, program: list[Any]) -> tuple[World, Any]:
    """What would have come of each function with the store for itself: what is kept, and the document's state."""
    world, state = World(shape), shape.new(size)
    for batch, (functions, outside) in enumerate(program):
        for place, steps in enumerate(functions):
            own = shape.again(state)
            try:
                result = world.function((batch, place), steps)(own)
                state = shape.again(own)
            except (ZeroDivisionError, ValueError) as error:
                result = error
            world.results.append(result)
        world.change_outside(outside)
    return world, state


def plain(value: Any) -> Any:
    """Comparable: errors by their kind, objects that cannot be saved as a word, cycles cut."""
    return _plain(value, ())


def _plain(value: Any, above: tuple[int, ...]) -> Any:
    if isinstance(value, Exception):
        return "ValueError" if isinstance(value, ValueError) else type(value).__name__
    if id(value) in above:
        return "a cycle"
    above = (*above, id(value))
    if isinstance(value, Piece):
        return {"marks": _plain(value.marks, above), "inner": _plain(value.inner, above)}
    if isinstance(value, dict):
        return {key: _plain(item, above) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, above) for item in value]
    return value if isinstance(value, (int, str, type(None))) else "an object"


@pytest.mark.parametrize("company", ["threads", "asyncio"])
@pytest.mark.parametrize("shape", list(SHAPES))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(size=st.sampled_from(list(SIZES.values())), program=PROGRAMS)
def test_functions_in_a_batch_do_what_each_would_do_alone(
    shape: str, company: str, queue: PerStoreWriterQueue, path: Path, size: int, program: list[Any]
) -> None:
    form = SHAPES[shape]
    expected, state = each_alone(form, size, program)
    world = World(form)
    neighbours = Company(company, queue, path, **form.settings)
    neighbours.store.transform(lambda _: form.new(size))
    for batch, (functions, outside) in enumerate(program):
        changes = [world.function((batch, place), steps) for place, steps in enumerate(functions)]
        world.results += neighbours.apply(*changes)
        world.change_outside(outside)
    neighbours.apply(lambda state: None)
    found = Store(path, **form.settings).read()
    assert plain(form.pieces(found)) == plain(form.pieces(state))
    assert plain(world.results) == plain(expected.results)
    assert plain(world.kept) == plain(expected.kept)
    assert set(world.runs.values()) <= {1}
    assert len(world.runs) == sum(len(functions) for functions, _ in program)
    path.unlink()


def test_the_model_tells_copies_from_shared_objects() -> None:
    """The model itself: a linked piece is two pieces for the next function, in both shapes."""
    program = [([[("link", 0, 1)], [("change", 0, 0)]], [])]  # type: ignore[var-annotated]
    for form in SHAPES.values():
        _, state = each_alone(form, 0, program)
        pieces = form.pieces(state)
        assert form.marks(pieces["p0"]) != form.marks(pieces["p1"])
        assert copy.deepcopy(pieces) == pieces
