"""storewriter as it was: a former version's library below the present engine, measured in the same rounds."""

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import attrs

import storewriter
from benchmarks.report.wording import FORMER
from storewriter.cli.bench.contender import Contender
from storewriter.cli.bench.strategies import STRATEGIES

TABLE = "storewriter.cli.bench.strategies:STRATEGIES"
"""Of the present engine, which finds the former library beside itself."""

MEASURED_AS = STRATEGIES["storewriter-flock"]
ENGINE = Path("storewriter", "cli", "bench")
PRESENT = Path(storewriter.__file__).parent.parent


def contender(source: str) -> Contender:
    """What stands in tables; it is measured as `MEASURED_AS`, in a process that imports the former version."""
    return attrs.evolve(MEASURED_AS, name=FORMER, about=f"storewriter as it was: {Path(source).name}", program=None)


def lay_out(source: str, folder: Path) -> None:
    """Copy a former version into `folder`, with the present engine: the same functions, windows and counts for both.

    `source` is a git revision of this repository, or a folder that holds the package `storewriter`; ValueError if it
    is neither.
    """
    package = Path(source) / "storewriter"
    if package.is_dir():
        shutil.copytree(package, folder / "storewriter", ignore=shutil.ignore_patterns("__pycache__"))
    else:
        _extract(source, folder)
    shutil.rmtree(folder / ENGINE)
    shutil.copytree(PRESENT / ENGINE, folder / ENGINE, ignore=shutil.ignore_patterns("__pycache__"))


def _extract(revision: str, folder: Path) -> None:
    command = ["git", "-C", str(Path(__file__).parent.parent), "archive", "--format=tar", f"{revision}:src"]
    archive = subprocess.run(command, capture_output=True, check=False)
    if archive.returncode:
        raise ValueError(f"no such folder with storewriter in it, and no such git revision: {revision}")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
