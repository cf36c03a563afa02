"""A store in a database: whether the server is there, the table, its document, and who holds the turn."""

from __future__ import annotations

from collections.abc import Iterator

from storewriter import StoreCorrupt, StoreWriterError
from storewriter._backends.addresses import status_of_url
from storewriter.cli.access import Access
from storewriter.cli.doctor.findings import Finding, good, note, problem

__all__ = ["check_database"]


def check_database(url: str, access: Access) -> Iterator[Finding]:
    """What is in order, and what is not. Changes nothing, and there is nothing here that could be mended."""
    store = access.store(url)
    try:
        rows = dict(status_of_url(url).rows())
    except StoreWriterError as error:
        yield problem("server", str(error))
        return
    yield good("server", f"answers for {store.path}, and has the table")
    yield note("lock", rows["lock"]) if rows["lock"] != "free" else good("lock", "free")
    try:
        access.typed_store(url, dict).read()
    except StoreCorrupt as error:
        yield problem("document", str(error))
    else:
        yield good("document", rows["document"])
    yield good("backups", rows["backups"])
