"""Locks of other programs that write the same document, taken inside our own lock (docs/strategies.md, Neighbours).

`_protocol.py` defines what a neighbour's lock is; one file per convention; `_joined.py` puts them inside a strategy;
`_agreement.py` keeps what our programs must agree on, `_pace.py` the gaps that the neighbours need;
`_heartbeat.py` renews the locks that are held for long; `_detection.py` reports those that are not configured.
"""

from __future__ import annotations

from storewriter.locks.neighbours._protocol import Claim, Neighbour
from storewriter.locks.neighbours.flock_file import FlockFile
from storewriter.locks.neighbours.openclaw import OpenClawLock
from storewriter.locks.neighbours.proper_lockfile import ProperLockfile

__all__ = ["Claim", "FlockFile", "Neighbour", "OpenClawLock", "ProperLockfile"]
