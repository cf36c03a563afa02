"""The page on web workers: its two applications, each with two workers of a real server, count every request."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from helpers.waiting import until
from storewriter import Store

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "web-workers.md"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)

CLIENTS, REQUESTS = 8, 25


class _OverSocketFile(http.client.HTTPConnection):
    """A connection to a server that listens on a socket in a folder, so that no port can be taken already."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(str(self._path))


def _answer(path: Path, method: str, place: str) -> bytes:
    connection = _OverSocketFile(path)
    with contextlib.closing(connection):
        connection.request(method, place)
        response = connection.getresponse()
        text = response.read()
        assert response.status == 200, text
        return text


def _is_up(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as tried:
        return tried.connect_ex(str(path)) == 0


@contextlib.contextmanager
def _served(folder: Path, *command: str) -> Iterator[Path]:
    (folder / "app.py").write_text("\n".join(BLOCK.findall(PAGE.read_text(encoding="utf-8"))))
    address = folder / "server.socket"
    with subprocess.Popen([sys.executable, "-m", *command], cwd=folder, stderr=subprocess.DEVNULL) as server:
        try:
            until(lambda: server.poll() is not None or _is_up(address), "a server that listens")
            yield address
        finally:
            server.terminate()


def _ask_all(path: Path, method: str, place: str) -> list[bytes]:
    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(lambda _: _answer(path, method, place), range(CLIENTS * REQUESTS)))


def test_two_workers_of_uvicorn_and_a_script_count_every_vote(tmp_path: Path) -> None:
    pytest.importorskip("fastapi", reason="FastAPI is not installed")
    pytest.importorskip("uvicorn", reason="uvicorn is not installed")
    command = ["uvicorn", "app:app", "--workers", "2", "--uds", "server.socket", "--log-level", "warning"]
    votes = Store(tmp_path / "votes.json")

    def vote(state: dict[str, int]) -> None:
        state["tabs"] = state.get("tabs", 0) + 1

    with _served(tmp_path, *command) as path, ThreadPoolExecutor(1) as script:
        beside = script.submit(lambda: [votes.update(vote) for _ in range(50)])
        answers = _ask_all(path, "POST", "/votes/tabs")
        beside.result()
        told = json.loads(_answer(path, "GET", "/votes"))

    assert votes.read() == told == {"tabs": CLIENTS * REQUESTS + 50}
    assert len(set(answers)) == len(answers), "two requests were given one number"


def test_two_workers_of_gunicorn_count_every_hit(tmp_path: Path) -> None:
    pytest.importorskip("fastapi", reason="FastAPI is not installed")
    pytest.importorskip("gunicorn", reason="gunicorn is not installed")
    command = ["gunicorn", "--workers", "2", "--threads", "4", "--bind", "unix:server.socket", "app:application"]

    with _served(tmp_path, *command) as path:
        answers = _ask_all(path, "GET", "/")

    assert Store(tmp_path / "hits.json").read() == {"n": CLIENTS * REQUESTS}
    assert len(set(answers)) == len(answers)
