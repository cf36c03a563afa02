"""Node.js counterparts: installed once, and skipped with a reason where that cannot be done."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from filelock import FileLock

NODE = Path(__file__).with_name("node")


@pytest.fixture(scope="session")
def node() -> Path:
    """The folder of the programs on Node.js, with their packages installed."""
    reason = _why_not()
    if reason is not None:
        pytest.skip(reason)
    return NODE


def _why_not() -> str | None:
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "there is no Node.js with npm here"
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout
    if int(version.lstrip("v").partition(".")[0] or 0) < 20:
        return f"the packages need Node.js 20 or later, and this is {version.strip()}"
    with FileLock(NODE / "node_modules.lock"):  # two runs side by side install once
        wanted, installed = NODE / "package.json", NODE / "node_modules" / ".package.json"
        if installed.exists() and installed.read_bytes() == wanted.read_bytes():
            return None
        command = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(command, cwd=NODE, capture_output=True, text=True, check=False, timeout=110)
        if done.returncode != 0:
            return f"npm could not install the packages: {done.stderr.strip()[:300]}"
        installed.write_bytes(wanted.read_bytes())
    return None
