"""Safe concurrent updates of small shared files: no lost updates, even if a process is killed.

Turns              PerStoreWriterQueue, Turn, run_exclusive         (per_store_writer_queue.py)
Load-modify-save   Store, AsyncStore, Transaction                   (store.py)
Policies           Backoff, and the strategies in storewriter.locks
Who holds a lock   Owner
Errors             StoreWriterError and its kinds                   (errors.py)
"""

from __future__ import annotations

import logging

from storewriter._platform.owner import Owner
from storewriter.backoff import Backoff
from storewriter.errors import (
    CommitUncertain,
    ForeignFile,
    LockLost,
    LockTimeout,
    NotARegularFile,
    QueueFull,
    ReadOnlyStore,
    RecoveryRefused,
    ReentrantTurn,
    ReservedName,
    StoreCorrupt,
    StoreWriterError,
    StrategyMismatch,
    UnsupportedLock,
    VersionConflict,
)
from storewriter.per_store_writer_queue import PerStoreWriterQueue, Turn, run_exclusive
from storewriter.recovery import Recovery
from storewriter.store import AsyncStore, AsyncTransaction, Store, Transaction

# The application decides where records go; without this, Python prints warnings to stderr if logging is unconfigured.
logging.getLogger("storewriter").addHandler(logging.NullHandler())

__all__ = [
    "AsyncStore",
    "AsyncTransaction",
    "Backoff",
    "CommitUncertain",
    "ForeignFile",
    "LockLost",
    "LockTimeout",
    "NotARegularFile",
    "Owner",
    "PerStoreWriterQueue",
    "QueueFull",
    "ReadOnlyStore",
    "Recovery",
    "RecoveryRefused",
    "ReentrantTurn",
    "ReservedName",
    "Store",
    "StoreCorrupt",
    "StoreWriterError",
    "StrategyMismatch",
    "Transaction",
    "Turn",
    "UnsupportedLock",
    "VersionConflict",
    "run_exclusive",
]
