"""What has become of a commit whose answer was lost.

Promise    `has_happened` returns the truth or raises CommitUncertain. It never takes "not answered" for "not done": of
           connections that are cut at random moments, a third are cut after the commit.
How        Every turn knows the number of its transaction, the incarnation of the server, and the document as it was.
           The document remembers its latest commits: the commit's own name among them is proof. Otherwise, in the same
           incarnation, the server knows what has become of the transaction. In another one (it has crashed, a standby
           was promoted, a backup restored) the number may be another transaction's; then it is proof enough if the
           document remembers the commit that this one was to follow, and not this one.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator

import attrs

from storewriter.errors import CommitUncertain
from storewriter.postgres._connections import Unreachable
from storewriter.postgres._database import PACE, PATIENCE, Database, is_passing
from storewriter.postgres._statements import number_of, text_of
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
    incarnation: bytes
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
    incarnation, version, newest, recent = rows[0]
    known = (
        [] if newest is None else [newest, *(uuid.UUID(one).bytes for one in (text_of(recent) or "").split(",") if one)]
    )
    if question.commit_id in known:
        return True
    if incarnation != question.incarnation:
        before = question.before
        was_there = len(known) >= (number_of(version) or 0) if before is None else before[1] in known
        if was_there:
            return False
        raise _uncertain(
            question,
            "the server has crashed, or another one has taken over, and the document was changed many times since",
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
