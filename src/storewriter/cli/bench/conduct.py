"""Plan a run and conduct it: each measurement in a process of its own, interleaved, and repeated."""

import contextlib
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs

from storewriter.cli.bench.contender import Contender
from storewriter.cli.bench.results import Measurement, outcome_from
from storewriter.cli.bench.scenarios import Scenario, can_update

PATIENCE = 120.0
"""Seconds beyond its own time after which a measurement is ended and counts as failed."""


@attrs.frozen
class Step:
    """One measurement of a plan."""

    scenario: Scenario
    contender: Contender
    round: int
    seconds: float


@attrs.frozen(kw_only=True)
class Setting:
    """What all measurements of a run have in common."""

    table: str
    """Where a process finds the contenders: `package.module:TABLE`."""
    folder: Path
    """A folder on the file system that is measured; each measurement gets a new one below it."""
    measures: str = "storewriter.cli.bench.measures:MEASURES"
    """Where it finds what to do for each kind of measurement."""
    seed: int = 0
    source: Path | None = None
    """The folder that storewriter is imported from by what measures; None: as this process does."""


def plan(
    scenarios: Iterable[Scenario],
    contenders: Iterable[Contender],
    *,
    rounds: int,
    seconds: Callable[[Scenario], float],
    seed: int = 0,
    suits: Callable[[Contender, Scenario], bool] = can_update,
) -> list[Step]:
    """Each scenario with each contender that `suits` it, `rounds` times.

    A round goes through all scenarios, so that a machine that slows down during a run slows them all.
    In each, the contenders come in a new order, so that none is always first.
    """
    dice = random.Random(seed)
    scenarios, contenders = list(scenarios), list(contenders)
    steps: list[Step] = []
    for number in range(rounds):
        for scenario in scenarios:
            if scenario.most_rounds is not None and number >= scenario.most_rounds:
                continue
            suited = [contender for contender in contenders if suits(contender, scenario)]
            dice.shuffle(suited)
            steps += [Step(scenario, contender, number, seconds(scenario)) for contender in suited]
    return steps


def conduct(steps: Sequence[Step], setting: Setting) -> Generator[Measurement]:
    """Measure step by step; what fails is reported as failed, and the next step runs."""
    with closing(_Worker(setting)) as worker:
        for step in steps:
            folder = Path(tempfile.mkdtemp(prefix="bench-", dir=setting.folder))
            try:
                yield _measured(step, setting, folder, worker)
            except BaseException:
                worker.close()  # interrupted: callers that still write would fill the folder while it is removed
                raise
            finally:
                shutil.rmtree(folder)


def _measured(step: Step, setting: Setting, folder: Path, worker: "_Worker") -> Measurement:
    request = {
        "contender": step.contender.name,
        "scenario": attrs.asdict(step.scenario),
        "folder": str(folder),
        "seconds": step.seconds,
        "seed": setting.seed + step.round,
    }
    began = time.monotonic()
    answer = _without_path(worker.answer(json.dumps(request), step.seconds + PATIENCE), folder)
    outcome = outcome_from(answer["outcome"]) if "outcome" in answer else None
    if outcome is not None and step.round:
        outcome = attrs.evolve(outcome, holds=[])  # one timeline is enough to look at
    return Measurement(
        scenario=step.scenario.key,
        contender=step.contender.name,
        round=step.round,
        outcome=outcome,
        failure=answer.get("failure"),
        took=round(time.monotonic() - began, 3),
    )


def _without_path(answer: str, folder: Path) -> dict[str, Any]:
    """Remove the folder from error texts: a result must not name a folder of this machine."""
    content: dict[str, Any] = json.loads(answer.replace(str(folder), "<folder>"))
    return content


class _Worker:
    """The process that forks the measurements (see `worker`); one that hangs is ended together with it."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.process = self._started()

    def answer(self, request: str, timeout: float) -> str:
        """Return what it answers, as JSON: an outcome, or why there is none."""
        requests, answers = self.process.stdin, self.process.stdout
        assert requests is not None
        assert answers is not None
        requests.write(request + "\n")
        requests.flush()
        if not select.select([answers], [], [], timeout)[0]:
            self.close()
            self.process = self._started()
            return json.dumps({"failure": f"did not finish within {timeout:g} s"})
        line = answers.readline()
        if not line:
            raise RuntimeError(f"the measuring process ended with exit code {self.process.wait()}")
        return line

    def close(self) -> None:
        """End it and whatever it has started; does nothing if that is done."""
        if self.process.stdin is None or self.process.stdin.closed:
            return
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself and was waited for
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def _started(self) -> "subprocess.Popen[str]":
        folders = [self.setting.source, os.environ.get("PYTHONPATH")]
        return subprocess.Popen(
            [sys.executable, "-m", "storewriter.cli.bench.worker", self.setting.table, self.setting.measures],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(str(folder) for folder in folders if folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that its measurements can be ended with it
        )
