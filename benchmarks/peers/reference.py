"""The reference's lock: an existence file, tried seven times within a quarter of a second, then an error.

Written anew from its description. A holder that is dead or whose file is older than a minute loses it.
"""

import json
import os
import random
import time
from datetime import UTC, datetime
from pathlib import Path

RETRIES = 6
FACTOR = 1.35
SHORTEST, LONGEST = 0.008, 0.180
STALE = 60.0


class ReferenceLock:
    """Use once: `with ReferenceLock(path): ...`; raises TimeoutError where the original gives up."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        for attempt in range(RETRIES + 1):
            if self._created() or (self._reclaimed() and self._created()):
                return
            if attempt < RETRIES:
                time.sleep(pause(attempt))
        raise TimeoutError("file lock timeout")

    def __exit__(self, *_: object) -> None:
        self.path.unlink(missing_ok=True)

    def _created(self) -> bool:
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            return False
        with os.fdopen(descriptor, "w") as file:
            json.dump({"pid": os.getpid(), "createdAt": datetime.now(UTC).isoformat()}, file)
        return True

    def _reclaimed(self) -> bool:
        try:
            seen = self.path.stat()
            stale = _stale(self.path.read_text(), seen)
            if stale and self.path.stat().st_ino == seen.st_ino:
                self.path.unlink()
        except FileNotFoundError:
            return True  # released meanwhile: try again at once
        return stale


def pause(attempt: int) -> float:
    """Seconds to sleep after the attempt of that number, counted from 0."""
    grown = SHORTEST * FACTOR ** min(attempt, 100)  # beyond, a float may overflow, and LONGEST decides anyway
    return min(LONGEST, grown * random.uniform(1.0, 2.0))


def _stale(content: str, seen: os.stat_result) -> bool:
    try:
        pid = int(json.loads(content)["pid"])
    except (ValueError, KeyError, TypeError):
        return time.time() - seen.st_mtime > STALE  # perhaps its holder is about to write it
    return time.time() - seen.st_mtime > STALE or not _alive(pid)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
