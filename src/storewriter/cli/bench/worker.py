"""Measures on request, each time in a forked process of its own.

`python -m storewriter.cli.bench.worker package.module:TABLE package.module:MEASURES`, started by `conduct`. It reads
one request a line from standard input and answers each with one line on standard output. This process only forks: it
imports the contenders once and starts no thread, so every measurement begins in the same clean state.

Standard input stays open until the last answer. If it ends before, the process that asked is gone, and this one ends at
once with all its measurements: it leads a process group of its own for that.
"""

import json
import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import attrs

from storewriter.cli.bench.contender import Contender
from storewriter.cli.bench.measures import Task
from storewriter.cli.bench.results import Outcome
from storewriter.cli.bench.scenarios import Scenario

Contenders = Mapping[str, Contender]
Measures = Mapping[str, Callable[[Task], Outcome]]


def main() -> None:
    """Answer the requests of standard input until it ends."""
    # That a lock was taken over from the dead is what S7 is about; without a handler it would go to the terminal.
    logging.getLogger("storewriter").addHandler(logging.NullHandler())
    contenders: Contenders = _named(sys.argv[1])
    measures: Measures = _named(sys.argv[2])
    for line in sys.stdin:
        print(json.dumps(_answer(contenders, measures, json.loads(line))), flush=True)


def _named(place: str) -> Any:
    module, attribute = place.split(":")
    return getattr(import_module(module), attribute)


def _answer(contenders: Contenders, measures: Measures, request: Mapping[str, Any]) -> object:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(contenders, measures, request, theirs))
    process.start()
    theirs.close()  # so that its death ends our reading
    if ours not in wait([ours, sys.stdin.fileno()]) and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    try:
        return ours.recv()
    except EOFError:
        process.join()
        return {"failure": f"the measurement ended with exit code {process.exitcode}"}
    finally:
        process.join()


def _measure(contenders: Contenders, measures: Measures, request: Mapping[str, Any], connection: Connection) -> None:
    task = Task(
        contender=contenders[request["contender"]],
        scenario=Scenario(**request["scenario"]),
        folder=Path(request["folder"]),
        seconds=request["seconds"],
        seed=request["seed"],
    )
    try:
        connection.send({"outcome": attrs.asdict(measures[task.scenario.measure](task))})
    except Exception as error:  # noqa: BLE001 - whatever it is, the run goes on without this measurement
        connection.send({"failure": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
