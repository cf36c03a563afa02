"""On what a run was measured: processor, kernel, file system, versions; nothing that names the machine."""

import os
import platform
import sqlite3
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def describe(folder: Path, packages: Iterable[str]) -> dict[str, Any]:
    """Describe this machine, the file system below `folder`, and what is installed of `packages`."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.release()}",
        "file_system": file_system(folder),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "sqlite": sqlite3.sqlite_version,
        "packages": _versions(packages),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())


def file_system(folder: Path) -> str:
    """Return type and options of the file system that `folder` is on, such as `ext4 (rw,relatime)`."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return "unknown"
    real = folder.resolve()
    covering = [mount for mount in map(str.split, mounts) if real.is_relative_to(_unescaped(mount[4]))]
    innermost = max(covering, key=lambda mount: len(mount[4]))
    kind, options = innermost[innermost.index("-") + 1], innermost[5]
    return f"{kind} ({options})"


def _unescaped(path: str) -> str:
    return path.encode().decode("unicode_escape")


def _versions(packages: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
