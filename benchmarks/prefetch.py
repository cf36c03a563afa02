#!/usr/bin/env python
"""Is it worth decoding a saved document during its flush? `python -m benchmarks.prefetch`.

One caller, one update after the other, in the steps of a durable update and nothing around them: decode, change,
encode, write, wait for the data, rename, flush. The bytes saved are at hand, so that only the moment of decoding them
differs: at the next load, or in a thread beside the flush (or beside the waiting for the data too). The repetitions
are paired: in each, every way is measured for the same time, in a new order. Printed are medians of the updates per
second and of their ratios (least to most); and the same of the quickest tenth, which a busy machine disturbs least.
"""

import argparse
import random
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import SimpleQueue
from statistics import median
from typing import Any

import attrs
import orjson

from benchmarks.peers.saves import Place, wait_for_data
from storewriter.cli.bench.document import State, adding, document_of, flush_folder
from storewriter.cli.bench.statistics import percentile
from storewriter.codecs import JsonCodec

SIZES = {"50 KB": 50_000, "500 KB": 500_000, "5 MB": 5_000_000}
CODEC = JsonCodec()
DECODERS: Mapping[str, Callable[[bytes], Any]] = {"JsonCodec.decode": CODEC.decode, "orjson.loads": orjson.loads}

Decode = Callable[[bytes], State]
Way = Callable[[Place, Decode, float], list[float]]


def at_the_next_load(place: Place, decode: Decode, seconds: float) -> list[float]:
    """Seconds of each update."""
    data = place.path.read_bytes()

    def update() -> None:
        nonlocal data
        state = decode(data)
        adding(1)(state)
        data = CODEC.encode(state)
        _commit(place, data)

    return _timed(update, seconds)


def _timed(update: Callable[[], None], seconds: float) -> list[float]:
    took: list[float] = []
    began = now = time.perf_counter()
    while now - began < seconds:
        update()
        before, now = now, time.perf_counter()
        took.append(now - before)
    return took


def beside_the_flush(place: Place, decode: Decode, seconds: float) -> list[float]:
    return _in_a_thread(place, decode, seconds, before_the_data=False)


def beside_data_and_flush(place: Place, decode: Decode, seconds: float) -> list[float]:
    return _in_a_thread(place, decode, seconds, before_the_data=True)


WAYS: Mapping[str, Way] = {
    "at the next load": at_the_next_load,
    "beside the flush": beside_the_flush,
    "beside data and flush": beside_data_and_flush,
}


def _in_a_thread(place: Place, decode: Decode, seconds: float, *, before_the_data: bool) -> list[float]:
    saved, decoded = SimpleQueue[bytes | None](), SimpleQueue[State]()

    def serve() -> None:
        while (data := saved.get()) is not None:
            decoded.put(decode(data))

    thread = threading.Thread(target=serve)  # kept, for starting one costs as much as decoding 20 KB
    thread.start()
    saved.put(place.path.read_bytes())

    def update() -> None:
        state = decoded.get()
        adding(1)(state)
        data = CODEC.encode(state)
        _commit(place, data, lambda: saved.put(data), before_the_data=before_the_data)

    took = _timed(update, seconds)
    saved.put(None)
    thread.join()
    return took


def _commit(
    place: Place, data: bytes, prefetch: Callable[[], object] = lambda: None, *, before_the_data: bool = False
) -> None:
    file = place.written(data)
    if before_the_data:
        prefetch()
    wait_for_data(file)
    place.rename()
    if not before_the_data:
        prefetch()
    place.flush_and_close(file)


@attrs.frozen
class Speed:
    """Updates per second of one repetition."""

    mean: float
    quickest: float
    """Of the quickest tenth."""

    @classmethod
    def of(cls, took: list[float]) -> "Speed":
        return cls(len(took) / sum(took), 1 / percentile(sorted(took), 10))


def measure(folder: Path, size: int, decode: Decode, *, repetitions: int, seconds: float) -> dict[str, list[Speed]]:
    """How fast each way is, in each repetition."""
    place = Place.of(folder / "state", durable=True)
    speeds: dict[str, list[Speed]] = {name: [] for name in WAYS}
    dice = random.Random(size)
    for _ in range(repetitions):
        for name in dice.sample(list(WAYS), len(WAYS)):
            place.path.write_bytes(CODEC.encode(document_of(size)))
            flush_folder(folder)
            speeds[name].append(Speed.of(WAYS[name](place, decode, seconds)))
    place.close()
    return speeds


def report(speeds: Mapping[str, list[Speed]]) -> list[str]:
    """A line for each way: its speed, and its ratios to the first."""
    base, *_ = speeds.values()
    return [
        f"  {name:22} {_cell([each.mean for each in speed], [each.mean for each in base])}"
        f"   quickest tenth {_cell([each.quickest for each in speed], [each.quickest for each in base])}"
        for name, speed in speeds.items()
    ]


def _cell(values: list[float], base: list[float]) -> str:
    ratios = [value / other for value, other in zip(values, base, strict=True)]
    return f"{median(values):7.1f}/s x {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one measurement")
    parser.add_argument("--folder", type=Path, default=Path(), help="on the file system to measure")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        for (decoder, decode), (size, count) in ((d, s) for d in DECODERS.items() for s in SIZES.items()):
            speeds = measure(Path(folder), count, decode, repetitions=chosen.repetitions, seconds=chosen.seconds)
            print(f"{decoder}, {size}, {chosen.repetitions} paired repetitions of {chosen.seconds:g} s", flush=True)
            print(*report(speeds), sep="\n", flush=True)


if __name__ == "__main__":
    main()
