"""Metrics for OpenTelemetry, from the events: how long turns are waited for and held, what commits and what goes wrong.

    from storewriter import otel

    stop = otel.instrument()        # from now on; stop() ends it

Needs the extra `otel` (`pip install 'storewriter[otel]'`). Without a configured SDK the instruments do nothing.

Instruments  storewriter.turn.wait      histogram, s          from asking to the turn
             storewriter.turn.hold      histogram, s          from the turn's beginning to its end
             storewriter.batch.size     histogram, {update}   updates answered by one save
             storewriter.batch.duration histogram, s          from load to answer
             storewriter.turn.timeouts  counter               waits that ended with LockTimeout
             storewriter.lock.reclaims  counter               locks taken over from a dead or stuck holder
             storewriter.lock.losses    counter               locks lost to a successor
             storewriter.store.corrupt  counter               documents that could not be understood
Attributes   `store`: the path, or what `name_of` makes of it. Paths are few in most programs; where they are many,
             or must not be published, pass a `name_of` that maps them to few names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Final

from opentelemetry import metrics

from storewriter import events

__all__ = ["instrument"]

_SECONDS: Final = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Bounds of the histograms: a free turn takes microseconds, a contended one up to its timeout."""
_UPDATES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


def instrument(
    meter_provider: metrics.MeterProvider | None = None, *, name_of: Callable[[str], str] = str
) -> Callable[[], None]:
    """Measure every event of this process from now on; return a function that ends it.

    Args:
        meter_provider: Gets the instruments that the module names. None: the global one.
        name_of: Makes the attribute `store` of a store's canonical path; that path, if not given.
    """
    meter = metrics.get_meter("storewriter", version("storewriter"), meter_provider)
    return events.subscribe(_recorder(meter, name_of))


def _recorder(meter: metrics.Meter, name_of: Callable[[str], str]) -> Callable[[events.Event], None]:
    wait = _histogram(meter, "turn.wait", "s", "From asking for a turn to having it", _SECONDS)
    hold = _histogram(meter, "turn.hold", "s", "From the beginning of a turn to its end", _SECONDS)
    size = _histogram(meter, "batch.size", "{update}", "Updates answered by one save", _UPDATES)
    duration = _histogram(meter, "batch.duration", "s", "From load to answer", _SECONDS)
    counters = _counters(meter)

    def record(event: events.Event) -> None:
        store = {"store": name_of(event.path)}
        match event:
            case events.TurnTaken():
                wait.record(event.waited, store)
            case events.TurnReleased():
                hold.record(event.held, store)
            case events.BatchCommitted():
                size.record(event.size, store)
                duration.record(event.duration, store)
            case _ if type(event) in counters:
                counters[type(event)].add(1, store)
            case _:
                pass  # an event of a later version, or one that another covers (TurnWaited: its turn)

    return record


def _histogram(
    meter: metrics.Meter, name: str, unit: str, description: str, bounds: tuple[float, ...]
) -> metrics.Histogram:
    return meter.create_histogram(
        f"storewriter.{name}", unit, description, explicit_bucket_boundaries_advisory=list(bounds)
    )


def _counters(meter: metrics.Meter) -> Mapping[type[events.Event], metrics.Counter]:
    def counter(name: str, description: str) -> metrics.Counter:
        return meter.create_counter(f"storewriter.{name}", "1", description)

    return {
        events.TurnTimedOut: counter("turn.timeouts", "Waits that ended with LockTimeout"),
        events.LockReclaimed: counter("lock.reclaims", "Locks taken over from a dead or stuck holder"),
        events.LeaseLost: counter("lock.losses", "Locks lost to a successor"),
        events.CorruptStore: counter("store.corrupt", "Documents that could not be understood"),
        events.StoreRecovered: counter("store.recoveries", "Documents that were restored or reset"),
    }
