"""A process that makes others, each of which commits one update and stops before a given system call of it.

It reads requests from its standard input, one a line: `{"path": ..., "options": {...}, "stop": 3}`. It answers
`stopped <name of the call> <pid>`, and then `ended <how>` when the other one is dead; or `committed` and `ended 0` if
there are not so many calls. Forking is cheap and, as no thread was ever started here, safe.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from storewriter import Store
from storewriter.testing import Call, intercepted


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def stopping_at(stop: int) -> Callable[[Call, Callable[[], Any]], Any]:
    number = itertools.count()

    def around(call: Call, proceed: Callable[[], Any]) -> Any:
        if next(number) == stop:
            say(f"stopped {call.name} {os.getpid()}")
            signal.pause()
        return proceed()

    return around


def commit(request: dict[str, Any]) -> None:
    system = intercepted(stopping_at(request["stop"]))
    store = Store[Any](request["path"], system=system, **request["options"])
    store.update(lambda state: state.update(new=True))
    say("committed")


def main() -> None:
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            commit(json.loads(line))
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        say(f"ended {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    main()
