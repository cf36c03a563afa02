"""`commitments` and `persistent_dedupe` with their stores in a database: what they do with files, they do there."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from commitments import AsyncCommitmentsStore, Candidate, CommitmentsStore, Item, Scope
from commitments.__main__ import run as run_commitments
from persistent_dedupe import AsyncPersistentDedupe, ClaimReleased, DedupeOptions, PersistentDedupe
from persistent_dedupe.__main__ import run as run_dedupe
from storewriter import Store, StoreCorrupt

SECRET = "s3cr3t"


def with_password(url: str) -> str:
    return url.replace("://postgres@", f"://postgres:{SECRET}@")


class _Text:
    def decode(self, data: bytes) -> bytes:
        return bytes(data)

    def encode(self, state: bytes) -> bytes:
        return state


def document(url: str) -> Store[bytes]:
    """The bytes of a document."""
    return Store(url, bytes, _Text())


def put(url: str, data: bytes) -> None:
    document(url).transform(lambda _: data)


def test_every_namespace_is_a_document_and_its_claims_are_another(url: str) -> None:
    dedupe, other = (PersistentDedupe(with_password(url), DedupeOptions(ttl=60, memory_max_size=0)) for _ in range(2))
    assert dedupe.check_and_record("evt-1").recorded
    assert not other.check_and_record("evt-1")
    assert other.check_and_record("evt-1", namespace="Shop/2")
    assert list(json.loads(document(f"{url}/global").read())) == ["evt-1"]
    assert list(json.loads(document(f"{url}/%2553hop%252f2").read())) == ["evt-1"]
    assert dedupe.claim("evt-2")
    claim = other.claim("evt-2")
    assert claim.status.value == "inflight"
    assert list(json.loads(document(f"{url}/global~claims").read())["claims"]) == ["evt-2"]
    dedupe.release("evt-2")
    with pytest.raises(ClaimReleased):
        other.wait(claim)
    assert (dedupe.forget("evt-1"), dedupe.has_recent("evt-1")) == (True, False)


def test_two_namespaces_of_different_databases_or_documents_are_apart(url: str) -> None:
    options = DedupeOptions(ttl=60)
    assert PersistentDedupe(f"{url}-a", options).check_and_record("evt")
    assert PersistentDedupe(f"{url}-b", options).check_and_record("evt")
    chosen = PersistentDedupe(lambda namespace: f"{url}-a/{namespace}", options)
    assert not chosen.check_and_record("evt")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_exactly_one_of_many_tasks_gets_new(url: str, backend: str) -> None:
    async def main() -> list[bool]:
        dedupes = [AsyncPersistentDedupe(url, DedupeOptions(ttl=60)) for _ in range(4)]
        found: list[bool] = []

        async def check(dedupe: AsyncPersistentDedupe) -> None:
            found.append(bool(await dedupe.check_and_record("evt")))

        async with anyio.create_task_group() as tasks:
            for dedupe in dedupes * 4:
                tasks.start_soon(check, dedupe)
        return found

    assert sorted(anyio.run(main, backend=backend)) == [False] * 15 + [True]


def test_a_document_that_cannot_be_understood_is_moved_aside_or_left(url: str) -> None:
    put(f"{url}/global", b'{"evt-1": 18')
    with pytest.raises(StoreCorrupt):
        PersistentDedupe(url, DedupeOptions(ttl=60, failure="closed")).check_and_record("evt-1")
    assert document(f"{url}/global").read() == b'{"evt-1": 18'
    opened = PersistentDedupe(url, DedupeOptions(ttl=60))
    assert opened.check_and_record("evt-1").recorded
    assert opened.counters.moved_aside == 1


def test_a_server_that_is_away_fails_open_or_closed_and_the_password_is_not_shown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    nowhere, errors = f"postgresql://me:{SECRET}@localhost:1/app#dedupe", list[Exception]()
    dedupe = PersistentDedupe(nowhere, DedupeOptions(ttl=60, on_disk_error=errors.append))
    result = dedupe.check_and_record("evt")
    assert (result.is_new, result.recorded) == (True, False)
    assert dedupe.claim("evt-2").error is not None
    shown = [str(result), str(dedupe.path()), repr(dedupe), caplog.text, *map(str, errors), *map(repr, errors)]
    assert "localhost:1/app#dedupe/global" in shown[1]
    assert SECRET not in " ".join(shown)


def test_a_url_that_names_no_store_is_refused_at_once() -> None:
    for kind in (PersistentDedupe, AsyncPersistentDedupe):
        with pytest.raises(ValueError, match="no store is known for mysql://"):
            kind(f"mysql://me:{SECRET}@db/app", DedupeOptions(ttl=60))


def dedupe_command(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    code = run_dedupe([*arguments, "--json"])
    shown = capfd.readouterr()
    assert SECRET not in shown.out + shown.err
    return code, json.loads(shown.out) if shown.out else shown.err


def test_the_command_persistent_dedupe(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    at = ("--store", with_password(url))
    code, checked = dedupe_command(capfd, "check", "evt-1", "--ttl", "1d12h", *at)
    assert (code, checked["new"], checked["recorded"]) == (0, True, True)
    assert checked["file"] == PersistentDedupe(url, DedupeOptions(ttl=1)).path()
    assert dedupe_command(capfd, "check", "evt-1", "--ttl", "1d12h", *at)[0] == 1
    dedupe_command(capfd, "check", "evt-2", "--ttl", "1d12h", "--namespace", "Shop", *at)
    assert PersistentDedupe(url, DedupeOptions(ttl=60)).claim("evt-3").recorded
    code, listed = dedupe_command(capfd, "list", *at)
    assert (code, [key["key"] for key in listed["keys"]]) == (0, ["evt-1"])
    code, figures = dedupe_command(capfd, "stats", *at)
    assert [(each["namespace"], each["entries"]) for each in figures["namespaces"]] == [("Shop", 1), ("global", 1)]
    assert figures["store"].endswith(f"#{url.partition('#')[2]}/")
    code, figures = dedupe_command(capfd, "stats", "--namespace", "Shop", *at)
    assert [each["entries"] for each in figures["namespaces"]] == [1]
    assert dedupe_command(capfd, "forget", "evt-1", *at)[1] == {"forgotten": ["evt-1"], "notThere": []}
    assert run_dedupe(["stats", *at]) == 0
    shown = capfd.readouterr()
    assert "Shop" in shown.out
    assert SECRET not in shown.out + shown.err


def test_the_commands_refuse_a_url_that_names_no_store(capfd: pytest.CaptureFixture[str]) -> None:
    for run, arguments in (
        (run_dedupe, ["check", "k", "--ttl", "1d"]),
        (run_dedupe, ["stats"]),
        (run_dedupe, ["list"]),
        (run_commitments, ["list"]),
    ):
        for url in (f"mysql://me:{SECRET}@db/app#x", f"postgresql://me:{SECRET}/app#x"):
            assert run([*arguments, "--store", url]) == 2
            shown = capfd.readouterr()
            assert (shown.out, shown.err.count("\n"), SECRET in shown.err) == ("", 1, False)


def candidate(key: str) -> Candidate:
    return Candidate(
        kind="open_loop",
        reason="r",
        suggested_text="t",
        dedupe_key=key,
        confidence=1.0,
        earliest_ms=1,
        latest_ms=10**15,
        timezone="UTC",
    )


def test_commitments_in_a_database(url: str) -> None:
    store = CommitmentsStore(with_password(url))
    item = Item(Scope("main", "s", "telegram"))
    created = store.upsert(item, [candidate("a"), candidate("b")]).created
    assert store.mark_status([created[0].id], "dismissed").changed == (created[0].id,)

    async def look() -> list[str]:
        there = AsyncCommitmentsStore(with_password(url))
        assert there.path == store.path
        return [record.status for record in (await there.list()).commitments]

    assert anyio.run(look) == ["dismissed", "pending"]
    assert store.path == Store(url).path
    assert SECRET not in store.path


def test_a_store_that_is_not_one_of_commitments_is_left_as_it_is(url: str) -> None:
    put(url, b'{"version": 2, "commitments": []}')
    with pytest.raises(StoreCorrupt, match="unsupported format version") as error:
        CommitmentsStore(with_password(url)).mark_status(["x"], "sent")
    assert SECRET not in f"{error.value} {vars(error.value)}"
    assert document(url).read() == b'{"version": 2, "commitments": []}'


def test_the_command_commitments(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    at = ("--store", with_password(url))
    add = ("add", "--agent", "main", "--session", "s", "--channel", "c", "--text", "t", "--reason", "r")
    assert run_commitments([*add, "--due", "+1d12h", "--json", *at]) == 0
    (id_,) = json.loads(capfd.readouterr().out)["created"]
    assert run_commitments(["list", "--json", *at]) == 0
    listed = capfd.readouterr()
    assert json.loads(listed.out)["store"] == Store(url).path
    assert run_commitments(["list", *at]) == 0
    text = capfd.readouterr()
    assert f"Store: {Store(url).path}\n" in text.out
    assert run_commitments(["dismiss", id_, *at]) == 0
    assert run_commitments(["dismiss", id_, *at]) == 1
    last = capfd.readouterr()
    assert SECRET not in listed.out + listed.err + text.out + text.err + last.out + last.err
