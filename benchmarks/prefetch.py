#!/usr/bin/env python
"""Is it worth decoding a saved document during its flush? `python -m benchmarks.prefetch`.

One caller, one update after the other, in the steps of a durable update and nothing around them: decode, change,
encode, write, wait for the data, rename, flush. The bytes saved are at hand, so that only the moment of decoding them
differs: at the next load, or in a thread beside the flush (or beside the waiting for the data too). The repetitions
are paired: in each, every way is measured for the same time, in a new order; what is printed are medians, and the
median, least and most of the ratios.
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

import orjson

from benchmarks.peers.saves import Place, wait_for_data
from storewriter.cli.bench.document import State, adding, document_of, flush_folder
from storewriter.codecs import JsonCodec

SIZES = {"50 KB": 50_000, "500 KB": 500_000, "5 MB": 5_000_000}
CODEC = JsonCodec()
DECODERS: Mapping[str, Callable[[bytes], Any]] = {"JsonCodec.decode": CODEC.decode, "orjson.loads": orjson.loads}

Decode = Callable[[bytes], State]
Way = Callable[[Place, Decode, float], float]


def at_the_next_load(place: Place, decode: Decode, seconds: float) -> float:
    """Updates per second."""
    data, updates, began = place.path.read_bytes(), 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        state = decode(data)
        adding(1)(state)
        data = CODEC.encode(state)
        _commit(place, data)
        updates += 1
    return updates / (time.perf_counter() - began)


def beside_the_flush(place: Place, decode: Decode, seconds: float) -> float:
    return _in_a_thread(place, decode, seconds, before_the_data=False)


def beside_data_and_flush(place: Place, decode: Decode, seconds: float) -> float:
    return _in_a_thread(place, decode, seconds, before_the_data=True)


WAYS: Mapping[str, Way] = {
    "at the next load": at_the_next_load,
    "beside the flush": beside_the_flush,
    "beside data and flush": beside_data_and_flush,
}


def _in_a_thread(place: Place, decode: Decode, seconds: float, *, before_the_data: bool) -> float:
    saved, decoded = SimpleQueue[bytes | None](), SimpleQueue[State]()

    def serve() -> None:
        while (data := saved.get()) is not None:
            decoded.put(decode(data))

    thread = threading.Thread(target=serve)  # kept, for starting one costs as much as decoding 20 KB
    thread.start()
    saved.put(place.path.read_bytes())
    updates, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        state = decoded.get()
        adding(1)(state)
        data = CODEC.encode(state)
        _commit(place, data, lambda: saved.put(data), before_the_data=before_the_data)  # noqa: B023 - called at once
        updates += 1
    rate = updates / (time.perf_counter() - began)
    saved.put(None)
    thread.join()
    return rate


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


def measure(folder: Path, size: int, decode: Decode, *, repetitions: int, seconds: float) -> dict[str, list[float]]:
    """Updates per second by way, one for each repetition."""
    place = Place.of(folder / "state", durable=True)
    rates: dict[str, list[float]] = {name: [] for name in WAYS}
    dice = random.Random(size)
    for _ in range(repetitions):
        for name in dice.sample(list(WAYS), len(WAYS)):
            place.path.write_bytes(CODEC.encode(document_of(size)))
            flush_folder(folder)
            rates[name].append(WAYS[name](place, decode, seconds))
    place.close()
    return rates


def report(rates: Mapping[str, list[float]]) -> list[str]:
    """A line for each way: its rate, and its ratio to the first."""
    base, *_ = rates.values()
    lines: list[str] = []
    for name, values in rates.items():
        ratios = [value / other for value, other in zip(values, base, strict=True)]
        spread = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        lines.append(f"  {name:24} {median(values):8.1f} updates/s   x {spread}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one measurement")
    parser.add_argument("--folder", type=Path, default=Path(), help="on the file system to measure")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        for (decoder, decode), (size, count) in ((d, s) for d in DECODERS.items() for s in SIZES.items()):
            rates = measure(Path(folder), count, decode, repetitions=chosen.repetitions, seconds=chosen.seconds)
            print(f"{decoder}, {size}, {chosen.repetitions} paired repetitions of {chosen.seconds:g} s", flush=True)
            print(*report(rates), sep="\n", flush=True)


if __name__ == "__main__":
    main()
