"""What has become of a commit whose answer was lost.

Promise    `has_happened` returns the truth or raises CommitUncertain. It never takes "not answered" for "not done": of
           connections that are cut at random moments, a third are cut after the commit.
How        Every turn knows the number of its transaction, the server's timeline, and the document as it was. The row
           with the commit's own name is proof. Otherwise, on the same timeline, the server knows what has become of the
           transaction. On another timeline (a standby was promoted, a backup restored) the number means nothing; then
           the document as it was before the commit is proof that this history does not have it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import attrs

from storewriter.errors import CommitUncertain
from storewriter.postgres._connections import Unreachable
from storewriter.postgres._database import PACE, PATIENCE, Database, is_passing
from storewriter.postgres._statements import number_of
from storewriter.postgres._wire import Broken, Refused

__all__ = ["Question", "Stamp", "has_happened"]

Stamp = tuple[int, bytes] | None
"""Version and commit of a document; None if there is none."""


@attrs.frozen
class Question:
    """A commit, as it is asked about."""

    path: str
    name: str
    xid: bytes
    """The transaction, in binary form."""
    timeline: bytes
    before: Stamp
    """The document that it was to replace."""
    commit_id: bytes
    """What names the new one."""


def has_happened(database: Database, question: Question) -> bool:
    """Whether the commit has happened. Raises CommitUncertain if that cannot be found out."""
    delays: Iterator[float] = PACE.delays(time.monotonic() + PATIENCE)
    why = "it is still in progress"
    while True:
        try:
            answer = _ask(database, question)
            if answer is not None:
                return answer
        except (Unreachable, Broken) as error:
            why = f"the server cannot be reached: {error}"
        except Refused as error:
            why = f"the server refused: {error} (SQLSTATE {error.sqlstate})"
            if not is_passing(error.sqlstate):
                raise _uncertain(question, why) from error
        delay = next(delays, None)
        if delay is None:
            raise _uncertain(question, why)
        time.sleep(delay)


def _ask(database: Database, question: Question) -> bool | None:
    """None: it is in progress."""
    (rows,) = database.try_to_ask([database.statements.history(question.name)])
    assert isinstance(rows, list)
    timeline, version, commit_id = rows[0]
    if commit_id == question.commit_id:
        return True
    if timeline != question.timeline:
        found = None if commit_id is None else (number_of(version), commit_id)
        if found == question.before:
            return False
        raise _uncertain(
            question,
            "another server has taken over (a standby was promoted, or a backup restored), and the document was "
            "changed there since",
        )
    (rows,) = database.try_to_ask([database.statements.status_of(question.xid)])
    assert isinstance(rows, list)
    status = rows[0][0]
    if status is None:
        raise _uncertain(question, "the server does not remember the transaction any more")
    return {b"committed": True, b"aborted": False}.get(status)


def _uncertain(question: Question, why: str) -> CommitUncertain:
    return CommitUncertain(
        f"the connection to {question.path} was lost while it was being saved, and whether the update is in the "
        f"document cannot be found out: {why}. Read the store before repeating it.",
        path=question.path,
    )
