"""Events: what happened, for every subscriber, and never at a caller's expense."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.lines import held, lined_up
from storewriter import LockTimeout, PerStoreWriterQueue, Store, events
from storewriter._commits import batch


class Listening:
    def __init__(self) -> None:
        self.seen: list[events.Event] = []

    def __enter__(self) -> list[events.Event]:
        self._end = events.subscribe(self.seen.append)
        return self.seen

    def __exit__(self, *_: object) -> None:
        self._end()


def test_a_turn_is_taken_and_released(queue: PerStoreWriterQueue, path: Path) -> None:
    with Listening() as seen, queue.turn(path, label="why"):
        assert [type(event) for event in seen] == [events.TurnTaken]
    taken, released = seen
    assert isinstance(taken, events.TurnTaken)
    assert isinstance(released, events.TurnReleased)
    assert taken.path == released.path == str(path)
    assert taken.label == released.label == "why"
    assert taken.waited >= 0
    assert released.held >= 0


def test_every_turn_is_taken_once_and_released_once(queue: PerStoreWriterQueue, path: Path) -> None:
    def ask() -> None:
        with queue.turn(path):
            pass

    with Listening() as seen, held(queue, path) as holding:
        workers = lined_up(queue, path, ask, ask, ask)
        holding.release()
        for worker in workers:
            worker.result()
    kinds = [type(event) for event in seen]
    assert kinds.count(events.TurnTaken) == kinds.count(events.TurnReleased) == 4


def test_so_is_one_that_goes_on_in_the_same_batch(
    queue: PerStoreWriterQueue, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order of the line: the turn of one has ended before that of the next one begins."""
    monkeypatch.setattr(batch, "APPLY_SECONDS", 60.0)
    store = Store(path, queue=queue)

    def fail(_: object) -> None:
        raise ZeroDivisionError

    calls = [
        lambda name=name, fn=fn: store.update(fn, label=name)
        for name, fn in (("a", dict.popitem), ("b", dict.clear), ("c", fail), ("d", dict.clear))
    ]
    with held(queue, path) as holding:
        workers = lined_up(queue, path, *calls)
        with Listening() as seen:
            holding.release()
            for worker in workers:
                worker.wait()
    turns = [event for event in seen if isinstance(event, (events.TurnTaken, events.TurnReleased))]
    taken, released = events.TurnTaken, events.TurnReleased
    assert [(type(turn), turn.label) for turn in turns] == [
        (released, None), *((kind, name) for name in "abcd" for kind in (taken, released))
    ]  # fmt: skip


def test_a_timeout_is_told_with_the_owner(queue: PerStoreWriterQueue, path: Path) -> None:
    with held(queue, path, label="busy"), Listening() as seen:
        with pytest.raises(LockTimeout), queue.turn(path, timeout=0, label="me"):
            pass
    (event,) = seen
    assert isinstance(event, events.TurnTimedOut)
    assert event.label == "me"
    assert event.owner is not None
    assert event.owner.label == "busy"


def test_a_batch_tells_its_size_and_whether_it_wrote(path: Path) -> None:
    store = Store(path)
    with Listening() as seen:
        store.update(lambda state: state.update(a=1))
        store.update(lambda state: None)
        with pytest.raises(ZeroDivisionError):
            store.update(lambda state: 1 / 0)
    batches = [event for event in seen if isinstance(event, events.BatchCommitted)]
    assert [(batch.size, batch.failed, batch.written) for batch in batches] == [
        (1, 0, True),
        (1, 0, False),
        (1, 1, False),
    ]
    assert all(batch.duration >= 0 and batch.path == str(path) for batch in batches)


def test_a_subscriber_that_raises_is_logged_and_harms_nobody(
    queue: PerStoreWriterQueue, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(event: events.Event) -> None:
        raise ZeroDivisionError

    end = events.subscribe(broken)
    try:
        with Listening() as seen, queue.turn(path):
            pass
    finally:
        end()
    assert len(seen) == 2
    assert "a subscriber failed" in caplog.text


def test_ending_a_subscription_ends_this_one_only() -> None:
    seen: list[events.Event] = []
    ends = [events.subscribe(seen.append) for _ in range(2)]
    ends[0]()
    ends[0]()
    events.emit(events.TurnTaken(path="p", waited=0.0))
    assert len(seen) == 1
    ends[1]()
    events.emit(events.TurnTaken(path="p", waited=0.0))
    assert len(seen) == 1
