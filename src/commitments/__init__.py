"""Commitments: follow-ups that an agent's conversation implies, kept in one file that many processes write.

The store         CommitmentsStore, AsyncCommitmentsStore         (store.py)
What is in it     Commitment, DueWindow, Scope                    (record.py)
What goes in      Item, Candidate                                 (candidates.py)
What comes out    Listing, Problem, Marked, Outcome, Upserted     (queries.py, changes.py)
Settings          CommitmentsConfig, default_path                 (queries.py, location.py)

Errors are those of storewriter: `StoreCorrupt` for a file that is no store, `LockTimeout` naming the holder,
...
"""

from commitments.candidates import Candidate, CandidateRefused, Item
from commitments.changes import Marked, Outcome, Upserted
from commitments.location import default_path
from commitments.queries import CommitmentsConfig, Listing, Problem
from commitments.record import Commitment, DueWindow, Scope
from commitments.store import AsyncCommitmentsStore, CommitmentsStore

__all__ = [
    "AsyncCommitmentsStore",
    "Candidate",
    "CandidateRefused",
    "Commitment",
    "CommitmentsConfig",
    "CommitmentsStore",
    "DueWindow",
    "Item",
    "Listing",
    "Marked",
    "Outcome",
    "Problem",
    "Scope",
    "Upserted",
    "default_path",
]
