"""Other file systems on this machine: each in an image file, mounted through a loop device. Only root may."""

import os
import shutil
import subprocess
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.report.targets import PAIRS

MAKERS: Mapping[str, Sequence[str]] = {
    "ext4": ("mkfs.ext4", "-q", "-F"),
    "xfs": ("mkfs.xfs", "-q", "-f"),
    "btrfs": ("mkfs.btrfs", "-q", "-f"),
}
SIZE = 2**30
"""Bytes of an image; it is sparse, so that the disk holds only what is written."""

DURABLE = tuple(sorted({scenario for scenario, _ in PAIRS if scenario.endswith(" durable") and "not" not in scenario}))
"""The scenarios in which the file system decides."""


def refusal(kind: str) -> str | None:
    """Why there can be no image of that file system here; None if there can."""
    if os.geteuid():
        return "only root may mount an image"
    return None if shutil.which(MAKERS[kind][0]) else f"{MAKERS[kind][0]} is not installed"


@contextmanager
def mounted(kind: str, folder: Path) -> Generator[Path]:
    """A new file system of that kind, in an image in `folder`; it is gone afterwards."""
    image, place = folder / f"{kind}.image", folder / kind
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(SIZE)
    try:
        subprocess.run([*MAKERS[kind], str(image)], check=True, capture_output=True)
        subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)
        try:
            yield place
        finally:
            subprocess.run(["umount", str(place)], check=True)
    finally:
        image.unlink()
        place.rmdir()
