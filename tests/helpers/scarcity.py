"""A process that has run out of something, for as long as a block lasts."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """Not one more descriptor is to be had in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    hog = [os.open("/dev/null", os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hog[0] + 1, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                hog.append(os.open("/dev/null", os.O_RDONLY))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in hog:
            os.close(fd)
