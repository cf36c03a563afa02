"""Peers written for Node: their packages are installed on demand, into a folder that git ignores."""

import shutil
import subprocess
from functools import cache
from pathlib import Path

from storewriter.cli.bench.contender import Contender, Target

FOLDER = Path(__file__).parent / "node"
OLDEST_NODE = 20


@cache
def missing() -> str | None:
    """Why these peers cannot run here; installs what they need."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return "node and npm are not installed"
    if node_major() < OLDEST_NODE:
        return f"Node {OLDEST_NODE} or later is needed"
    if (FOLDER / "node_modules" / ".package-lock.json").exists():
        return None
    command = [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--prefix", str(FOLDER)]
    installed = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if installed.returncode == 0 else f"npm install failed: {installed.stderr.strip()[-200:]}"


def node_version() -> str | None:
    """Such as `v20.20.2`; None where there is no node."""
    node = shutil.which("node")
    if node is None:
        return None
    return subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()


def node_major() -> int:
    return int((node_version() or "v0").removeprefix("v").split(".")[0])


def _peer(library: str, about: str) -> Contender:
    def program(target: Target, mode: str, tasks: int) -> list[str]:
        durable = str(target.durable).lower()
        return ["node", "--expose-gc", str(FOLDER / "worker.mjs"), library, mode, str(target.path), durable, str(tasks)]

    return Contender(name=f"node-{library}", about=about, program=program, missing=missing)


NODE = (
    _peer("proper-lockfile", "proper-lockfile, a folder that expires after 10 s, and write-file-atomic"),
    _peer(
        "fs-safe", "@openclaw/fs-safe, its locked JSON store; flushes its lock too; a dead holder's lock stays for ever"
    ),
)
