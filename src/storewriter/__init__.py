"""Safe concurrent updates of small shared files: no lost updates, even if a process is killed.

Turns              PerStoreWriterQueue, Turn, run_exclusive         (per_store_writer_queue.py)
Load-modify-save   Store, AsyncStore, Transaction                   (store.py)
Policies           Backoff, and the strategies in storewriter.locks
Who holds a lock   Owner, this_process, is_gone
Errors             StoreWriterError and its kinds                   (errors.py)
"""

from __future__ import annotations

import logging

from storewriter._platform.liveness import is_gone, this_process
from storewriter._platform.owner import Owner
from storewriter.backoff import Backoff
from storewriter.errors import (
    CommitUncertain,
    DecodeError,
    DocumentChanged,
    EncodeError,
    ForeignFile,
    LockLost,
    LockTimeout,
    NotARegularFile,
    QueueFull,
    ReadOnlyStore,
    RecoveryRefused,
    ReentrantTurn,
    ReservedName,
    ReturnedAwaitable,
    SaveInterrupted,
    SchemaMissing,
    ServerRefused,
    ServerUnavailable,
    StoreCorrupt,
    StoreWriterError,
    StrategyMismatch,
    TooDeep,
    UnknownVersion,
    UnsupportedLock,
    VersionConflict,
)
from storewriter.per_store_writer_queue import PerStoreWriterQueue, Turn, run_exclusive
from storewriter.recovery import Recovery
from storewriter.store import AsyncStore, AsyncTransaction, Store, Transaction

__version__ = "0.1.0"
"""Version of this distribution, `commitments` and `persistent_dedupe` included; the build reads it here."""

# The application decides where records go; without this, Python prints warnings to stderr if logging is unconfigured.
logging.getLogger("storewriter").addHandler(logging.NullHandler())

__all__ = [
    "AsyncStore",
    "AsyncTransaction",
    "Backoff",
    "CommitUncertain",
    "DecodeError",
    "DocumentChanged",
    "EncodeError",
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
    "ReturnedAwaitable",
    "SaveInterrupted",
    "SchemaMissing",
    "ServerRefused",
    "ServerUnavailable",
    "Store",
    "StoreCorrupt",
    "StoreWriterError",
    "StrategyMismatch",
    "TooDeep",
    "Transaction",
    "Turn",
    "UnknownVersion",
    "UnsupportedLock",
    "VersionConflict",
    "is_gone",
    "run_exclusive",
    "this_process",
]
