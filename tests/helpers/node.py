"""The counterparts on Node.js: their packages are installed once."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

from filelock import FileLock

PROGRAMS: Final = Path(__file__).parent.parent / "neighbours" / "node"
"""The folder of the programs on Node.js."""


def why_not() -> str | None:
    """Install their packages. Returns why that cannot be done here, or None."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "there is no Node.js with npm here"
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout
    if int(version.lstrip("v").partition(".")[0] or 0) < 20:
        return f"the packages need Node.js 20 or later, and this is {version.strip()}"
    with FileLock(PROGRAMS / "node_modules.lock"):  # two runs side by side install once
        wanted, installed = PROGRAMS / "package.json", PROGRAMS / "node_modules" / ".package.json"
        if installed.exists() and installed.read_bytes() == wanted.read_bytes():
            return None
        command = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(command, cwd=PROGRAMS, capture_output=True, text=True, check=False, timeout=110)
        if done.returncode != 0:
            return f"npm could not install the packages: {done.stderr.strip()[:300]}"
        installed.write_bytes(wanted.read_bytes())
    return None
