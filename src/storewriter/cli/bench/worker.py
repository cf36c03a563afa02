"""One measurement in a fresh interpreter: reads a request from standard input, answers on standard output.

`python -m storewriter.cli.bench.worker`, started by `conduct`.
"""

import json
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import attrs

from storewriter.cli.bench.contender import Contender
from storewriter.cli.bench.measures import Task, measure
from storewriter.cli.bench.scenarios import Scenario


def main() -> None:
    """Run the measurement that standard input asks for."""
    request = json.load(sys.stdin)
    task = Task(
        contender=_contender(request["table"], request["contender"]),
        scenario=Scenario(**request["scenario"]),
        folder=Path(request["folder"]),
        seconds=request["seconds"],
        seed=request["seed"],
    )
    answer: dict[str, object]
    try:
        answer = {"outcome": attrs.asdict(measure(task))}
    except Exception as error:  # noqa: BLE001 - whatever it is, the run goes on without this measurement
        answer = {"failure": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer))


def _contender(table: str, name: str) -> Contender:
    """Take the contender from a table named like `package.module:TABLE`."""
    module, attribute = table.split(":")
    contenders: Mapping[str, Contender] = getattr(import_module(module), attribute)
    return contenders[name]


if __name__ == "__main__":
    main()
