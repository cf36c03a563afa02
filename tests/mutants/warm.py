"""A process that has imported pytest and what the tests need, but nothing of the library: a fork of it runs the tests.

For `judge.py`: at each connection to its socket it reads `{"folder", "path", "words", "output"}`, answers with the
number of the fork, which leads a process group of its own, and with its exit code after that.
"""

from __future__ import annotations

import json
import os
import socketserver
import sys
import threading
import traceback
from pathlib import Path


class Run(socketserver.StreamRequestHandler):
    """One run of pytest."""

    def handle(self) -> None:
        asked = json.loads(self.rfile.readline())
        pid = os.fork()
        if pid == 0:
            _run(asked["folder"], asked["path"], asked["words"], asked["output"])
        self.wfile.write(f"{pid}\n".encode())
        self.wfile.write(f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n".encode())


def _run(folder: str, path: list[str], words: list[str], output: str) -> None:
    os.setsid()
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    null = os.open(os.devnull, os.O_RDONLY)
    for number, to in ((null, 0), (file, 1), (file, 2)):
        os.dup2(number, to)
    os.closerange(3, 100)  # the sockets
    os.chdir(folder)
    os.environ["PYTHONPATH"] = os.pathsep.join(path)
    sys.path[:0] = path
    sys.argv = ["pytest", *words]
    code = 3
    try:
        code = int(pytest.main(words))
        sys.stdout.flush()
        threading._shutdown()  # type: ignore[attr-defined]
    except BaseException:  # noqa: BLE001 - it is seen in the output
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    import anyio.from_thread
    import attrs
    import filelock
    import hypothesis
    import orjson
    import pytest
    import trio
    from _pytest.assertion import rewrite
    from sybil.integration.pytest import SybilFile

    loaded = (anyio, attrs, filelock, hypothesis, orjson, trio, rewrite, SybilFile)
    socket = Path(sys.argv[1])
    socket.unlink(missing_ok=True)
    with socketserver.UnixStreamServer(str(socket), Run) as server:
        server.serve_forever()
