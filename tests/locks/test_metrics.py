"""The OpenTelemetry subscriber, read back through the SDK."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from contenders import Contender
from storewriter import LockTimeout, PerStoreWriterQueue, Store, StoreCorrupt, events, otel
from storewriter.locks import Lease


class Read:
    """What has been measured."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader])

    def points(self) -> dict[str, Any]:
        """By instrument: its only point."""
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        return {
            metric.name: metric.data.data_points[0]
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@pytest.fixture
def read() -> Iterator[Read]:
    reading = Read()
    stop = otel.instrument(reading.provider, name_of=os.path.basename)
    yield reading
    stop()
    reading.provider.shutdown()


def test_turns_and_batches_are_measured(read: Read, path: str) -> None:
    store = Store(path, durability="process")
    for number in range(3):
        store.update(lambda state, number=number: state.update(n=number))
    points = read.points()
    for name in ("turn.wait", "turn.hold", "batch.size", "batch.duration"):
        assert points[f"storewriter.{name}"].count == 3, name
        assert dict(points[f"storewriter.{name}"].attributes) == {"store": "state.json"}
    assert points["storewriter.batch.size"].sum == 3
    assert 0 <= points["storewriter.turn.wait"].sum < 60
    assert "storewriter.turn.timeouts" not in points


def test_what_goes_wrong_is_counted(read: Read, path: str, contender: Callable[[], Contender]) -> None:
    holder = contender()
    assert holder.ask("attempt", "lease:60", path)
    store = Store(path, queue=PerStoreWriterQueue(lock=Lease(stale=60.0), timeout=10.0))
    with pytest.raises(LockTimeout):
        store.update(lambda state: None, timeout=0.0)
    holder.kill()
    Path(path).write_text("{")
    with pytest.raises(StoreCorrupt):
        store.update(lambda state: None)
    points = read.points()
    for name in ("turn.timeouts", "lock.reclaims", "store.corrupt"):
        assert points[f"storewriter.{name}"].value == 1, name


def test_after_the_end_nothing_is_measured(path: str) -> None:
    reading = Read()
    stop = otel.instrument(reading.provider)
    stop()
    Store(path, durability="process").update(lambda state: state.update(n=1))
    assert reading.points() == {}
    assert events.subscribers == ()
    reading.provider.shutdown()
