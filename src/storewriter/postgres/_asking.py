"""What has become of a commit whose answer was lost.

Promise    `has_happened` returns the truth or raises CommitUncertain. It never takes "not answered" for "not done": of
           connections that are cut at random moments, a third are cut after the commit.
How        Every turn knows the number of its transaction, the incarnation of the server, and the document as it was.
           Once no transaction of that number runs, the document is looked at. It remembers its latest commits: the
           commit's own name among them is proof; and so is the name of the commit that this one was to follow, without
           this one's. If it was changed too often since, the server knows what has become of the transaction; but in
           another incarnation (it has crashed, a standby was promoted, a backup restored) the number may be another
           transaction's.
           A commit that has happened may not be on the disk yet, if its connection was lost before the flush: the same
           question flushes.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Final, NamedTuple, cast

import attrs

from storewriter.errors import CommitUncertain
from storewriter.postgres._connections import Unreachable
from storewriter.postgres._database import PACE, PATIENCE, Database, is_passing
from storewriter.postgres._statements import FLUSH, Stamp, number_of, text_of
from storewriter.postgres._wire import SYNC, Broken, Refused, Rows, Value

__all__ = ["Found", "Question", "has_happened", "is_still_there"]


class Found(NamedTuple):
    """A document, as a turn has found it."""

    stamp: Stamp | None
    """None: there was none."""
    incarnation: bytes
    """Of the server."""
    is_settled: bool
    """Whether it was durable then, as far as could be told; the turn before may have flushed it a little later."""


_NO_TRANSACTION: Final = (3).to_bytes(8, "big")
"""The first number that a server ever gives out, which it has forgotten long since."""


@attrs.frozen
class Question:
    """A commit, as it is asked about."""

    path: str
    name: str
    xid: bytes
    """The transaction, in binary form."""
    incarnation: bytes
    before: Stamp | None
    """The document that it was to replace; None if there was none."""
    commit_id: bytes
    """What names the new one."""


def has_happened(database: Database, question: Question) -> bool:
    """Whether the commit has happened. Raises CommitUncertain if that cannot be found out."""
    # A connection that was cut may look alive to the server for as long as `silence`.
    delays: Iterator[float] = PACE.delays(time.monotonic() + PATIENCE + database.source.silence)
    why = "it is still in progress"
    while True:
        try:
            answer = _ask(database, question)
            if answer is not None:
                return answer
        except (Unreachable, Broken) as error:
            why = f"the server cannot be reached: {error}"
            if isinstance(error, Broken) and not (error.sqlstate is None or is_passing(error.sqlstate)):
                raise _uncertain(question, f"the server refused: {error} (SQLSTATE {error.sqlstate})") from error
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
    statements = database.statements
    running, history, _ = database.try_to_ask(
        [
            statements.is_running(question.xid),
            SYNC,  # so that the next statement sees what was committed up to now
            statements.history(question.name, question.xid, question.incarnation),
            FLUSH,
        ]
    )
    if cast("Rows", running)[0][0] == b"\x01":
        return None
    incarnation, version, newest, recent, status = cast("Rows", history)[0]
    known = _commits_of(newest, recent)
    if question.commit_id in known:
        return True
    before = question.before
    if len(known) >= (number_of(version) or 0) if before is None else before.commit_id in known:
        return False
    if newest is None and before is not None:
        raise _uncertain(question, "the document has been deleted")
    if incarnation != question.incarnation:
        database.source.close_idle()  # if only the time of its statistics was reset, they remember an older one
        raise _uncertain(
            question,
            "the server has crashed, or another one has taken over, and the document was changed many times since",
        )
    if status is None:
        raise _uncertain(question, "the server does not remember the transaction any more")
    return status == b"committed"


def _commits_of(newest: Value, recent: Value) -> list[bytes]:
    """The commits that a document remembers."""
    if newest is None:
        return []
    return [newest, *(uuid.UUID(one).bytes for one in (text_of(recent) or "").split(",") if one)]


def is_still_there(database: Database, name: str, found: Found, path: str) -> bool:
    """Flush, and return whether the document that a turn has found is durable now: False if a crash has taken it back.

    Raises as `Database.ask` does.
    """
    if found.is_settled or found.stamp is None:
        return True
    history, _ = database.ask([database.statements.history(name, _NO_TRANSACTION, found.incarnation), FLUSH], path)
    incarnation, _, newest, recent, _ = cast("Rows", history)[0]
    if found.stamp.commit_id in _commits_of(newest, recent) or incarnation == found.incarnation:
        return True
    database.source.close_idle()
    return False


def _uncertain(question: Question, why: str) -> CommitUncertain:
    return CommitUncertain(
        f"the connection to {question.path} was lost while it was being saved, and whether the update is in the "
        f"document cannot be found out: {why}. Read the store before repeating it.",
        path=question.path,
    )
