"""What the design can reach: written by hand, without the guarantees, to know the limit."""

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import orjson

from benchmarks.peers import batches
from benchmarks.peers.locks import KeptFlock
from benchmarks.peers.saves import Place, Save, folder_after, one_flush, two_flushes
from storewriter.cli.bench.contender import AsyncUpdate, Contender, Target, Update
from storewriter.cli.bench.document import State, adding

ONE_CALLER = frozenset({"S2", "S9"})
"""Where there is no one to exclude."""
LOOPS = frozenset({"S2", "S5"})
BATCHES = frozenset({"S3", "S4", "S6"})

TWO_FLUSHES = "bare-two-flushes"
"""The loop that promises among processes refer to."""


def _save_only(encode: Callable[[State], bytes]) -> Callable[[Target], Callable[[], Update]]:
    """Encode, write, flush, rename, flush the folder: without a lock and without a load."""

    def updates(target: Target) -> Callable[[], Update]:
        state = json.loads(target.path.read_bytes())
        place = Place.of(target.path, durable=target.durable)

        def update() -> None:
            adding(1)(state)
            two_flushes(place, encode(state))

        return lambda: update

    return updates


def _commit(
    lock: AbstractContextManager[object], place: Place, save: Save, functions: Sequence[Callable[[State], None]]
) -> None:
    with lock:
        state = orjson.loads(place.path.read_bytes())
        for function in functions:
            function(state)
        after_release = save(place, orjson.dumps(state))
    after_release()


def _loop(save: Save) -> Callable[[Target], Callable[[], Update]]:
    """A blocking flock around load, modify, save, on descriptors that are kept open."""

    def updates(target: Target) -> Callable[[], Update]:
        def opened() -> Update:
            lock, place = KeptFlock(target.path), Place.of(target.path, durable=target.durable)
            return lambda: _commit(lock, place, save, [adding(1)])

        return opened

    return updates


def _committing(target: Target) -> Callable[[Sequence[Callable[[State], None]]], None]:
    lock, place = KeptFlock(target.path), Place.of(target.path, durable=target.durable)
    return lambda functions: _commit(lock, place, two_flushes, functions)


def _batched_tasks(target: Target) -> Callable[[], AsyncUpdate]:
    return batches.of_tasks(lambda: adding(1), _committing(target))


def _batched_threads(target: Target) -> Callable[[], Update]:
    return batches.of_threads(lambda: adding(1), _committing(target))


SKETCHES = (
    Contender(
        name="bare-json",
        about="the physical limit with the standard library: encode, write, flush, rename, flush the folder",
        only=ONE_CALLER,
        updates=_save_only(lambda state: json.dumps(state).encode()),
    ),
    Contender(
        name="bare-orjson",
        about="the same with a compiled encoder: the bare save, of file and folder flushed",
        only=ONE_CALLER,
        updates=_save_only(orjson.dumps),
    ),
    Contender(
        name=TWO_FLUSHES,
        about="the bare loop: a blocking flock, orjson, a temporary file; file and folder flushed inside the lock",
        only=LOOPS,
        updates=_loop(two_flushes),
    ),
    Contender(
        name="bare-folder-after",
        about="the bare loop with the folder flushed after the release",
        only=LOOPS,
        durabilities=frozenset({True}),
        updates=_loop(folder_after),
    ),
    Contender(
        name="bare-one-flush",
        about="the bare loop with the data written and waited for before the rename, one flush after the release",
        only=LOOPS,
        durabilities=frozenset({True}),
        updates=_loop(one_flush),
    ),
    Contender(
        name="flock-batched",
        about="group commit by hand over one JSON file, both flushes inside the lock: no failures, no cancellation, "
        "no fairness, no checks",
        only=BATCHES,
        updates=_batched_threads,
        async_updates=_batched_tasks,
    ),
)
